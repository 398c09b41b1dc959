package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/plan"
)

// lockable is a BMC behind the real login budget; sent are the passwords that reached it.
type lockable struct {
	guard    *broker.Guard
	now      time.Time
	password string
	sent     []string
}

func (l *lockable) Now() time.Time                             { return l.now }
func (l *lockable) Sleep(context.Context, time.Duration) error { return nil }
func (l *lockable) ForgetRefused(_ bmc.Endpoint, all []bmc.Credentials) bool {
	return l.guard.ForgetRefused(all...)
}

func (l *lockable) Open(_ context.Context, e bmc.Endpoint, c bmc.Credentials) (bmc.Controller, error) {
	if err := l.guard.AllowLogin(e.Address, "log in", c); err != nil {
		return nil, err
	}
	l.sent = append(l.sent, c.Password)
	if c.Password != l.password {
		l.guard.LoginRefused(c)
		return nil, &bmc.Error{Kind: bmc.ErrBadCredentials, Op: "log in", Host: e.Address}
	}
	l.guard.LoginOK(c)
	return nil, nil
}

type known []string

func (k known) Candidates(context.Context, asset.Ref, string) ([]Candidate, error) {
	var out []Candidate
	for _, p := range k {
		out = append(out, Candidate{Source: CandidateSource(p), Credentials: bmc.Credentials{User: "root", Password: p}})
	}
	return out, nil
}

func (known) Propose(context.Context, asset.Ref, string, int) (Candidate, error) {
	return Candidate{}, errors.New("not here")
}
func (known) Promote(context.Context, asset.Ref, string) error { return errors.New("not here") }

// Each password that is known comes to its turn, three within five minutes, and what is said names the
// cause whoever is next.
func TestEveryPasswordGetsItsTry(t *testing.T) {
	b := &lockable{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), password: "e"}
	b.guard = broker.NewGuard(broker.Limits{}, b)
	secrets := known{"a", "b", "c", "d", "e"}
	a := &Site{BMCs: b, Secrets: &secrets}
	call := Call{Asset: asset.Ref{Name: "srv-1"}, BMC: plan.BMC{Account: "root"}}
	open := func() (sent, source string, f *fault.Error) {
		t.Helper()
		b.sent = nil
		l, err := a.openAt(t.Context(), call, bmc.Endpoint{Address: "192.0.2.1"})
		if err == nil {
			source = string(l.source)
		} else {
			f = translate(err)
		}
		return strings.Join(b.sent, ""), source, f
	}
	for i, step := range []struct {
		later        time.Duration
		change       func()
		sent, source string
		code         fault.Code
		says         string
	}{
		{sent: "abc", code: fault.Busy, says: "3 of 5 passwords known for it (a, b, c)"},
		{later: time.Minute, code: fault.Busy, says: "3 of 5 passwords"},
		{later: 4 * time.Minute, sent: "d", code: fault.Busy, says: "4 of 5 passwords"},
		{later: 5 * time.Minute, sent: "e", source: "e"},
		{sent: "e", source: "e"},
		// Somebody sets another one, that nobody has: all are refused, and that is what is said.
		{change: func() { b.password = "x" }, sent: "eab", code: fault.Busy, says: "refused"},
		{later: 5 * time.Minute, sent: "c", code: fault.Busy},
		{later: 5 * time.Minute, sent: "d", code: fault.BadCredentials, says: "every password known for it (a, b, c, d, e)"},
		{later: time.Second, code: fault.BadCredentials, says: "every password known"},
		// A new one is imported, and is tried as soon as the BMC may be asked.
		{change: func() { secrets = append(secrets, "x") }, code: fault.Busy, says: "5 of 6"},
		{later: 5 * time.Minute, sent: "x", source: "x"},
		{later: 5 * time.Minute, sent: "x", source: "x"},
		// The BMC is set back to one that was refused before.
		{change: func() { b.password, secrets = "b", slices.DeleteFunc(secrets, func(p string) bool { return p == "x" }) }, sent: "ab", source: "b"},
	} {
		b.now = b.now.Add(step.later)
		if step.change != nil {
			step.change()
		}
		sent, source, f := open()
		got, want := fmt.Sprint(sent, " ", source), fmt.Sprint(step.sent, " ", step.source)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("step %d: sent and accepted (-want +got):\n%s%v", i, diff, f)
		}
		if step.code == "" != (f == nil) || f != nil && (f.Code != step.code || !strings.Contains(f.Message, step.says)) {
			t.Errorf("step %d: %+v, want %s with %q", i, f, step.code, step.says)
		}
	}
}

// A worker that ends has no defect.
func TestTheEndOfAWorkerIsNoDefect(t *testing.T) {
	for _, err := range []error{context.Canceled, fmt.Errorf("read: %w", context.Canceled),
		&bmc.Error{Kind: bmc.ErrIncomplete, Op: "GET /", Host: "h", Err: context.Canceled}, &bmc.Error{Kind: bmc.ErrClosed, Op: "dial", Host: "h"}} {
		if f := translate(err); f.Code != fault.WorkerLost {
			t.Errorf("%v is %s, want %s", err, f.Code, fault.WorkerLost)
		}
	}
}
