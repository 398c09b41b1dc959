package reader

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
)

// failure is why a request brought no resource.
type failure struct {
	reason string
	detail string
	status int   // HTTP, 0 without an answer
	err    error // a *bmc.Error
}

// aboutRequest tells whether the same path without a query may still work.
func (f *failure) aboutRequest() bool {
	switch f.reason {
	case ReasonUnauthorized, ReasonTLS, ReasonPinChanged, ReasonBreaker, ReasonBudget, ReasonCancelled, ReasonUnreachable, ReasonOffHost:
		return false
	}
	return true
}

// fetch gets one path, once more if the BMC was only busy, and decodes it unless the cache holds
// the same answer already. What says who the machine is (whole) is always sent anew: ETags may be
// counters, so that another machine of the model at this address answers 304 to this one's.
func (w *walker) fetch(ctx context.Context, path string, whole bool) (*cached, *failure) {
	old := w.opt.Cache.get(path)
	etag := ""
	if old != nil && !whole {
		etag = old.etag
	}
	var res broker.Resource
	for attempt := 0; ; attempt++ {
		if f := w.spend(path); f != nil {
			return nil, f
		}
		var err error
		res, err = w.ask(ctx, path, etag)
		f := w.judge(ctx, path, &res, err)
		if f == nil {
			break
		}
		passing := f.reason == ReasonBusy || f.reason == ReasonUnreachable || res.NotModified
		if !passing || attempt > 0 {
			return nil, f
		}
		etag = ""
		select {
		case <-ctx.Done():
			return nil, f
		case <-time.After(retryAfter):
		}
	}
	w.mu.Lock()
	w.used[path] = true
	w.mu.Unlock()
	if old != nil && (res.NotModified || old.body == string(res.Body)) {
		return old, nil
	}
	body := string(res.Body)
	v, err := parse(body)
	if err != nil {
		return nil, w.unusable(path, res, err)
	}
	e := &cached{etag: res.ETag, v: v}
	e.links, e.bad = links(v, w.host)
	if w.opt.Cache != nil {
		e.body = body
		w.opt.Cache.put(path, e)
	}
	return e, nil
}

// spend takes one request off the budget.
func (w *walker) spend(path string) *failure {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.opt.Bounds
	switch {
	case w.stopped != "":
		return &failure{reason: w.stopped, detail: "the reading had ended", err: w.error(bmc.ErrIncomplete, path, nil)}
	case w.requests >= b.Requests:
		return &failure{reason: ReasonBudget, detail: "the bound on requests is used up", err: w.error(bmc.ErrIncomplete, path, nil)}
	case w.bytes >= b.Total:
		return &failure{reason: ReasonBudget, detail: "the bound on bytes is used up", err: w.error(bmc.ErrIncomplete, path, nil)}
	}
	w.requests++
	return nil
}

