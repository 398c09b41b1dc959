package temporaldev_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
)

// process is this test binary in a role of its own.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

// spawn starts a process and waits until it says that it is ready.
func spawn(t *testing.T, role string, env ...string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), roleVar+"="+role), env...)
	cmd.Stderr = io.Discard
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, stdin: stdin}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "ready") {
			go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the process
			return p
		}
	}
	t.Fatalf("the %s ended before it was ready: %v", role, lines.Err())
	return nil
}

// kill is kill -9.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // killed
	_ = p.stdin.Close()
}

// runs is how many machines live through the kills.
const runs = 200

// TestKills runs 200 machines while the worker is killed at random, and the server once. Every run
// ends, its transitions have no gap, and no effect happens twice, because every step observes first.
func TestKills(t *testing.T) {
	l := newLedger(noop("check", kindTouch, central), noop("slow", kindSlow), noop("round", kindRound, twoRounds),
		noop("last", kindTouch, central, compensable))
	ledgerURL := serve(t, l)
	serverEnv := []string{fileVar + "=" + filepath.Join(t.TempDir(), "temporal.db")}
	var address string
	for i, port := range freePorts(t) {
		serverEnv = append(serverEnv, fmt.Sprintf("%s%d=%d", portVar, i, port))
		if i == 0 {
			address = fmt.Sprintf("127.0.0.1:%d", port)
		}
	}
	workerEnv := []string{addressVar + "=" + address, ledgerVar + "=" + ledgerURL}
	server := spawn(t, "server", serverEnv...)
	worker := spawn(t, "worker", workerEnv...)

	c, err := dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	begin := operation.Start{Operation: op, Window: 50}
	for id := range runs {
		begin.Assets = append(begin.Assets, asset.ID(id+1))
	}
	if err := operation.NewClient(c).Start(t.Context(), begin); err != nil {
		t.Fatal(err)
	}

	kills := 0
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	deadline := time.Now().Add(4 * time.Minute)
	pause := time.NewTimer(0)
	for l.states()[operation.Done] < runs && time.Now().Before(deadline) {
		pause.Reset(time.Duration(200+random.IntN(2500)) * time.Millisecond)
		<-pause.C
		if kills >= 12 {
			continue // enough: now all must end
		}
		worker.kill(t)
		kills++
		if kills == 4 {
			server.kill(t)
			server = spawn(t, "server", serverEnv...)
		}
		worker = spawn(t, "worker", workerEnv...)
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var tally operation.Tally
	if err := c.GetWorkflow(ctx, operation.WorkflowID(op), "").Get(ctx, &tally); err != nil {
		t.Errorf("the operation: %v", err)
	}
	if tally.Done != runs {
		t.Errorf("tally %+v, want %d done; runs by state: %v (seed %d)", tally, runs, l.states(), seed)
	}
	if kills < 5 {
		t.Errorf("only %d kills: the runs were too fast to prove anything", kills)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for what, n := range l.effects {
		if n != 1 {
			t.Errorf("%s was done %d times", what, n)
		}
	}
	if want := runs * 5; len(l.effects) != want {
		t.Errorf("%d effects, want %d", len(l.effects), want)
	}
	for _, p := range l.problems {
		t.Error(p)
	}
	t.Logf("%d runs through %d kills of the worker and one of the server, seed %d", tally.Done, kills, seed)
}

func freePorts(t *testing.T) [4]int {
	t.Helper()
	var ports [4]int
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports
}
