//go:build e2e

package kills

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/simclient"
	"github.com/cagenut/cagenut/test/e2e/stack"
)

// TestDemo kills the demo, which is one process with everything in it, while it installs systems, and
// starts it again as a person would: it goes on where it was and ends with twelve machines done.
func TestDemo(t *testing.T) {
	began := time.Now()
	dir := stack.Folder(t)
	first := startDemo(t, dir)
	box := boxOf(t, first, dir)
	first.until(t, 5*time.Minute, "disks are erased", func() error {
		done, err := box.Journal(t.Context(), sim.Query{Effect: sim.EffectErase})
		if err == nil && len(done) < 6 {
			err = fmt.Errorf("%d were", len(done))
		}
		return err
	})
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.ended
	if said := first.said(t); strings.Contains(said, "OUTCOME") {
		t.Fatalf("it had ended before it was killed:\n%s", said)
	}
	t.Logf("killed after %.0f s", time.Since(began).Seconds())

	second := startDemo(t, dir)
	journal := filepath.Join(dir, "box", "box.jsonl")
	second.until(t, 5*time.Minute, "the demo ends", func() error {
		select {
		case <-second.ended:
			return nil
		default:
			return errors.New("it runs")
		}
	})
	said := second.said(t)
	if second.cmd.ProcessState.ExitCode() != 0 || !strings.Contains(said, "going on with op_") {
		t.Errorf("started again, it ended with %d and said:\n%s", second.cmd.ProcessState.ExitCode(), said)
	}
	if rows := regexp.MustCompile(`(?m)^srv-\S+ .* done `).FindAllString(said, -1); len(rows) != 12 {
		t.Errorf("%d machines are done, want 12:\n%s", len(rows), said)
	}
	for what, n := range effectsOf(t, journal) {
		most := 1
		if strings.Contains(what, ": "+sim.EffectErase+" ") {
			most = 2 // the agent erases, and the installer partitions
		}
		if n > most {
			t.Errorf("%s: %d times", what, n)
		}
	}
	t.Logf("killed once, done after %.0f s\n%s", time.Since(began).Seconds(), said[strings.LastIndex(said, "\nMACHINE")+1:])
}

// demo is a running cagenut-dev demo.
type demo struct {
	cmd   *exec.Cmd
	ended chan struct{}
	log   string
}

func startDemo(t *testing.T, dir string) *demo {
	t.Helper()
	file, err := os.CreateTemp(dir, "demo-*.log")
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(dir, "home")                                                                                    // not the login of whoever runs the test
	d := &demo{cmd: exec.Command(filepath.Join(stack.Binaries(t), "cagenut-dev"), "demo", "--dir", dir, "--speed", "50"), //nolint:noctx // the test kills it
		ended: make(chan struct{}), log: file.Name()}
	d.cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home)
	d.cmd.Stdout, d.cmd.Stderr = file, file
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait()
		_ = file.Close()
		close(d.ended)
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill() // mostly gone
		<-d.ended
		if t.Failed() {
			t.Logf("--- the demo said\n%s", d.said(t))
		}
	})
	return d
}

func (d *demo) said(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(d.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// until waits for cond; a demo that ended by itself is told by its own words.
func (d *demo) until(t *testing.T, limit time.Duration, what string, cond func() error) {
	t.Helper()
	stack.Wait(t, limit, what, func() error {
		err := cond()
		select {
		case <-d.ended:
			if err != nil {
				return stack.Stop(fmt.Errorf("the demo ended: %w\n%s", err, d.said(t)))
			}
		default:
		}
		return err
	})
}

// boxOf finds the admin API of the demo's box.
func boxOf(t *testing.T, d *demo, dir string) *simclient.Client {
	t.Helper()
	var set struct {
		BoxAdmin string `json:"box_admin"`
	}
	d.until(t, time.Minute, "the box is up", func() error {
		raw, err := os.ReadFile(filepath.Join(dir, "stack.json"))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(raw, &set); err != nil {
			return err
		}
		_, err = simclient.New("http://" + set.BoxAdmin).Sessions(t.Context())
		return err
	})
	return simclient.New("http://" + set.BoxAdmin)
}

// effectsOf counts, from the file of a box that has ended, what must not be done again.
func effectsOf(t *testing.T, file string) map[string]int {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for line := range strings.Lines(string(raw)) {
		var r struct{ Entries []sim.Entry }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, e := range r.Entries {
			switch e.Effect {
			case sim.EffectFlash, sim.EffectPasswordChanged, sim.EffectBIOSApplied,
				sim.EffectNetBoot, sim.EffectErase, sim.EffectWrite, sim.EffectOSUp:
				out[e.Machine+": "+e.Effect+" "+e.Detail]++
			}
		}
	}
	if len(out) < 12 {
		t.Fatalf("%s tells of %d effects: it is not the demo's", file, len(out))
	}
	return out
}
