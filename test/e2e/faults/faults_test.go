//go:build e2e

// Package faults runs every (step, fault) pair of installing a machine, one machine each, over the box:
// a fault that fires once is mostly survived; one that lasts parks the machine in its step with the
// expected reason, and when it is gone a retry ends active (staged, where the step comes before there is an
// operating system). Nothing outlives its deadline.
//
// `make build` must have made bin/.
package faults

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/cagenut/cagenut/internal/api/client"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/netboxload"
	"github.com/cagenut/cagenut/test/e2e/stack"
)

// atOnce bounds the machines that are installed at a time, so that what is healthy stays fast. Most of
// them wait most of the time.
const atOnce = 50

// slack is what a machine may take beyond a deadline: the steps before, and a busy computer.
const slack = 90 * time.Second

// wholeRun is what all other steps of a machine may take together.
const wholeRun = 5 * time.Minute

var only = flag.String("only", "", "run the pairs whose \"step, fault\" this regular expression matches")

// outcome is a line of the table.
type outcome struct {
	pair
	machine string
	seen    fault.Code
	late    bool // a deadline that names what was failing
	where   string
	took    time.Duration
	end     string
	wrong   error
}

func TestFaults(t *testing.T) {
	all := slices.DeleteFunc(pairs(), func(p pair) bool { return !regexp.MustCompile(*only).MatchString(p.step.name + ", " + p.spoiler.name) })
	// What takes longest begins first, but for NetBox's: they are asked for together.
	slices.SortStableFunc(all, func(a, b pair) int { return a.rank() - b.rank() })
	var flavours []string
	for _, p := range all {
		flavours = append(flavours, p.flavour)
	}
	s := stack.Start(t, stack.Options{Racks: stack.Fleet(flavours...), Hurry: hurry})
	token, err := os.ReadFile(s.Inner().AdminToken())
	if err != nil {
		t.Fatal(err)
	}
	api, err := client.New(s.Inner().API(), strings.TrimSpace(string(token)), "e2e", nil)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	out := make([]outcome, len(all))
	trials := make([]*trial, len(all))
	devices := s.Devices()
	for i, name := range s.Names() {
		trials[i] = &trial{pair: all[i], machine: name, device: devices[name].ID, stack: s, api: api}
	}
	// A plan reads NetBox too: who makes it must not meet the fault. So nobody carries it out until the
	// fault is in its place.
	s.Kill(stack.Worker)
	for i, c := range trials {
		out[i] = outcome{pair: c.pair, machine: c.machine, seen: "nothing", end: "nowhere"}
		if c.planned() {
			if out[i].wrong = c.ask(t.Context()); out[i].wrong == nil {
				out[i].wrong = c.arm(t.Context(), c.rule())
			}
		}
	}
	s.Start(stack.Worker)
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, c := range trials {
		slots <- struct{}{} // here, so that they begin in their order
		wg.Go(func() {
			defer func() { <-slots }()
			if out[i].wrong == nil {
				out[i].wrong = c.try(t.Context(), &out[i])
			}
		})
	}
	wg.Wait()
	report(t, out, time.Since(began))

	base, admin := s.Inner().NetBox()
	want := map[string]int{}
	for _, p := range all {
		want[map[string]string{"hardware": "staged", "active": "active"}[p.until()]]++
	}
	for _, status := range []string{"staged", "active"} {
		var is struct{ Count int }
		if err := s.NetBox(t.Context(), base, admin, "dcim/devices/?limit=1&role=server&status="+status, &is); err != nil {
			t.Fatal(err)
		}
		if is.Count != want[status] {
			t.Errorf("%d machines are %s in NetBox, want %d", is.Count, status, want[status])
		}
	}
}

func report(t *testing.T, out []outcome, took time.Duration) {
	t.Helper()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "STEP\tFAULT\tFIRES\tEXPECTED\tSEEN\tAFTER\tEND\tMACHINE")
	for _, o := range out {
		fires := "always"
		if o.once || o.fault.Count == 1 {
			fires = "once"
		}
		seen := string(o.seen)
		if o.where != "" && o.where != o.step.name {
			seen += " in " + o.where
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", o.step.name, o.spoiler.name, fires, o.expected(), seen, o.took.Round(100*time.Millisecond), o.end, o.machine)
	}
	_ = w.Flush() // into memory
	t.Logf("%d pairs in %s\n%s", len(out), took.Round(time.Second), b.String())
	for _, o := range out {
		switch {
		case o.wrong != nil:
			t.Errorf("%s, %s (%s): %v", o.step.name, o.spoiler.name, o.machine, o.wrong)
		case !o.right(o.seen) && (!o.late || o.want == survived) || o.where != o.step.name && o.seen != survived:
			t.Errorf("%s, %s (%s): seen %s in %s, want %s", o.step.name, o.spoiler.name, o.machine, o.seen, o.where, o.expected())
		}
	}
}

