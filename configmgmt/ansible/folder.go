package ansible

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cagenut/cagenut/internal/atomicfile"
)

// folder is a run folder.
type folder string

// ident names the artefacts; a folder holds one run.
const ident = "run"

// started is what is written when the child process exists.
type started struct {
	PID      int       `json:"pid"`
	Test     bool      `json:"test"`
	Playbook string    `json:"playbook"`
	Target   string    `json:"target"`
	Time     time.Time `json:"time"`
}

func (f folder) path(name string) string { return filepath.Join(string(f), filepath.FromSlash(name)) }

func (f folder) artefact(name string) string { return f.path("artifacts/" + ident + "/" + name) }

func (f folder) write(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return atomicfile.Write(f.path(name), b)
}

func (f folder) started() (started, error) {
	var s started
	b, err := os.ReadFile(f.path("started"))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("%s: %w", f.path("started"), err)
	}
	return s, nil
}

// was tells whether the run was ever started. The caller holds the host's lock.
func (f folder) was() (bool, error) {
	_, err := f.started()
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err == nil, err
	}
	// A crash may have come between the child's start and the file. The child, or what it left, tells.
	_, err = os.Stat(f.artefact(""))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	pids := f.processes()
	if err != nil && len(pids) == 0 {
		return false, nil
	}
	s := started{Time: time.Now().UTC()}
	if len(pids) > 0 {
		s.PID = pids[0]
	}
	return true, f.write("started", s)
}

// mark is the environment variable that all processes of the run have.
func (f folder) mark() string { return "CAGENUT_RUN=" + string(f) }

// processes gives the IDs of the processes that bear the mark, oldest ID first. One that has ended
// and was not reaped has no environment any more.
func (f folder) processes() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil {
			continue // ended, or somebody else's
		}
		if slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return string(v) == f.mark() }) {
			out = append(out, pid)
		}
	}
	slices.Sort(out)
	return out
}

// end signals every process of the run and waits until none is left.
func (f folder) end(ctx context.Context, signal syscall.Signal, grace time.Duration) (gone bool, err error) {
	deadline := time.NewTimer(grace)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	signalled := map[int]bool{}
	for {
		pids := f.processes()
		if len(pids) == 0 {
			return true, nil
		}
		for _, pid := range pids {
			if signalled[pid] && signal != syscall.SIGKILL {
				continue // asked once
			}
			signalled[pid] = true
			if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				return false, fmt.Errorf("signal process %d: %w", pid, err)
			}
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// code gives the exit code that ansible-runner wrote; over is false while there is none.
func (f folder) code() (code int, over bool) {
	b, err := os.ReadFile(f.artefact("rc"))
	if err != nil {
		return 0, false
	}
	code, err = strconv.Atoi(strings.TrimSpace(string(b)))
	return code, err == nil
}

// verify compares the arguments that ansible-runner recorded with what was asked for, and drops the
// environment that it recorded beside them. It says what is wrong, or "".
func (f folder) verify(s started, test bool) string {
	b, err := os.ReadFile(f.artefact("command"))
	if err != nil {
		return "" // not there yet
	}
	var record map[string]json.RawMessage
	if err := json.Unmarshal(b, &record); err != nil {
		if _, over := f.code(); !over {
			return "" // being written
		}
		return "ansible-runner's record of its arguments is not JSON"
	}
	var args []string
	if err := json.Unmarshal(record["command"], &args); err != nil {
		return "ansible-runner's record has no arguments"
	}
	if slices.Contains(args, "--check") != test || slices.Contains(args, "-C") {
		return fmt.Sprintf("asked for a %s run; ansible-runner ran %q", map[bool]string{true: "test", false: "real"}[test], args)
	}
	if s.Playbook != "" && !slices.Contains(args, s.Playbook) {
		return fmt.Sprintf("asked for playbook %s; ansible-runner ran %q", s.Playbook, args)
	}
	if _, ok := record["env"]; ok {
		delete(record, "env")
		if err := f.write("artifacts/"+ident+"/command", record); err != nil {
			return "the recorded environment cannot be dropped: " + err.Error()
		}
	}
	return ""
}
