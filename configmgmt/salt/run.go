package salt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
)

// metadataKey is the name under which a job's metadata carries its operation.
const metadataKey = "cagenut"

// Plan starts state.apply with test=True.
func (d *Driver) Plan(ctx context.Context, r configmgmt.Request) (configmgmt.Handle, error) {
	return d.submit(ctx, r, true)
}

// Apply starts state.apply.
func (d *Driver) Apply(ctx context.Context, r configmgmt.Request) (configmgmt.Handle, error) {
	return d.submit(ctx, r, false)
}

// jobID is Salt's own form of a unique job ID: twenty digits of a date, an underscore, and more.
func jobID(r configmgmt.Request, test bool) string {
	return strings.Replace(r.Asked().Format("20060102150405.000000"), ".", "", 1) + "_" + r.Key(test)
}

// HandleOf gives the handle of a request's run.
func (d *Driver) HandleOf(r configmgmt.Request, test bool) configmgmt.Handle {
	return configmgmt.Handle{Driver: "salt", Job: jobID(r, test), Target: r.Target.Name, Test: test}
}

func (d *Driver) submit(ctx context.Context, r configmgmt.Request, test bool) (configmgmt.Handle, error) {
	h := d.HandleOf(r, test)
	c := chunk{Client: "local_async", Fun: "state.apply", Target: []string{r.Target.Name}, TargetType: "list", JID: h.Job, FullReturn: true}
	if err := r.Check(c.op(), "salt"); err != nil {
		return configmgmt.Handle{}, err
	}
	j, err := d.job(ctx, h)
	if err != nil {
		return configmgmt.Handle{}, err
	}
	if j.known {
		h.Found = true
		return h, nil
	}
	// Both ways are said: a minion's own configuration may have test: True.
	c.Kwarg = map[string]any{"test": test}
	s := r.Spec.Salt
	if !s.Highstate {
		c.Kwarg["mods"] = s.States
	}
	if s.Env != "" {
		c.Kwarg["saltenv"] = s.Env
	}
	if len(s.Pillar) > 0 {
		c.Kwarg["pillar"] = s.Pillar
	}
	c.Metadata = map[string]string{metadataKey: r.Operation + "/" + r.Step}
	raw, err := d.call(ctx, c)
	if err != nil {
		return configmgmt.Handle{}, err
	}
	var out struct {
		JID     string   `json:"jid"`
		Minions []string `json:"minions"`
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return configmgmt.Handle{}, &configmgmt.Error{Kind: configmgmt.ErrMalformed, Op: c.op(), Host: r.Target.Name, Detail: brief(string(raw)), Err: err}
	}
	// The master leaves out, without a word, whom it has no accepted key of.
	if !slices.Contains(out.Minions, r.Target.Name) {
		return configmgmt.Handle{}, notEnrolled(c.op(), r.Target.Name)
	}
	if out.JID != c.JID {
		return configmgmt.Handle{}, &configmgmt.Error{Kind: configmgmt.ErrMalformed, Op: c.op(), Host: r.Target.Name, Detail: fmt.Sprintf("asked for job %s, the master started %s", c.JID, brief(out.JID))}
	}
	return h, nil
}

// job is what the master knows of a job.
type job struct {
	known  bool
	result *result // nil: none yet
}

// result is what a minion returned.
type result struct {
	Return  json.RawMessage `json:"return"`
	Retcode int             `json:"retcode"`
}

// job asks the master for a job.
func (d *Driver) job(ctx context.Context, h configmgmt.Handle) (job, error) {
	c := chunk{Client: "runner", Fun: "jobs.list_job", JID: h.Job}
	raw, err := d.call(ctx, c)
	if err != nil {
		return job{}, err
	}
	var out struct {
		Error    string            `json:"Error"`
		Function string            `json:"Function"`
		Minions  []string          `json:"Minions"`
		Result   map[string]result `json:"Result"`
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return job{}, &configmgmt.Error{Kind: configmgmt.ErrMalformed, Op: c.op(), Host: h.Target, Detail: brief(string(raw)), Err: err}
	}
	j := job{}
	if r, ok := out.Result[h.Target]; ok {
		return job{known: true, result: &r}, nil
	}
	// A job for nobody is in the cache too: the minion was not enrolled then, and may be now.
	j.known = out.Error == "" && out.Function != "" && slices.Contains(out.Minions, h.Target)
	return j, nil
}