// trial is one machine with its fault.
type trial struct {
	pair
	machine string
	device  asset.ID
	stack   *stack.Stack
	api     *client.Client
	op      operation.ID
	armed   string // ID of the rule in place
	again   bool   // it is the second install of a pair that is installed twice
	retries int
}

// minion is what Salt knows the machine by.
func (c *trial) minion() string { return c.machine + "." + c.stack.Rack().Site.Slug + ".example.net" }

// rule is the fault, of this machine.
func (c *trial) rule() sim.Fault {
	rule := c.fault
	rule.Path = c.step.path
	if c.spoiler.path != "" {
		rule.Path = c.spoiler.path
	}
	switch {
	case c.once:
		rule.Count = 1
	case rule.Count == 0:
		rule.Count = -1
	}
	return c.mine(rule)
}

// mine makes a rule one of this machine.
func (c *trial) mine(rule sim.Fault) sim.Fault {
	switch rule.Machine {
	case sim.NetBox:
		rule.Path = strings.ReplaceAll(rule.Path, "ID", c.device.String())
	case sim.Salt:
		rule.Path, rule.Body = strings.ReplaceAll(rule.Path, "MINION", c.minion()), strings.ReplaceAll(rule.Body, "MINION", c.minion())
	default:
		rule.Machine = c.machine
	}
	return rule
}

func (c *trial) arm(ctx context.Context, rule sim.Fault) error {
	armed, err := c.stack.Box().AddFault(ctx, rule)
	c.armed = armed.ID
	return err
}

