package devstack

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/cli"
	"github.com/cagenut/cagenut/internal/login"
	"github.com/cagenut/cagenut/internal/operation"
)

// aStack makes a stack's folder as it is when it is ready.
func aStack(t *testing.T) *Stack {
	t.Helper()
	s, err := Open(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.AdminToken(), []byte("cagenut_admin\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheFirstRunningStackKeepsTheCommandLine(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("CAGENUT_DATA", "")
	path, err := login.DevPath()
	if err != nil {
		t.Fatal(err)
	}
	kept := func() string {
		l, _, err := login.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		return l.Dir
	}
	var said bytes.Buffer
	announce := func(s *Stack) {
		t.Helper()
		said.Reset()
		s.announce(t.Context(), &said)
	}
	first, second := aStack(t), aStack(t)
	a := apitest.Start(t, 1)
	first.set.API = strings.TrimPrefix(a.URL, "http://")
	if err := first.write(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(first.AdminToken(), []byte(a.Token(t, "demo", operation.Admin)), 0o600); err != nil {
		t.Fatal(err)
	}

	announce(first)
	if kept() != first.dir || said.Len() > 0 {
		t.Fatalf("the first alone: kept %q, said %q", kept(), said.String())
	}
	announce(second)
	if kept() != first.dir || !strings.Contains(said.String(), "CAGENUT_DATA="+second.dir) || !strings.Contains(said.String(), first.dir) {
		t.Errorf("beside the first: kept %q, said %q", kept(), said.String())
	}
	var welcome bytes.Buffer
	second.welcome(cli.Streams{Err: &welcome})
	if !strings.Contains(welcome.String(), "CAGENUT_DATA="+second.dir+" cagenut install") {
		t.Errorf("its command reaches the first stack: %s", welcome.String())
	}
	if err := second.withdraw(); err != nil || kept() != first.dir {
		t.Errorf("the end of the second: kept %q, %v", kept(), err)
	}
	if err := login.Save(path, login.Login{URL: "http://127.0.0.1:1", Token: "cagenut_x", Dir: first.dir}); err != nil { // nobody is there
		t.Fatal(err)
	}
	announce(second)
	if kept() != second.dir {
		t.Errorf("after a kill of the first: kept %q", kept())
	}
	beside := *second // another process, which could not start
	beside.announced = false
	if err := beside.withdraw(); err != nil || kept() != second.dir {
		t.Errorf("the end of another process for this folder: kept %q, %v", kept(), err)
	}
	if err := second.withdraw(); err != nil || kept() != "" {
		t.Errorf("its own end: kept %q, %v", kept(), err)
	}
}