// ask makes one request within its time and books it.
func (w *walker) ask(ctx context.Context, path, etag string) (broker.Resource, error) {
	ctx, cancel := context.WithTimeout(ctx, w.opt.Bounds.PerRequest)
	defer cancel()
	began := time.Now()
	res, err := w.get.Get(ctx, path, etag)
	took := res.Latency
	if took == 0 {
		took = time.Since(began)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes += int64(len(res.Body))
	if res.NotModified {
		w.notModified++
	}
	w.latencies = append(w.latencies, bmc.SlowRequest{URI: path, MS: float64(took.Microseconds()) / 1000})
	return res, err
}

// judge gives the failure of a request, or nil. It also counts what must end the walk.
func (w *walker) judge(ctx context.Context, path string, res *broker.Resource, err error) *failure {
	f := w.failureOf(ctx, path, res, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	if f == nil {
		w.unauthorized, w.silent = 0, 0
		return nil
	}
	switch f.reason {
	case ReasonUnauthorized:
		w.unauthorized++
		if w.unauthorized >= unauthorizedStop {
			w.stop(ReasonUnauthorized)
		}
	case ReasonTimeout, ReasonUnreachable:
		w.silent++
		if w.silent >= silenceStop {
			w.stop(f.reason)
		}
	default:
		w.silent = 0
	}
	return f
}

func (w *walker) failureOf(ctx context.Context, path string, res *broker.Resource, err error) *failure {
	if err != nil {
		if ctx.Err() != nil {
			return &failure{reason: reasonOfContext(ctx), detail: "the reading's time was up", err: w.wrap(path, err)}
		}
		f := &failure{reason: reasonOf(err), detail: detailOf(err), err: w.wrap(path, err)}
		var e *bmc.Error
		if errors.As(err, &e) {
			f.status = e.Status
		}
		return f
	}
	switch {
	case res.NotModified:
		if w.opt.Cache.get(path) == nil {
			e := w.error(bmc.ErrMalformed, path, errors.New("304 to a request without an ETag"))
			return &failure{reason: ReasonMalformed, detail: "304 to a request without an ETag", err: e}
		}
		return nil
	case res.Status != 0 && (res.Status < 200 || res.Status > 299):
		e := &bmc.Error{Kind: kindOfStatus(res.Status), Op: "GET " + path, Host: w.host, Status: res.Status}
		return &failure{reason: reasonOf(e), detail: http.StatusText(res.Status), status: res.Status, err: e}
	case len(res.Body) > w.opt.Bounds.Body:
		e := w.error(bmc.ErrTooLarge, path, nil)
		res.Body = nil
		return &failure{reason: ReasonTooLarge, detail: "the answer is larger than the bound", err: e}
	}
	return nil
}

func (w *walker) unusable(path string, res broker.Resource, err error) *failure {
	reason, detail := ReasonMalformed, err.Error()
	if t := bytes.TrimSpace(res.Body); len(t) > 0 && t[0] == '<' {
		reason, detail = ReasonHTML, "a web page instead of a resource"
	} else if len(t) == 0 {
		detail = "the answer is empty"
	}
	return &failure{reason: reason, detail: detail, err: w.error(bmc.ErrMalformed, path, errors.New(detail))}
}

func (w *walker) error(kind error, path string, cause error) error {
	return &bmc.Error{Kind: kind, Op: "GET " + path, Host: w.host, Err: cause}
}

func (w *walker) wrap(path string, err error) error {
	var e *bmc.Error
	if errors.As(err, &e) {
		return err
	}
	return w.error(bmc.ErrUnreachable, path, err)
}

func reasonOfContext(ctx context.Context) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ReasonTimeout
	}
	return ReasonCancelled
}

func kindOfStatus(status int) error {
	switch {
	case status == http.StatusUnauthorized:
		return bmc.ErrBadCredentials
	case status == http.StatusNotFound || status == http.StatusGone || status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented:
		return bmc.ErrUnsupported
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		return bmc.ErrBusy
	case status >= 500:
		return bmc.ErrServer
	}
	return bmc.ErrRejected
}

// reasonOf translates a Getter's error. The HTTP status says most where there is one.
func reasonOf(err error) string {
	var e *bmc.Error
	if !errors.As(err, &e) {
		return ReasonUnreachable
	}
	switch e.Status {
	case http.StatusNotFound, http.StatusGone:
		return ReasonNotFound
	case http.StatusUnauthorized:
		return ReasonUnauthorized
	case http.StatusForbidden:
		return ReasonForbidden
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return ReasonUnsupported
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return ReasonBusy
	}
	switch {
	case e.Status >= 500:
		return ReasonServerError
	case e.Status >= 300 && e.Status < 400:
		return ReasonRejected
	}
	switch {
	case errors.Is(err, bmc.ErrPinChanged):
		return ReasonPinChanged
	case errors.Is(err, bmc.ErrCertificate):
		return ReasonTLS
	case errors.Is(err, bmc.ErrNotAllowed):
		return ReasonOffHost
	case errors.Is(err, bmc.ErrBreakerOpen):
		return ReasonBreaker
	case errors.Is(err, bmc.ErrTooLarge):
		return ReasonTooLarge
	case errors.Is(err, bmc.ErrMalformed):
		return ReasonMalformed
	case errors.Is(err, bmc.ErrBadCredentials), errors.Is(err, bmc.ErrPasswordChange):
		return ReasonUnauthorized
	case errors.Is(err, bmc.ErrBusy):
		return ReasonBusy
	case errors.Is(err, bmc.ErrServer):
		return ReasonServerError
	case errors.Is(err, bmc.ErrUnsupported):
		return ReasonUnsupported
	case errors.Is(err, bmc.ErrRejected):
		return ReasonRejected
	case errors.Is(err, bmc.ErrIncomplete), errors.Is(err, context.DeadlineExceeded):
		return ReasonTimeout
	}
	return ReasonUnreachable
}

// detailOf is what an error says beyond its reason, without the path, which stands beside it.
func detailOf(err error) string {
	var e *bmc.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	switch {
	case e.Detail != "":
		return e.Detail
	case e.Err != nil:
		return e.Err.Error()
	case e.Status != 0:
		return http.StatusText(e.Status)
	}
	return e.Kind.Error()
}
