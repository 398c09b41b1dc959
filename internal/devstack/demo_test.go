package devstack

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/inventory"
)

func TestTheTableOfWhatHasNotEnded(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for want, tc := range map[string]struct{ began, ended time.Time }{
		"1.5 s":     {at, at.Add(1500 * time.Millisecond)},
		"not ended": {at, time.Time{}},
		"not begun": {time.Time{}, time.Time{}},
	} {
		if got := lasted(tc.began, tc.ended); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestADemoGoesOnWithItsOwnOperationOnly(t *testing.T) {
	s := aStack(t)
	own := s.demoReason()
	for name, tc := range map[string]struct {
		list []listed
		want string
		bad  bool
	}{
		"none":                        {nil, "", false},
		"all ended":                   {[]listed{{"op_1", "done", own}, {"op_2", "failed", "x"}, {"op_3", "aborted", own}}, "", false},
		"its own, behind another one": {[]listed{{"op_1", "running", "x"}, {"op_2", "waiting", own}}, "op_2", false},
		"another one":                 {[]listed{{"op_1", "waiting", "x"}, {"op_2", "done", own}}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.openOperation(tc.list)
			if got != tc.want || (err != nil) != tc.bad || err != nil && !strings.Contains(err.Error(), "op_1") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestAStoppedDemoSaysWhatItGoesOnWith(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	s := &stopped{ctx: ctx, next: &out}
	fmt.Fprintln(s, "before")
	cancel()
	if s.String() != "stopped" {
		t.Errorf("without an operation: %q", s)
	}
	fmt.Fprintln(s, "cagenut: stopped waiting; operation op_01ABC goes on (cagenut op watch op_01ABC)")
	if diff := cmp.Diff("before\n", out.String()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("stopped; start it again: it goes on with op_01ABC", s.String()); diff != "" {
		t.Error(diff)
	}
}

func TestServersAreCountedByStatus(t *testing.T) {
	got := byStatus([]inventory.Device{{Status: "staged"}, {Status: "planned"}, {Status: "staged"}})
	if got != "1 planned, 2 staged" {
		t.Errorf("got %q", got)
	}
}

func TestATakenPortIsToldInTheStacksWords(t *testing.T) {
	s := aStack(t)
	if err := s.checkPorts(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", s.set.API)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = s.checkPorts(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the API") || !strings.Contains(err.Error(), "remove "+s.dir) {
		t.Errorf("got %v", err)
	}
}

func TestTheLogIsForItsOwnerAlone(t *testing.T) {
	s := aStack(t)
	if info, err := os.Stat(s.logFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}
