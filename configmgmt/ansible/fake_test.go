package ansible_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/configmgmt/ansible"
	"github.com/cagenut/cagenut/configmgmt/configmgmttest"
)

// programs stand in for ansible-runner and OpenSSH: processes with the artefacts, exit codes and words
// of the real ones, which test/e2e/configmgmt runs. %W% is the folder of the world.
var programs = map[string]string{
	"ansible-playbook": "#!/bin/bash\nexit 9\n",
	"ssh-keyscan":      "#!/bin/bash\n[ -e %W%/up ] || exit 1\necho '# a comment' >&2\ncat %W%/hostkey\n",
	"ssh": `#!/bin/bash
for a in "$@"; do case $a in UserKnownHostsFile=*) known=${a#*=} ;; esac; done
[ -e %W%/up ] || { echo "ssh: connect to host: Connection refused" >&2; exit 255; }
[ "$(cut -d' ' -f3 "$known")" = "$(cut -d' ' -f3 %W%/hostkey)" ] || { echo "Host key verification failed." >&2; exit 255; }
while [ "$1" != -- ]; do shift; done
shift 2
PATH=%W%/host:$PATH exec "$@"
`,
	"ansible-runner": `#!/bin/bash
[ "$1" = --version ] && { echo 2.4.3; exit; }
set -eu
dir=$2 playbook=$4 check=
for a in "$@"; do case $a in --cmdline=*--check*) check='"--check", ' ;; esac; done
[ -e %W%/mode ] && check=$(cat %W%/mode)
out=$dir/artifacts/run n=0
mkdir -p "$out/job_events"
echo "{\"command\": [\"ansible-playbook\", $check\"$playbook\"], \"env\": {\"SECRET\": \"hunter2\"}}" > "$out/command"
event() { n=$((n + 1)); echo "{\"counter\": $n, \"event\": \"$1\", \"event_data\": {\"task\": \"$2\", \"task_path\": \"$dir/project/$playbook:3\", \"host\": \"srv-101\", \"res\": {$3}}}" > "$out/job_events/$n-x.json"; }
end() { echo "${2:-}" > "$out/stdout"; [ "$1" = 4 ] || event playbook_on_stats "" ""; echo -n successful > "$out/status"; echo -n "$1" > "$out/rc"; exit "$1"; }
trap 'echo -n canceled > "$out/status"; echo -n 254 > "$out/rc"; exit 254' TERM
[ "$playbook" = render.yml ] && end 4 "[ERROR]: couldn't resolve module/action"
[ "$playbook" = nothing.yml ] && end 0 "skipping: no hosts matched"
[ -e %W%/up ] || { event runner_on_unreachable first '"msg": "Failed to connect to the host via ssh: Connection refused"'; end 4; }
case $playbook in
change.yml)
  if [ -e %W%/changed ]; then event runner_on_ok motd '"changed": false'; else event runner_on_ok motd '"changed": true'; fi
  [ -n "$check" ] || touch %W%/changed ;;
slow.yml)
  echo run >> %W%/marks
  while [ ! -e %W%/release ]; do sleep 0.01; done
  event runner_on_ok mark '"changed": true' ;;
fail.yml) event runner_on_ok first '"changed": true'; event runner_on_failed root '"msg": "` + configmgmttest.Words + `"'; end 2 ;;
*) event runner_on_ok there '"changed": false' ;;
esac
end 0
`,
}

// hosts are programs on the host, which is this machine but for them.
var hosts = map[string]string{
	"ip": `#!/bin/sh
case "$2" in
link) echo '1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 \    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00'
  echo '2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 \    link/ether 02:00:00:00:65:01 brd ff:ff:ff:ff:ff:ff' ;;
addr) echo '1: lo    inet 127.0.0.1/8 scope host lo\       valid_lft forever'
  echo '2: eth0    inet 192.0.2.7/25 brd 192.0.2.127 scope global eth0\       valid_lft forever' ;;
esac
`,
	"ping":      "#!/bin/sh\n[ \"$5\" = 127.0.0.1 ]\n",
	"systemctl": "#!/bin/sh\n[ \"$3\" = ssh.service ] && echo active || echo inactive\n",
	"service":   "#!/bin/sh\ncat\n[ \"$1\" = ssh ]\n", // it reads its input, as some scripts do
}

