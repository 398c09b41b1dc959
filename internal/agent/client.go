package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/bootproto"
	"github.com/cagenut/cagenut/internal/fault"
)

// agentURL is where the agent of a one-time URL asks.
func agentURL(boot string) (string, error) {
	u, err := url.Parse(boot)
	if err == nil {
		token, ok := strings.CutPrefix(u.Path, "/boot/")
		if ok && token != "" && !strings.Contains(token, "/") && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
			u.Path = "/agent/v1/" + token
			return u.String(), nil
		}
	}
	return "", errors.New("cagenut.url is not http(s)://HOST/boot/TOKEN: boot the machine through Cagenut's boot service") // it is a secret
}

// NewHTTP makes the client of an agent. It uses no proxy and follows no redirect; trust says which
// certificates are taken, nil: those of the system.
func NewHTTP(trust *tls.Config) *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{Proxy: nil, TLSClientConfig: trust, TLSHandshakeTimeout: 15 * time.Second, IdleConnTimeout: 30 * time.Second,
			DialContext: (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext},
	}
}

// Refused is an answer that asking again does not change.
type Refused struct {
	Status  int
	Problem bootproto.Problem
}

func (r *Refused) Error() string {
	return fmt.Sprintf("refused: HTTP %d: %s: %s", r.Status, r.Problem.Code, r.Problem.Message)
}

// Ended tells that the boot record was closed or has expired: the machine is to boot its disk.
func (r *Refused) Ended() bool {
	return r.Problem.Code == fault.BootUsed || r.Problem.Code == fault.BootExpired
}

// client asks the boot service.
type client struct {
	http        *http.Client
	base        string
	first, most time.Duration
	log         *slog.Logger
}

// away is an answer that is worth asking for again.
type away struct {
	status int
	after  time.Duration // as the other side wishes
}

func (a *away) Error() string { return fmt.Sprintf("HTTP %d", a.status) }

// insist asks until there is an answer that counts: success, or a *Refused. It gives up only with its
// context.
func (c client) insist(ctx context.Context, method, path string, in, out any) (int, error) {
	pause := c.first
	for tries := 1; ; tries++ {
		status, err := c.ask(ctx, method, path, in, out)
		var refused *Refused
		if err == nil || errors.As(err, &refused) {
			return status, err
		}
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		wait := pause - pause/4 + rand.N(pause/2+1) //nolint:gosec // it only spreads the load
		var busy *away
		if errors.As(err, &busy) {
			wait = max(wait, min(busy.after, c.most))
		}
		if tries&(tries-1) == 0 { // 1, 2, 4, 8: an evening's outage is some lines of the console
			c.log.Warn("no answer: trying again", "tries", tries, "error", err)
		}
		if !rest(ctx, wait) {
			return 0, context.Cause(ctx)
		}
		pause = min(2*pause, c.most)
	}
}

// patience is what one answer may take; the boot service holds a question for commands for 25 seconds
// at most.
const patience = time.Minute

// ask asks once.
func (c client) ask(ctx context.Context, method, path string, in, out any) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return 0, errors.New("the URL cannot be asked") // it is a secret
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		return 0, bare(err)
	}
	defer func() { _ = res.Body.Close() }() // read
	raw, err := io.ReadAll(io.LimitReader(res.Body, 2<<20))
	if err != nil {
		return 0, bare(err)
	}
	switch s := res.StatusCode; {
	case s == http.StatusNoContent:
		return s, nil
	case s == http.StatusOK:
		if out != nil {
			if err := json.Unmarshal(raw, out); err != nil {
				return s, fmt.Errorf("the answer makes no sense: %w", err)
			}
		}
		return s, nil
	case s >= 400 && s < 500 && s != http.StatusTooManyRequests && s != http.StatusRequestTimeout:
		r := &Refused{Status: s}
		if json.Unmarshal(raw, &r.Problem) != nil || r.Problem.Code == "" { // in text: "code: message"
			r.Problem.Message = strings.TrimSpace(string(raw[:min(len(raw), 300)]))
		}
		return s, r
	default:
		sec, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		return s, &away{status: s, after: time.Duration(sec) * time.Second}
	}
}

// bare takes the URL, which is a secret, out of an error.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// rest waits; false: the context ended.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