// Poll tells how far a run is.
func (d *Driver) Poll(ctx context.Context, h configmgmt.Handle) (configmgmt.Report, error) {
	op := "poll Salt job " + h.Job
	if err := check(op, h); err != nil {
		return configmgmt.Report{}, err
	}
	for look := 1; ; look++ {
		j, err := d.job(ctx, h)
		if err != nil {
			return configmgmt.Report{}, err
		}
		if j.result != nil {
			return judge(op, h, *j.result)
		}
		if !j.known && look > 1 {
			return configmgmt.Report{State: configmgmt.Lost, Test: h.Test, Detail: "the master does not know the job: its job cache was emptied, or the job is older than the master keeps them"}, nil
		}
		if j.known {
			works, err := d.works(ctx, op, h)
			if err != nil {
				return configmgmt.Report{}, err
			}
			if works {
				return configmgmt.Report{State: configmgmt.Running, Test: h.Test}, nil
			}
			if look > 1 {
				return d.last(ctx, op, h)
			}
		}
		if err := rest(ctx, op, d.settle); err != nil {
			return configmgmt.Report{}, err
		}
	}
}

// last looks for a result once more: it may have come after we asked and before the minion answered.
func (d *Driver) last(ctx context.Context, op string, h configmgmt.Handle) (configmgmt.Report, error) {
	j, err := d.job(ctx, h)
	if err != nil {
		return configmgmt.Report{}, err
	}
	if j.result != nil {
		return judge(op, h, *j.result)
	}
	return configmgmt.Report{State: configmgmt.Lost, Test: h.Test, Detail: "the minion answers, and does not know the job: it or its host was restarted, or it never received the job"}, nil
}

// works asks the minion whether it works on a job.
func (d *Driver) works(ctx context.Context, op string, h configmgmt.Handle) (bool, error) {
	raw, err := d.minion(ctx, h.Target, "saltutil.find_job", h.Job)
	if err != nil {
		return false, err
	}
	var found map[string]any
	if err := json.Unmarshal(raw, &found); err != nil {
		return false, &configmgmt.Error{Kind: configmgmt.ErrMalformed, Op: op, Host: h.Target, Detail: brief(string(raw)), Err: err}
	}
	return len(found) > 0, nil
}

// local is a call of a function that a minion answers at once.
func local(id, fun string, args ...any) chunk {
	return chunk{Client: "local", Fun: fun, Target: []string{id}, TargetType: "list", Arg: args, Timeout: minionTimeout, FullReturn: true}
}

// minion calls a function that a minion answers at once, and gives what it returned.
func (d *Driver) minion(ctx context.Context, id, fun string, args ...any) (json.RawMessage, error) {
	c := local(id, fun, args...)
	ret, code, err := d.ask(ctx, c)
	if err == nil && code != 0 {
		err = &configmgmt.Error{Kind: configmgmt.ErrRejected, Op: c.op(), Host: id, Status: code, Detail: brief(string(ret))}
	}
	return ret, err
}

// ask makes a call to one minion, and gives what it returned and its code.
func (d *Driver) ask(ctx context.Context, c chunk) (ret json.RawMessage, code int, err error) {
	raw, err := d.call(ctx, c)
	if err != nil {
		return nil, 0, err
	}
	id := c.Target[0]
	var out map[string]json.RawMessage
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, 0, &configmgmt.Error{Kind: configmgmt.ErrMalformed, Op: c.op(), Host: id, Detail: brief(string(raw)), Err: err}
	}
	one, ok := out[id]
	if !ok {
		return nil, 0, notEnrolled(c.op(), id)
	}
	var r struct {
		Ret     json.RawMessage `json:"ret"`
		Out     string          `json:"out"`
		Retcode int             `json:"retcode"`
	}
	if err := json.Unmarshal(one, &r); err != nil || r.Ret == nil && r.Out == "" {
		// Without a retcode it is the master that speaks, not the minion: false, or a text.
		return nil, 0, &configmgmt.Error{Kind: configmgmt.ErrHostAway, Op: c.op(), Host: id, Detail: brief(string(one))}
	}
	if r.Out == "no_return" {
		return nil, 0, &configmgmt.Error{Kind: configmgmt.ErrHostAway, Op: c.op(), Host: id, Detail: "the minion did not answer the master in time"}
	}
	return r.Ret, r.Retcode, nil
}

