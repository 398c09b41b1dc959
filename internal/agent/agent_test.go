package agent_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/cagenut/cagenut/internal/agent"
	"github.com/cagenut/cagenut/internal/agent/linux"
	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/api/client"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/boot"
	"github.com/cagenut/cagenut/internal/bootproto"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/templates"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	mac    = "02:00:00:00:65:01"
	serial = "SN-0101"
	disk   = "/dev/disk/by-id/virtio-root01"
)

// rig is an agent on a machine whose kernel is a tree of files, with the boot service of its site over
// the real API, whose store is in memory.
type rig struct {
	t      *testing.T
	api    *client.Client
	record operation.BootRecord
	url    string // the machine's one-time URL
	root   string
	did    counted
	most   time.Duration // that a command takes
	cut    atomic.Bool   // the network
	lose   atomic.Pointer[string]
}

// counted counts what a machine does.
type counted struct {
	*linux.Machine
	mu    sync.Mutex
	times map[string]int
}

func (c *counted) count(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.times[kind]++
}

func (c *counted) seen(kind string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.times[kind]
}

func (c *counted) Erase(ctx context.Context, args bootproto.DiskArgs, say agent.Say) (bootproto.DiskResult, error) {
	c.count(bootproto.AgentDiskLayout)
	return c.Machine.Erase(ctx, args, say)
}

func (c *counted) BurnIn(ctx context.Context, args bootproto.BurnInArgs, say agent.Say) (bootproto.BurnInResult, error) {
	c.count(bootproto.AgentBurnIn)
	return c.Machine.BurnIn(ctx, args, say)
}