// facts are what the host says of itself.
func facts(t *testing.T) configmgmt.Facts {
	t.Helper()
	system, err := exec.CommandContext(t.Context(), "sh", "-c", `. /etc/os-release && echo $ID $VERSION_ID && uname -r`).Output()
	if err != nil {
		t.Fatal(err)
	}
	said := strings.Split(string(system), "\n")
	return configmgmt.Facts{OS: said[0], Kernel: said[1], Services: map[string]string{"ssh.service": configmgmt.Active},
		Links:   []configmgmt.Link{{Name: "eth0", MAC: "02:00:00:00:65:01", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/25")}}},
		Reached: map[netip.Addr]bool{netip.MustParseAddr("127.0.0.1"): true, netip.MustParseAddr("2001:db8::1"): false}}
}

// world is a host with the programs that reach it.
type world struct {
	dir     string
	options ansible.Options
}

func start(t *testing.T) *world {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t, goleak.IgnoreCurrent()) }) // last: every child has been reaped
	w := &world{dir: t.TempDir()}
	for name, text := range programs {
		w.write(t, "bin/"+name, strings.ReplaceAll(text, "%W%", w.dir))
	}
	for name, text := range hosts {
		w.write(t, "host/"+name, text)
	}
	w.write(t, "project/site.yml", "")
	w.write(t, "key", "")
	w.options = ansible.Options{Dir: filepath.Join(w.dir, "worker"), Project: filepath.Join(w.dir, "project"), Bin: filepath.Join(w.dir, "bin"),
		User: "root", KeyFile: filepath.Join(w.dir, "key")}
	t.Cleanup(func() { w.sweep(t, "/runs/") }) // what a test that failed left behind
	w.Rekey(t)
	return w
}

func (w *world) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o700)); err != nil {
		t.Fatal(err)
	}
}