// disarm takes the rule away, which must have been met: else nothing was shown.
func (c *trial) disarm(ctx context.Context) error {
	rules, err := c.stack.Box().Faults(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(rules, func(f sim.Fault) bool { return f.ID == c.armed })
	if i < 0 || rules[i].Fired == 0 {
		return fmt.Errorf("the fault never fired")
	}
	c.armed = ""
	return c.stack.Box().RemoveFault(ctx, rules[i].ID)
}

func (c *trial) ask(ctx context.Context) error {
	got, err := c.api.Install(ctx, wire.Install{Targets: wire.Targets{Names: []string{c.machine}}, Until: c.until(),
		Reason: c.step.name + ": " + c.spoiler.name, Ticket: "E2E-D"}, fmt.Sprintf("fault-%s-%t", c.machine, c.again))
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	c.op = got.ID
	return nil
}

func (c *trial) try(ctx context.Context, o *outcome) error {
	if c.twice {
		if err := c.before(ctx); err != nil {
			return fmt.Errorf("the install before: %w", err)
		}
	}
	parking := gates(c.step)
	if c.op == "" {
		first := c.rule()
		if c.gated {
			parking.fault.Count = -1
			first = c.mine(parking.fault)
		}
		if err := c.arm(ctx, first); err != nil {
			return err
		}
		if err := c.ask(ctx); err != nil {
			return err
		}
	}
	run, err := c.wait(ctx, "the fault to show")
	if err != nil {
		return err
	}
	if c.gated {
		if run.State != operation.Waiting || run.Step != parking.step || run.Error.Code != parking.code {
			return fmt.Errorf("the gate: %s in %s with %w, want %s in %s", run.State, run.Step, run.Error, parking.code, parking.step)
		}
		if err := c.disarm(ctx); err != nil {
			return err
		}
		if err := c.arm(ctx, c.rule()); err != nil {
			return err
		}
		c.gated = false // from here on it is a run like any other
		if run, err = c.retry(ctx, run, "the fault to show"); err != nil {
			return err
		}
	}
	o.seen, o.where, o.end = survived, run.Step, string(run.State)
	at := c.step.name
	if run.State == operation.Waiting {
		at = run.Step
	}
	i := slices.IndexFunc(run.Steps, func(s operation.Step) bool { return s.Name == at })
	o.took = time.Since(run.Steps[i].Started)
	if run.State == operation.Done {
		o.took = run.Steps[i].Ended.Sub(run.Steps[i].Started)
		if c.armed == "" { // it was taken away when the step had passed
			return nil
		}
		return c.disarm(ctx)
	}
	if run.State != operation.Waiting || run.Error == nil {
		return fmt.Errorf("the run is %s with error %w", run.State, run.Error)
	}
	o.seen = run.Error.Code
	// A busy computer may reach the deadline before the patience with a fault; it then says what it was trying.
	o.late = o.seen == fault.Deadline && strings.Contains(run.Error.Message, "; trying again")
	if run.Error.Message == "" || run.Error.Remedy == "" {
		return fmt.Errorf("%s says neither what happened nor what to do: %w", run.Error.Code, run.Error)
	}
	if !strings.Contains(run.Error.Message, c.says) {
		return fmt.Errorf("the reason does not say %q: %w", c.says, run.Error)
	}
	if o.took > c.deadline+slack {
		return fmt.Errorf("it parked after %s; its deadline is %s", o.took, c.deadline)
	}
	if err := c.disarm(ctx); err != nil {
		return err
	}
	if c.cord {
		if err := c.stack.Box().PowerLoss(ctx, c.machine); err != nil {
			return err
		}
	}
	run, err = c.retry(ctx, run, "the end after a retry")
	if err != nil {
		return err
	}
	for again := 0; again < 2 && run.State == operation.Waiting && run.Error.Code == fault.Busy; again++ {
		if run, err = c.retry(ctx, run, "the end after another retry"); err != nil { // the breaker is open for a while
			return err
		}
	}
	if o.end = fmt.Sprintf("%s, retries: %d", run.State, c.retries); run.State != operation.Done {
		return fmt.Errorf("after the fault was gone, a retry ends as %s in %s: %w", run.State, run.Step, run.Error)
	}
	return nil
}

// before installs the machine, and has a person take it out of service, so that it can be installed again.
func (c *trial) before(ctx context.Context) error {
	if err := c.ask(ctx); err != nil {
		return err
	}
	run, err := c.wait(ctx, "the end")
	if err != nil {
		return err
	}
	if run.State != operation.Done {
		return fmt.Errorf("%s in %s: %w", run.State, run.Step, run.Error)
	}
	c.op, c.again = "", true
	base, admin := c.stack.Inner().NetBox()
	return netboxload.SetStatus(ctx, base, admin, map[int64]string{int64(c.device): string(asset.Staged)})
}

// retry sends the run on from where it parked, accepting a certificate that changed.
func (c *trial) retry(ctx context.Context, run operation.Run, what string) (operation.Run, error) {
	c.retries++
	cmd := wire.Command{ID: fmt.Sprintf("retry-%s-%d", c.machine, c.retries), Action: operation.Retry, Assets: []string{c.machine}}
	if run.Error.Code == fault.PinChanged && run.Step != "identity" {
		cmd.AcceptPin = fingerprint(run.Error)
	}
	did, err := c.api.Command(ctx, c.op, cmd)
	if err != nil {
		return run, fmt.Errorf("retry: %w", err)
	}
	if did.Applied != 1 {
		return run, fmt.Errorf("retry did not apply: %+v", did.Runs)
	}
	return c.wait(ctx, what)
}

// wait waits until the run stands still. A fault that is to be survived is taken away when its step has passed.
func (c *trial) wait(ctx context.Context, what string) (operation.Run, error) {
	limit := c.deadline + wholeRun
	deadline := time.After(limit)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var run operation.Run
	for {
		select {
		case <-ctx.Done():
			return run, ctx.Err()
		case <-deadline:
			return run, fmt.Errorf("not within %s: %s; the run is %s in %s", limit, what, run.State, run.Step)
		case <-tick.C:
		}
		d, err := c.api.Operation(ctx, c.op)
		if err != nil {
			return run, err
		}
		run = d.Runs[0]
		i := slices.IndexFunc(run.Steps, func(s operation.Step) bool { return s.Name == c.step.name })
		if c.want == survived && !c.gated && c.armed != "" && i >= 0 && run.Steps[i].State.Ended() {
			if err := c.disarm(ctx); err != nil {
				return run, err
			}
		}
		if run.State == operation.Waiting || run.State.Ended() {
			return run, nil
		}
	}
}

// fingerprint finds the certificate that the BMC shows now in the reason for which a run parked.
func fingerprint(f *fault.Error) string {
	words := strings.FieldsFunc(f.Message, func(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF:", r) })
	last := ""
	for _, w := range words {
		if len(strings.ReplaceAll(w, ":", "")) == 64 {
			last = w
		}
	}
	return strings.Trim(last, ":")
}