func newRig(t *testing.T) *rig {
	t.Helper()
	api := apitest.Start(t, 1)
	accepted, err := api.As(t, operation.Admin).Install(t.Context(), wire.Install{Targets: wire.Targets{Names: []string{"srv-01"}}, Until: "hardware", Reason: "r", Ticket: "t"}, "key-of-this-test")
	if err != nil {
		t.Fatal(err)
	}
	set, err := templates.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, api: api.As(t, operation.Worker, "ams01"), root: t.TempDir(), most: 30 * time.Second}
	var server *boot.Server
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		lost := r.lose.Load()
		switch {
		case r.cut.Load():
			panic(http.ErrAbortHandler)
		case lost != nil && strings.HasSuffix(q.URL.Path, *lost) && r.lose.CompareAndSwap(lost, nil): // it is done, and nobody hears
			server.ServeHTTP(httptest.NewRecorder(), q)
			panic(http.ErrAbortHandler)
		}
		server.ServeHTTP(w, q)
	}))
	t.Cleanup(web.Close)
	server, err = boot.New(boot.Options{API: r.api, Templates: set, Base: web.URL, Clock: api.Clock.Now,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Keep: time.Nanosecond, PerSecond: 1e6, Burst: 1e6})
	if err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-stopped })
	go func() { // the API's clock is its own
		defer close(stopped)
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
				api.Clock.Move(5 * time.Millisecond)
			}
		}
	}()
	token, sum, err := operation.NewBootToken()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := templates.Samples()[0].Machine.Record()
	if err != nil {
		t.Fatal(err)
	}
	now := api.Clock.Now()
	r.record, err = r.api.BootOpen(t.Context(), operation.BootOpen{Operation: accepted.ID, Asset: 101, Step: "agent", Purpose: operation.ForAgent, Attempt: 1,
		TokenSum: sum, MACs: []string{mac}, Serial: serial, Machine: raw, At: now, Expires: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	r.url = web.URL + "/boot/" + token
	for name, text := range map[string]string{
		"sys/class/dmi/id/product_serial": serial, "sys/class/net/eth0/address": mac, "sys/class/net/eth0/type": "1", "sys/class/net/eth0/device/vendor": "0x1af4",
		"sys/block/vda/size": "32768", "sys/block/vda/serial": "root01", "sys/block/vda/queue/rotational": "0", "dev/vda": strings.Repeat("old data", 2<<20),
		"proc/meminfo": "MemTotal: 400000 kB\nMemAvailable: 200000 kB\n",
	} {
		path := filepath.Join(r.root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := agent.NewHTTP(nil)
	t.Cleanup(h.CloseIdleConnections)
	r.did = counted{times: map[string]int{}, Machine: linux.New(linux.Options{Root: r.root, HTTP: h, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Minute: 500 * time.Millisecond})}
	return r
}

// ended is how an agent ended.
type ended struct {
	end agent.End
	err error
}

// start starts an agent; its end comes when it has.
func (r *rig) start(ctx context.Context) <-chan ended {
	r.t.Helper()
	h := agent.NewHTTP(nil)
	a, err := agent.New(agent.Options{Machine: &r.did, URL: r.url, HTTP: h, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		First: 5 * time.Millisecond, Most: 20 * time.Millisecond, Every: time.Millisecond, WaitSec: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	out := make(chan ended, 1)
	go func() {
		end, err := a.Run(ctx)
		h.CloseIdleConnections()
		out <- ended{end, err}
	}()
	return out
}

// order has the agent do something, and waits for its end.
func (r *rig) order(id, kind string, args any) operation.AgentCommand {
	r.t.Helper()
	c := operation.AgentCommand{ID: id, Boot: r.record.ID, Kind: kind}
	if args != nil {
		raw, err := json.Marshal(args)
		if err != nil {
			r.t.Fatal(err)
		}
		c.Args = raw
	}
	for deadline := time.Now().Add(r.most); ; {
		got, err := r.api.AgentCommand(r.t.Context(), c)
		if err != nil {
			r.t.Fatal(err)
		}
		if got.State.Ended() {
			return got
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s has not ended: %+v", id, got)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func result[R any](t *testing.T, c operation.AgentCommand) R {
	t.Helper()
	var out R
	if c.State != operation.CommandDone {
		t.Fatalf("%s is %s: %s", c.Kind, c.State, c.Error)
	}
	if err := json.Unmarshal(c.Result, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func (r *rig) disk() []byte {
	r.t.Helper()
	raw, err := os.ReadFile(filepath.Join(r.root, "dev/vda"))
	if err != nil {
		r.t.Fatal(err)
	}
	return raw
}

// image serves a packed image, and gives its URL, SHA-256 and content.
func image(t *testing.T) (url, sum string, content []byte) {
	t.Helper()
	content = make([]byte, 5<<20)
	if _, err := rand.Read(content[:3<<20]); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		http.ServeContent(w, q, "image", time.Time{}, bytes.NewReader(packed.Bytes()))
	}))
	t.Cleanup(srv.Close)
	digest := sha256.Sum256(packed.Bytes())
	return srv.URL, hex.EncodeToString(digest[:]), content
}

// What an install has its agent do, from the claim to the restart.
func TestAnInstall(t *testing.T) {
	r := newRig(t)
	end := r.start(t.Context())
	report := result[bootproto.HardwareReport](t, r.order("c1", bootproto.AgentReport, nil))
	want := bootproto.HardwareReport{BootIdentity: bootproto.BootIdentity{MACs: []string{mac}, Serials: []string{serial}}, Firmware: "bios", MemoryMiB: 390,
		Disks: []profile.Disk{{Path: disk, Serial: "root01", Bus: "virtio", Bytes: 16 << 20}}, Ports: []bootproto.Port{{Name: "eth0", MAC: mac}}}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Errorf("report (-want +got)\n%s", diff)
	}
	burnt := result[bootproto.BurnInResult](t, r.order("c2", bootproto.AgentBurnIn, bootproto.BurnInArgs{Minutes: 3, BurnIn: profile.BurnIn{CPUMinutes: 1, MemoryMinutes: 1, DiskMinutes: 1}}))
	if burnt.Minutes != 3 || len(burnt.Errors) > 0 || len(burnt.Seen) < 3 {
		t.Errorf("burn-in: %+v", burnt)
	}
	erased := result[bootproto.DiskResult](t, r.order("c3", bootproto.AgentDiskLayout, bootproto.DiskArgs{Disks: []string{disk}}))
	if diff := cmp.Diff(want.Disks, erased.Disks); diff != "" {
		t.Errorf("erased (-want +got)\n%s", diff)
	}
	if !bytes.Equal(r.disk(), make([]byte, 16<<20)) {
		t.Error("the disk is not erased")
	}
	url, sum, content := image(t)
	wrote := result[bootproto.ImageResult](t, r.order("c4", bootproto.AgentWriteImage, bootproto.ImageArgs{Disks: []string{disk}, URL: url, SHA256: sum}))
	if wrote.SHA256 != sum || wrote.Bytes != int64(len(content)) || !bytes.Equal(r.disk()[:len(content)], content) {
		t.Errorf("the image is not on the disk: %+v", wrote)
	}
	if c := r.order("c5", "paint", nil); c.State != operation.CommandFailed || !strings.Contains(c.Error, "does not know the command paint") {
		t.Errorf("a command of a newer version: %+v", c)
	}
	result[any](t, r.order("c6", bootproto.AgentReport, nil))
	c := operation.AgentCommand{ID: "c7", Boot: r.record.ID, Kind: bootproto.AgentReboot}
	if _, err := r.api.AgentCommand(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if got := <-end; got.err != nil || got.end != agent.Reboot {
		t.Errorf("ended: %+v", got)
	}
	if c, err := r.api.AgentCommand(t.Context(), c); err != nil || c.State != operation.CommandDone {
		t.Errorf("the machine restarts, and reboot is %s: %v", c.State, err)
	}
}

// The answer to a result is lost: the agent tells it again, and does nothing twice. The network goes
// away while it asks: it goes on when it is back.
func TestTheNetworkGoesAway(t *testing.T) {
	r := newRig(t)
	lose := "/claim"
	r.lose.Store(&lose)
	end := r.start(t.Context())
	result[any](t, r.order("c1", bootproto.AgentReport, nil))
	lose2 := "/result"
	r.lose.Store(&lose2)
	result[any](t, r.order("c2", bootproto.AgentDiskLayout, bootproto.DiskArgs{Disks: []string{disk}}))
	lose3 := "/next"
	r.lose.Store(&lose3)
	r.cut.Store(true)
	c := operation.AgentCommand{ID: "c3", Boot: r.record.ID, Kind: bootproto.AgentStop}
	if _, err := r.api.AgentCommand(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-end:
		t.Fatalf("gave up: %+v", got)
	case <-time.After(200 * time.Millisecond): // many tries
	}
	r.cut.Store(false)
	if got := <-end; got.err != nil || got.end != agent.Stop {
		t.Errorf("ended: %+v", got)
	}
	if n := r.did.seen(bootproto.AgentDiskLayout); n != 1 {
		t.Errorf("the disk was erased %d times", n)
	}
}

// What cannot be done is told as failed, with the reason; the disk then does not boot.
func TestFailures(t *testing.T) {
	r := newRig(t)
	ctx, stop := context.WithCancel(t.Context())
	end := r.start(ctx)
	url, sum, _ := image(t)
	gone := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(gone.Close)
	other := strings.Repeat("ab", 32)
	for i, c := range []struct {
		kind string
		args any
		want string
	}{
		{bootproto.AgentDiskLayout, bootproto.DiskArgs{}, "empty is not all"},
		{bootproto.AgentDiskLayout, bootproto.DiskArgs{Disks: []string{"/dev/vda"}}, "disk /dev/vda is not here"},
		{bootproto.AgentDiskLayout, bootproto.DiskArgs{Disks: []string{disk, disk}}, "is named twice"},
		{bootproto.AgentWriteImage, bootproto.ImageArgs{Disks: []string{disk}, URL: url, SHA256: other}, "the image has SHA-256 " + sum + ", and " + other + " was promised"},
		{bootproto.AgentWriteImage, bootproto.ImageArgs{Disks: []string{disk}, URL: url}, "no image is written unproved"},
		{bootproto.AgentWriteImage, bootproto.ImageArgs{Disks: []string{disk}, URL: gone.URL, SHA256: sum}, "HTTP 404"},
		{bootproto.AgentWriteImage, "x", "make no sense"},
		{bootproto.AgentBurnIn, bootproto.BurnInArgs{}, "no minutes are given"},
		{bootproto.AgentBurnIn, bootproto.BurnInArgs{BurnIn: profile.BurnIn{NetworkMinutes: 1}}, "network_minutes"},
		{bootproto.AgentBurnIn, bootproto.BurnInArgs{BurnIn: profile.BurnIn{DiskMinutes: 1, DiskWrites: true, Thresholds: profile.Thresholds{MinWriteMBs: 1e9}}}, "MB/s, at least 1000000000 must be"},
	} {
		got := r.order("c"+string(rune('a'+i)), c.kind, c.args)
		if got.State != operation.CommandFailed || !strings.Contains(got.Error, c.want) {
			t.Errorf("%s %+v: %s: %q, want %q", c.kind, c.args, got.State, got.Error, c.want)
		}
		if got.Kind == bootproto.AgentWriteImage && strings.Contains(c.want, "promised") && !bytes.Equal(r.disk()[:1<<20], make([]byte, 1<<20)) {
			t.Error("a disk with a wrong image has a head")
		}
	}
	if n := r.did.seen(bootproto.AgentDiskLayout); n != 3 {
		t.Errorf("%d tries to erase", n)
	}
	stop()
	if got := <-end; !errors.Is(got.err, context.Canceled) {
		t.Errorf("ended: %+v", got)
	}
}

// An agent that is started anew has no memory: it claims again, gets the command that has not ended,
// and begins it again.
func TestStartedAnew(t *testing.T) {
	r := newRig(t)
	ctx, kill := context.WithCancel(t.Context())
	first := r.start(ctx)
	c := operation.AgentCommand{ID: "c1", Boot: r.record.ID, Kind: bootproto.AgentBurnIn, Args: json.RawMessage(`{"cpu_minutes": 1000, "minutes": 1000}`)}
	for c.State != operation.CommandRunning || c.Progress == nil {
		var err error
		if c, err = r.api.AgentCommand(t.Context(), operation.AgentCommand{ID: c.ID, Boot: c.Boot, Kind: c.Kind, Args: c.Args}); err != nil {
			t.Fatal(err)
		}
		<-time.After(5 * time.Millisecond)
	}
	if !strings.HasPrefix(c.Progress.Text, "processors: ") {
		t.Errorf("progress %+v", c.Progress)
	}
	kill()
	<-first
	second := r.start(t.Context())
	for r.did.seen(bootproto.AgentBurnIn) < 2 {
		<-time.After(5 * time.Millisecond)
	}
	if err := r.api.BootClose(t.Context(), r.record.ID); err != nil { // the operator gives up
		t.Fatal(err)
	}
	got := <-second // in the middle of its work
	var refused *agent.Refused
	if !errors.As(got.err, &refused) || !refused.Ended() {
		t.Errorf("ended: %+v", got)
	}
}

// Another machine is refused, and does not ask again.
func TestAnotherMachine(t *testing.T) {
	r := newRig(t)
	if err := os.WriteFile(filepath.Join(r.root, "sys/class/net/eth0/address"), []byte("02:00:00:00:00:99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := <-r.start(t.Context())
	var refused *agent.Refused
	if !errors.As(got.err, &refused) || refused.Problem.Code != fault.WrongMachine || refused.Ended() || strings.Contains(got.err.Error(), "/boot/") {
		t.Errorf("ended: %+v", got)
	}
}

func TestURL(t *testing.T) {
	for _, url := range []string{"", "http://boot", "ftp://boot/boot/x", "http://boot/boot/", "http://boot/boot/a/b", "http:///boot/x", "http://boot/install/x"} {
		if _, err := agent.New(agent.Options{URL: url}); err == nil {
			t.Errorf("%q is taken", url)
		}
	}
}