// notEnrolled is the error of a minion that the master answers nothing about.
func notEnrolled(op, id string) error {
	return &configmgmt.Error{Kind: configmgmt.ErrNotEnrolled, Op: op, Host: id, Detail: "the master has no accepted key of this minion"}
}

// Cancel ends a run: it asks the job to end, then kills it. A job that was just published is not known to the
// minion yet, nor to a slow master, so that it must be seen as gone twice.
func (d *Driver) Cancel(ctx context.Context, h configmgmt.Handle) error {
	op := "cancel Salt job " + h.Job
	if err := check(op, h); err != nil {
		return err
	}
	funs := []string{"saltutil.term_job", "saltutil.kill_job"}
	for gone := 0; ; {
		j, err := d.job(ctx, h)
		if err != nil || j.result != nil {
			return err
		}
		works := false
		if j.known {
			if works, err = d.works(ctx, op, h); err != nil {
				return err
			}
		}
		pause := d.settle
		switch {
		case works && len(funs) == 0:
			return &configmgmt.Error{Kind: configmgmt.ErrRejected, Op: op, Host: h.Target, Detail: "the minion still works on it"}
		case works:
			if _, err := d.minion(ctx, h.Target, funs[0], h.Job); err != nil && !errors.Is(err, configmgmt.ErrRejected) {
				return err
			}
			// A moment, so that a clean end is not answered by a kill.
			funs, gone, pause = funs[1:], 0, d.settle/5
		case gone > 0:
			return nil
		default:
			gone++
		}
		if err := rest(ctx, op, pause); err != nil {
			return err
		}
	}
}

// rest pauses, unless the context ends.
func rest(ctx context.Context, op string, d time.Duration) error {
	pause := time.NewTimer(d)
	defer pause.Stop()
	select {
	case <-pause.C:
		return nil
	case <-ctx.Done():
		return noAnswer(ctx, op, ctx.Err())
	}
}

// Reach asks the minion for a sign of life.
func (d *Driver) Reach(ctx context.Context, t configmgmt.Target) error {
	if err := t.Check("reach over Salt"); err != nil {
		return err
	}
	_, err := d.minion(ctx, t.Name, "test.ping")
	return err
}

// needs are the permissions that the driver uses.
var needs = []string{
	"state.apply", "test.ping", "saltutil.find_job", "saltutil.term_job", "saltutil.kill_job",
	"file.read", "service.status", "mount.active", "disk.usage", "network.interfaces", "network.ping", "status.time",
	"@runner jobs.list_job", "@wheel key.print", "@wheel key.accept_dict", "@wheel key.delete",
}

// grants are the forms of a permission that give what is needed.
func grants(need string) []string {
	scope, fun, special := strings.Cut(need, " ")
	if !special {
		mod, _, _ := strings.Cut(need, ".")
		return []string{".*", need, mod + ".*", "* " + need, "* " + mod + ".*", "* .*"}
	}
	mod, _, _ := strings.Cut(fun, ".")
	return []string{scope, "@" + mod, need, scope + " " + mod + ".*", scope + " .*"}
}

// Ping logs in and compares what the user may do with what the driver does. A permission that is
// given by a pattern of another form is shown as missing though it is there.
func (d *Driver) Ping(ctx context.Context) (configmgmt.Status, error) {
	if _, err := d.call(ctx, chunk{Client: "runner", Fun: "jobs.list_job", JID: "00000101000000000000"}); err != nil {
		return configmgmt.Status{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s := configmgmt.Status{Name: "salt-api", User: d.login["username"], Expires: d.until}
	for _, n := range needs {
		if !slices.ContainsFunc(grants(n), func(g string) bool { return slices.Contains(d.perms, g) }) {
			s.Missing = append(s.Missing, n)
		}
	}
	return s, nil
}

func check(op string, h configmgmt.Handle) error {
	if h.Driver != "salt" || h.Job == "" || h.Target == "" {
		return &configmgmt.Error{Kind: configmgmt.ErrInvalid, Op: op, Host: h.Target, Detail: "not a handle of a Salt run"}
	}
	return nil
}
