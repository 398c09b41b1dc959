package temporaldev_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/devstack/temporaldev"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

const op = operation.ID("op_01JD0000000000000000000000")

// What was begun before a restart goes on after it, on other ports.
func TestRestart(t *testing.T) {
	l := newLedger(noop("a", kindSlow))
	file := filepath.Join(t.TempDir(), "temporal.db")
	first, err := temporaldev.Start(t.Context(), temporaldev.Options{File: file, LogLevel: "fatal"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := dial(t.Context(), first.Address())
	if err != nil {
		t.Fatal(err)
	}
	if err := operation.NewClient(c).Start(t.Context(), operation.Start{Operation: op, Assets: []asset.ID{1, 2}, Window: 1}); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	second := start(t, func(o *temporaldev.Options) { o.File = file })
	t.Logf("ready after %s", time.Since(began).Round(time.Millisecond))
	c = connect(t, second)
	working(t, c, l, hurried(), "", "ams01")
	var tally operation.Tally
	if err := c.GetWorkflow(t.Context(), operation.WorkflowID(op), "").Get(t.Context(), &tally); err != nil {
		t.Fatal(err)
	}
	if tally.Done != 2 {
		t.Errorf("tally %+v", tally)
	}
}

func TestBusyPortIsAnError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	busy := l.Addr().(*net.TCPAddr).Port
	_, err = temporaldev.Start(t.Context(), temporaldev.Options{File: filepath.Join(t.TempDir(), "t.db"), Ports: [4]int{0, 0, busy, 0}})
	if err == nil || !strings.Contains(err.Error(), "matching") {
		t.Errorf("got %v, want an error that names the port and what it is for", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []temporaldev.Options{{}, {File: "x", Postgres: &temporaldev.Postgres{}}} {
		if _, err := temporaldev.Start(t.Context(), o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

// What `cagenut migrate` does at a cluster, twice.
func TestEnsureNamespace(t *testing.T) {
	s := start(t)
	conn := operation.Connection{Address: s.Address(), Namespace: "another"}
	for range 2 {
		if err := operation.EnsureNamespace(t.Context(), conn, 48*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	c := connect(t, s, func(c *operation.Connection) { c.Namespace = "another" })
	start := operation.Start{Operation: op, Assets: []asset.ID{1}, Window: 1}
	var err error
	until(t, 20*time.Second, "an operation with search attributes starts in the new namespace", func() bool {
		err = operation.NewClient(c).Start(t.Context(), start)
		return err == nil
	})
}

func TestSteering(t *testing.T) {
	s := start(t)
	c := connect(t, s)
	l := newLedger(noop("a", kindTouch, central, compensable), noop("b", kindFirst), noop("c", kindTouch))
	working(t, c, l, hurried(), "", "ams01")
	steer := operation.NewClient(c)
	begin := operation.Start{Operation: op, Assets: []asset.ID{1, 2, 3}, Window: 2}
	for range 2 { // the relay may say it twice
		if err := steer.Start(t.Context(), begin); err != nil {
			t.Fatal(err)
		}
	}
	waiting := func(id asset.ID) func() bool {
		return func() bool { return l.last(id).State == operation.Waiting }
	}
	until(t, 20*time.Second, "1 and 2 wait for a person", func() bool { return waiting(1)() && waiting(2)() })
	if got := l.last(3); got.Seq != 0 {
		t.Errorf("asset 3 has begun although the window is full: %+v", got)
	}
	command := func(id asset.ID, a operation.Action, name string, f ...func(*operation.Command)) (operation.Reply, fault.Code) {
		cmd := operation.Command{ID: name, Operation: op, Actor: "ann", Reason: "because"}
		for _, change := range f {
			change(&cmd)
		}
		reply, err := steer.Command(t.Context(), id, a, cmd)
		if err != nil {
			return reply, fault.From(err).Code
		}
		return reply, ""
	}
	if _, code := command(1, operation.Retry, "c0", func(c *operation.Command) { c.Operation = "op_OTHER" }); code != fault.Locked {
		t.Errorf("another operation's command: %q", code)
	}
	if _, code := command(1, operation.Resume, "c1"); code != fault.Conflict {
		t.Errorf("resume of what is parked: %q", code)
	}
	for range 2 { // the same command again gives the same answer
		if reply, code := command(1, operation.Retry, "c2"); code != "" || (reply != operation.Reply{State: operation.Running, Step: "b"}) {
			t.Errorf("retry: %+v, %q", reply, code)
		}
	}
	until(t, 20*time.Second, "1 is done and 3 waits", func() bool { return l.last(1).State == operation.Done && waiting(3)() })
	if _, code := command(1, operation.Pause, "c3"); code != fault.NotFound {
		t.Errorf("a command to a run that has ended: %q", code)
	}
	if reply, code := command(2, operation.Skip, "c4"); code != "" {
		t.Errorf("skip: %+v, %q", reply, code)
	}
	if _, code := command(0, operation.Pause, "c5"); code != "" {
		t.Errorf("pause of the operation: %q", code)
	}
	if _, code := command(3, operation.Abort, "c6"); code != "" {
		t.Errorf("abort: %q", code)
	}
	var tally operation.Tally
	if err := c.GetWorkflow(t.Context(), operation.WorkflowID(op), "").Get(t.Context(), &tally); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(operation.Tally{Done: 2, Aborted: 1}, tally); diff != "" {
		t.Errorf("tally (-want +got):\n%s", diff)
	}
	want := map[string]int{"1/a": 1, "1/b": 1, "1/c": 1, "2/a": 1, "2/c": 1, "3/a": 1, "3/a undone": 1}
	if diff := cmp.Diff(want, l.effects); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
	if len(l.problems) > 0 {
		t.Errorf("problems: %v", l.problems)
	}
}

// A machine that another operation holds is said to be held, and left alone.
func TestHeldMachine(t *testing.T) {
	s := start(t)
	c := connect(t, s)
	l := newLedger(noop("a", kindStuck))
	working(t, c, l, hurried(), "", "ams01")
	steer := operation.NewClient(c)
	if err := steer.Start(t.Context(), operation.Start{Operation: op, Assets: []asset.ID{1}, Window: 1}); err != nil {
		t.Fatal(err)
	}
	until(t, 20*time.Second, "the first operation runs", func() bool { return l.last(1).State == operation.Running })
	const other = operation.ID("op_01JD0000000000000000000001")
	if err := steer.Start(t.Context(), operation.Start{Operation: other, Assets: []asset.ID{1}, Window: 1}); err != nil {
		t.Fatal(err)
	}
	var tally operation.Tally
	if err := c.GetWorkflow(t.Context(), operation.WorkflowID(other), "").Get(t.Context(), &tally); err != nil {
		t.Fatal(err)
	}
	if tally.Failed != 1 {
		t.Errorf("tally of the second operation: %+v", tally)
	}
	if got := l.refused[1]; got == nil || got.Code != fault.Locked {
		t.Errorf("the second operation's run was told %v", got)
	}
	if got := l.last(1); got.Operation != op || got.State != operation.Running {
		t.Errorf("the first operation's run is now %+v", got)
	}
}

// No payload shows a serial when a key is configured, and everything works as before.
func TestSealedPayloads(t *testing.T) {
	s := start(t)
	c := connect(t, s, func(c *operation.Connection) { c.Key = make([]byte, 32) })
	l := newLedger(noop("a", kindTouch))
	working(t, c, l, hurried(), "", "ams01")
	if err := operation.NewClient(c).Start(t.Context(), operation.Start{Operation: op, Assets: []asset.ID{77}, Window: 1}); err != nil {
		t.Fatal(err)
	}
	if err := c.GetWorkflow(t.Context(), operation.WorkflowID(op), "").Get(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	plain := connect(t, s)
	raw, err := proto.Marshal(history(t, plain, operation.AssetWorkflowID(77)))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), "SN77") {
		t.Error("the history shows the machine's serial")
	}
}

// A site without a worker is waited for, and the run goes on by itself when there is one.
func TestSiteAwayForReal(t *testing.T) {
	s := start(t)
	c := connect(t, s)
	l := newLedger(noop("a", kindTouch))
	timing := hurried()
	timing.SiteStart = 500 * time.Millisecond
	working(t, c, l, timing, "")
	if err := operation.NewClient(c).Start(t.Context(), operation.Start{Operation: op, Assets: []asset.ID{1}, Window: 1}); err != nil {
		t.Fatal(err)
	}
	until(t, 20*time.Second, "the run waits for its site", func() bool { return l.last(1).State == operation.Away })
	working(t, c, l, timing, "ams01")
	until(t, 20*time.Second, "the run is done", func() bool { return l.last(1).State == operation.Done })
}