func (w *world) remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(w.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

func (w *world) exists(name string) bool {
	_, err := os.Stat(filepath.Join(w.dir, name))
	return err == nil
}

func (w *world) open(t *testing.T) configmgmt.Driver {
	t.Helper()
	d, err := ansible.New(w.options)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (w *world) Target() configmgmt.Target {
	return configmgmt.Target{Name: "srv-101", Address: "192.0.2.7:2222"}
}

func (w *world) Fingerprint(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, "hostkey"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Fields(string(b))[2])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(raw)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

func (w *world) Rekey(t *testing.T) {
	t.Helper()
	raw := make([]byte, 51)
	if _, err := rand.Read(raw); err != nil {
		t.Fatal(err)
	}
	w.write(t, "hostkey", "192.0.2.7 ssh-ed25519 "+base64.StdEncoding.EncodeToString(raw)+"\n")
	w.Start(t)
}

func (w *world) Changed(*testing.T) bool { return w.exists("changed") }

func (w *world) Marks(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, "marks"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

func (w *world) Release(t *testing.T) { w.write(t, "release", "") }
func (w *world) Hold(t *testing.T)    { w.remove(t, "release") }
func (w *world) Stop(t *testing.T)    { w.remove(t, "up") }
func (w *world) Start(t *testing.T)   { w.write(t, "up", "") }

// kill kills every process of a run at once, as a power cut does.
func (w *world) kill(t *testing.T, run configmgmt.Handle) {
	t.Helper()
	if !w.sweep(t, "/runs/"+run.Job+"\x00") {
		t.Fatal("the run has no processes")
	}
}

// sweep kills the processes whose run folder goes on like this below the worker's, until there are none.
func (w *world) sweep(t *testing.T, below string) (found bool) {
	t.Helper()
	for gone := false; !gone; {
		environs, err := filepath.Glob("/proc/[0-9]*/environ")
		if err != nil {
			t.Fatal(err)
		}
		gone = true
		for _, path := range environs {
			env, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(env), "CAGENUT_RUN="+w.options.Dir+below) {
				continue
			}
			var pid int
			if _, err := fmt.Sscanf(path, "/proc/%d/", &pid); err != nil {
				t.Fatal(err)
			}
			_ = syscall.Kill(pid, syscall.SIGKILL)
			gone, found = false, true
		}
	}
	return found
}

func (w *world) spec(k configmgmttest.Kind) configmgmt.Spec {
	return configmgmt.Spec{Ansible: &configmgmt.AnsibleSpec{Playbook: string(k) + ".yml"}}
}

// TestConformanceOnFakes runs the suite on programs of our own; the real ones are in test/e2e.
func TestConformanceOnFakes(t *testing.T) {
	w := start(t)
	configmgmttest.Run(t, configmgmttest.Harness{Open: w.open, Host: w, Spec: w.spec, Facts: facts, Lose: w.kill, Within: 20 * time.Second})
}

// enrolled gives a world whose host is enrolled.
func enrolled(t *testing.T) (*world, configmgmt.Driver) {
	t.Helper()
	w := start(t)
	d := w.open(t)
	if err := d.Enroll(t.Context(), w.Target(), w.Fingerprint(t)); err != nil {
		t.Fatal(err)
	}
	return w, d
}

func (w *world) request(k configmgmttest.Kind) configmgmt.Request {
	return configmgmt.Request{Operation: "op_1", Step: string(k), Attempt: 1, Target: w.Target(), Spec: w.spec(k)}
}

// end polls until a run is over.
func end(t *testing.T, d configmgmt.Driver, h configmgmt.Handle) (configmgmt.Report, error) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := d.Poll(t.Context(), h)
		if err != nil || r.State != configmgmt.Running {
			return r, err
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("it still runs")
		}
	}
}

// TestCrashAfterStart takes away what the driver writes after the child exists: the run is found.
func TestCrashAfterStart(t *testing.T) {
	for _, over := range []bool{false, true} {
		t.Run(fmt.Sprint("over ", over), func(t *testing.T) {
			w, d := enrolled(t)
			h, err := d.Apply(t.Context(), w.request(configmgmttest.Slow))
			if err != nil {
				t.Fatal(err)
			}
			if over {
				w.Release(t)
				if _, err := end(t, d, h); err != nil {
					t.Fatal(err)
				}
			}
			w.remove(t, "worker/runs/"+h.Job+"/started")
			found, err := w.open(t).Apply(t.Context(), w.request(configmgmttest.Slow))
			if err != nil || !found.Found || found.Job != h.Job {
				t.Errorf("Apply = %+v, %v; want run %s to be found", found, err, h.Job)
			}
			w.Release(t)
			if r, err := end(t, d, found); err != nil || r.State != configmgmt.Succeeded || w.Marks(t) != 1 {
				t.Errorf("report %+v, %v after %d marks; want success after one", r, err, w.Marks(t))
			}
		})
	}
}

// TestCrashBeforeStart leaves a folder without a process: the run is started, in a fresh one.
func TestCrashBeforeStart(t *testing.T) {
	w, d := enrolled(t)
	r := w.request(configmgmttest.Change)
	w.write(t, "worker/runs/"+r.Key(false)+"/env/cmdline", "--check")
	w.write(t, "worker/hosts/srv-101.run", r.Key(false))
	h, err := d.Apply(t.Context(), r)
	if err != nil || h.Found {
		t.Fatalf("Apply = %+v, %v; want a new run", h, err)
	}
	if w.exists("worker/runs/" + h.Job + "/env/cmdline") {
		t.Error("an option of an earlier run is left")
	}
	if r, err := end(t, d, h); err != nil || r.State != configmgmt.Succeeded || !w.Changed(t) {
		t.Errorf("report %+v, %v, changed %t", r, err, w.Changed(t))
	}
}

// TestMode holds that a run in the wrong mode is seen, whatever made it so.
func TestMode(t *testing.T) {
	for mode, test := range map[string]bool{`"--check", `: false, `"-C", `: false, ` `: true} {
		w, d := enrolled(t)
		w.write(t, "mode", mode)
		start := d.Apply
		if test {
			start = d.Plan
		}
		h, err := start(t.Context(), w.request(configmgmttest.Clean))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := end(t, d, h); !errors.Is(err, configmgmt.ErrMode) || !configmgmt.Over(err) {
			t.Errorf("mode %q in a test run %t: %v, want %v", mode, test, err, configmgmt.ErrMode)
		}
	}
}

// TestNoSecrets holds that the environment which ansible-runner records does not stay on the disk.
func TestNoSecrets(t *testing.T) {
	w, d := enrolled(t)
	h, err := d.Apply(t.Context(), w.request(configmgmttest.Clean))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := end(t, d, h); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(w.options.Dir, "runs", h.Job, "artifacts/run/command"))
	if err != nil || strings.Contains(string(b), "hunter2") || !strings.Contains(string(b), "clean.yml") {
		t.Errorf("recorded: %s, %v; want the arguments and no environment", b, err)
	}
}

func TestOldRunsAreRemoved(t *testing.T) {
	w, d := enrolled(t)
	h, err := d.Apply(t.Context(), w.request(configmgmttest.Clean))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := end(t, d, h); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-8 * 24 * time.Hour)
	if err := os.Chtimes(filepath.Join(w.options.Dir, "runs", h.Job), old, old); err != nil {
		t.Fatal(err)
	}
	r, err := w.open(t).Poll(t.Context(), h)
	if err != nil || r.State != configmgmt.Lost {
		t.Errorf("Poll = %+v, %v; want a lost run", r, err)
	}
}

func TestPingNamesWhatIsMissing(t *testing.T) {
	w := start(t)
	w.remove(t, "bin/ansible-runner")
	w.remove(t, "key")
	w.options.Path = "/nowhere"
	d := w.open(t)
	s, err := d.Ping(t.Context())
	if err != nil || !strings.Contains(strings.Join(s.Missing, " "), "ansible-runner readable key") {
		t.Errorf("Ping = %+v, %v; want ansible-runner and the key to be missing", s, err)
	}
	if _, err := d.Apply(t.Context(), w.request(configmgmttest.Clean)); !errors.Is(err, configmgmt.ErrNotEnrolled) {
		t.Errorf("error %v, want %v", err, configmgmt.ErrNotEnrolled)
	}
}

func TestNew(t *testing.T) {
	good := ansible.Options{Dir: t.TempDir(), Project: "/srv/project", KeyFile: "/etc/key", User: "deploy"}
	if _, err := ansible.New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*ansible.Options){
		"relative":      func(o *ansible.Options) { o.Dir = "state" },
		"spaces":        func(o *ansible.Options) { o.Project = "/srv/my project" },
		"percent":       func(o *ansible.Options) { o.Dir = "/srv/%h" },
		"no key":        func(o *ansible.Options) { o.KeyFile = "" },
		"no user":       func(o *ansible.Options) { o.User = "" },
		"a user option": func(o *ansible.Options) { o.User = "-oProxyCommand=x" },
	} {
		o := good
		spoil(&o)
		if _, err := ansible.New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAddresses(t *testing.T) {
	w, d := enrolled(t)
	for address, good := range map[string]bool{
		"192.0.2.7": true, "2001:db8::7": true, "[2001:db8::7]:2222": true, "srv-101.example.com": true,
		"": false, "-oProxyCommand=x": false, "a b": false, "192.0.2.7:0": false, "192.0.2.7:ssh": false, "u@h": false,
	} {
		target := w.Target()
		target.Address = address
		if err := d.Reach(t.Context(), target); errors.Is(err, configmgmt.ErrInvalid) == good {
			t.Errorf("address %q: %v, want good %t", address, err, good)
		}
	}
}
