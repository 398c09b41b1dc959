package boot

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/templates"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	mac   = "02:00:00:00:65:01"
	token = "Zk3vT9sQ1xW7yB5nM2pL8aZk3vT9sQ1xW7yB5nM2pL8"
)

// oneMachine is an API that knows one machine.
type oneMachine struct {
	mu      sync.Mutex
	record  operation.BootRecord
	tokens  map[operation.BootSum]bool
	err     error // of every call
	lookups int
	heard   []string
	command *operation.AgentCommand
}

func (a *oneMachine) set(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

func (a *oneMachine) BootByToken(_ context.Context, sum operation.BootSum) (operation.BootRecord, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lookups++
	switch {
	case a.err != nil:
		return operation.BootRecord{}, a.err
	case !a.tokens[sum]:
		return operation.BootRecord{}, fault.New(fault.NotFound, "nobody made this one-time token")
	}
	return a.record, a.record.Live(time.Now())
}

func (a *oneMachine) BootByMAC(_ context.Context, m string, mint operation.BootSum) (operation.BootRecord, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lookups++
	switch {
	case a.err != nil:
		return operation.BootRecord{}, a.err
	case m != mac || a.record.Live(time.Now()) != nil:
		return operation.BootRecord{}, fault.New(fault.NotFound, "no operation boots a machine with MAC %s", m)
	}
	a.tokens[mint] = true
	return a.record, nil
}

func (a *oneMachine) BootEvent(_ context.Context, sum operation.BootSum, stage string, body []byte, from string) (operation.Heard, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.err != nil:
		return operation.Heard{}, a.err
	case !a.tokens[sum]:
		return operation.Heard{}, fault.New(fault.NotFound, "nobody made this one-time token")
	}
	if !operation.OwnStage(stage) {
		if err := a.record.Prove(operation.IdentityOf(body)); err != nil {
			return operation.Heard{}, err
		}
	}
	a.heard = append(a.heard, stage)
	a.record.Stages = append(a.record.Stages, stage)
	return operation.Heard{Sequence: int64(len(a.heard))}, nil
}

func (a *oneMachine) AgentClaim(_ context.Context, _ operation.BootSum, who operation.BootIdentity, _ string) (operation.BootRecord, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.record.Prove(who); err != nil {
		return operation.BootRecord{}, err
	}
	return a.record, a.err
}

func (a *oneMachine) AgentNext(context.Context, operation.BootSum, int) (*operation.AgentCommand, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.command, a.err
}

func (a *oneMachine) AgentProgress(_ context.Context, _ operation.BootSum, command string, p operation.Progress) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.heard = append(a.heard, command+" "+p.Text)
	return a.err
}

func (a *oneMachine) AgentResult(_ context.Context, _ operation.BootSum, command string, r operation.CommandResult, _ string) (operation.AgentCommand, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return operation.AgentCommand{ID: command, State: r.State, Result: r.Result}, a.err
}

type door struct {
	api     *oneMachine
	server  *Server
	url     string
	reports []Report
}

// serve serves a sample's machine.
func serve(t *testing.T, sample string, p operation.Purpose, change func(*Options)) *door {
	t.Helper()
	d := &door{}
	for _, s := range templates.Samples() {
		if s.Name != sample {
			continue
		}
		raw, err := s.Machine.Record()
		if err != nil {
			t.Fatal(err)
		}
		d.api = &oneMachine{tokens: map[operation.BootSum]bool{operation.SumBootToken(token): true},
			record: operation.BootRecord{ID: 1, Operation: "op_01JCAGENUT0000000000000000", Asset: asset.Ref{ID: 101, Name: "srv-101"}, Purpose: p, MACs: []string{mac},
				Machine: raw, Run: operation.Running, Opened: time.Now(), Expires: time.Now().Add(time.Hour)}}
	}
	set, err := templates.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{API: d.api, Templates: set, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Keep: time.Nanosecond,
		Report: func(r Report) { d.reports = append(d.reports, r) }, PerSecond: 1e6, Burst: 1e6}
	var web http.Handler
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { web.ServeHTTP(w, r) }))
	t.Cleanup(srv.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	o.Base = srv.URL
	if change != nil {
		change(&o)
	}
	if d.server, err = New(o); err != nil {
		t.Fatal(err)
	}
	web, d.url = d.server, srv.URL
	return d
}

func (d *door) do(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, d.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(raw)
}

const report = "mac=" + mac + "\n"

// Every URL that any rendered file names below the boot service is served, and every stage heard.
func TestEverythingAdvertisedIsServed(t *testing.T) {
	for _, sample := range templates.Samples() {
		d := serve(t, sample.Name, operation.ForInstall, nil)
		base := d.url + "/boot/" + token
		seen, queue := map[string]bool{}, []string{"agent.ipxe", "installer.ipxe", "local.ipxe", "hook.sh", "meta-data", "user-data", "vendor-data"}
		if sample.Machine.Method() == "image" {
			queue = []string{"agent.ipxe", "local.ipxe", "user-data", "meta-data", "network-config", "vendor-data"}
		}
		if sample.Machine.Method() == "preseed" || sample.Machine.Method() == "kickstart" {
			queue = queue[:4]
		}
		named := 0
		for len(queue) > 0 {
			name := queue[0]
			queue = queue[1:]
			if seen[name] || name == "" || name == "stage" { // NoCloud adds the names itself
				continue
			}
			seen[name] = true
			code, text := d.do(t, http.MethodGet, "/boot/"+token+"/"+name, "")
			if code != http.StatusOK {
				t.Errorf("%s: GET %s: HTTP %d: %s", sample.Name, name, code, text)
			}
			for _, rest := range strings.Split(text, base+"/")[1:] {
				named++
				queue = append(queue, rest[:strings.IndexAny(rest+" ", "' \n\"")])
			}
			for _, rest := range strings.Split(text, d.url+"/")[1:] {
				if !strings.HasPrefix(rest, "boot/"+token) {
					t.Errorf("%s: %s names %s of the boot service", sample.Name, name, rest[:min(len(rest), 60)])
				}
			}
		}
		if named == 0 && sample.Machine.Method() != "image" {
			t.Errorf("%s: nothing is advertised, so nothing was tested", sample.Name)
		}
		for _, stage := range templates.Stages() {
			if code, text := d.do(t, http.MethodPost, "/boot/"+token+"/stage/"+string(stage), report); code != http.StatusOK {
				t.Errorf("%s: stage %s: HTTP %d: %s", sample.Name, stage, code, text)
			}
		}
	}
}

func TestByMAC(t *testing.T) {
	d := serve(t, "debian-bios-plain", operation.ForInstall, nil)
	code, text := d.do(t, http.MethodGet, "/boot/mac/02-00-00-00-65-01", "")
	if code != 200 || !strings.HasPrefix(text, "#!ipxe\n") || !strings.Contains(text, "url="+d.url+"/boot/") || strings.Contains(text, token) {
		t.Fatalf("HTTP %d: %s", code, text)
	}
	_, rest, _ := strings.Cut(text, "url="+d.url)
	preseed, _, _ := strings.Cut(rest, " ")
	if code, text := d.do(t, http.MethodGet, preseed, ""); code != 200 || !strings.Contains(text, "d-i ") {
		t.Errorf("GET %s: HTTP %d", preseed, code)
	}
	if _, again := d.do(t, http.MethodGet, "/boot/mac/"+mac, ""); again != text || len(d.api.tokens) != 2 {
		t.Errorf("asked again, another token was made: there are %d", len(d.api.tokens))
	}
	if diff := cmp.Diff([]string{"asked", "fetched"}, d.api.heard); diff != "" {
		t.Errorf("noted (-want +got)\n%s", diff)
	}
	// As soon as it reports that its disk is being overwritten, it boots the disk, cache or not.
	stage := strings.TrimSuffix(preseed, "preseed.cfg") + "stage/partitioned"
	d.server.cache.keep, d.server.o.Keep = time.Hour, time.Hour
	d.do(t, http.MethodGet, "/boot/mac/"+mac, "")
	if code, text := d.do(t, http.MethodPost, stage, report); code != 200 {
		t.Fatalf("HTTP %d: %s", code, text)
	}
	if _, text := d.do(t, http.MethodGet, "/boot/mac/"+mac, ""); strings.Contains(text, "kernel ") || !strings.Contains(text, "reported partitioned") {
		t.Errorf("after partitioned: %s", text)
	}
	if len(d.reports) != 1 || d.reports[0].MAC != mac || d.reports[0].Why != "the machine has reported partitioned" {
		t.Errorf("reports %+v", d.reports)
	}
}

// A report makes forgotten what is known by MAC, also when nothing else was asked with the token.
func TestAReportEndsWhatIsKeptByMAC(t *testing.T) {
	d := serve(t, "debian-bios-plain", operation.ForInstall, func(o *Options) { o.Keep = time.Hour })
	_, text := d.do(t, http.MethodGet, "/boot/mac/"+mac, "")
	_, rest, _ := strings.Cut(text, "url="+d.url)
	base, _, _ := strings.Cut(rest, "/preseed.cfg")
	if code, text := d.do(t, http.MethodPost, base+"/stage/partitioned", report); code != 200 {
		t.Fatalf("HTTP %d: %s", code, text)
	}
	if _, text := d.do(t, http.MethodGet, "/boot/mac/"+mac, ""); strings.Contains(text, "\nkernel ") {
		t.Errorf("it is given the installer again: %s", text)
	}
}

// In doubt the disk is booted, and never an installer.
func TestInDoubtTheDisk(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*oneMachine)
		code   fault.Code
		other  int // of a file that is no script
	}{
		"closed":            {func(a *oneMachine) { a.record.Revoked = time.Now() }, "", http.StatusGone},
		"expired":           {func(a *oneMachine) { a.record.Expires = time.Now() }, "", http.StatusGone},
		"in service":        {func(a *oneMachine) { a.record.Run = operation.Done }, "", http.StatusGone},
		"API away":          {func(a *oneMachine) { a.err = fault.New(fault.EngineAway, "connection refused") }, fault.EngineAway, http.StatusServiceUnavailable},
		"API too slow":      {func(a *oneMachine) { a.err = context.DeadlineExceeded }, fault.EngineAway, http.StatusServiceUnavailable},
		"API confused":      {func(a *oneMachine) { a.err = fault.New(fault.Internal, "x") }, fault.Internal, http.StatusInternalServerError},
		"another site":      {func(a *oneMachine) { a.err = fault.New(fault.ForeignSite, "fra01") }, fault.ForeignSite, http.StatusForbidden},
		"cannot render":     {func(a *oneMachine) { a.record.Machine = json.RawMessage(`{}`) }, fault.Internal, http.StatusInternalServerError},
		"a hostile message": {func(a *oneMachine) { a.err = fault.New(fault.Conflict, "x\nkernel http://evil || shell\r\x00") }, fault.Conflict, http.StatusConflict},
	} {
		t.Run(name, func(t *testing.T) {
			d := serve(t, "debian-bios-plain", operation.ForInstall, nil)
			d.api.set(func() { c.change(d.api) })
			for _, path := range []string{"/boot/mac/" + mac, "/boot/mac/02:00:00:00:00:99", "/boot/" + token + "/installer.ipxe", "/boot/" + token + "/agent.ipxe"} {
				code, text := d.do(t, http.MethodGet, path, "")
				if code != 200 || !strings.HasPrefix(text, "#!ipxe\n# ") || strings.Contains(text, "\nkernel ") || !strings.Contains(text, "\nexit 1\n") {
					t.Errorf("%s: HTTP %d: %s", path, code, text)
				}
			}
			if len(d.reports) != 4 || (c.code != "" && d.reports[0].Code != c.code) {
				t.Errorf("reports %+v", d.reports)
			}
			if code, text := d.do(t, http.MethodGet, "/boot/"+token+"/preseed.cfg", ""); code != c.other || strings.Contains(text, "d-i ") {
				t.Errorf("preseed.cfg: HTTP %d, want %d: %s", code, c.other, text)
			}
		})
	}
}

// A machine that asks while the API is away asks again, and boots its disk when that lasts.
func TestAskAgainWhileTheAPIIsAway(t *testing.T) {
	d := serve(t, "debian-bios-plain", operation.ForInstall, nil)
	d.api.set(func() { d.api.err = fault.New(fault.EngineAway, "connection refused") })
	path := "/boot/mac/" + mac
	for n := 1; ; n++ {
		_, text := d.do(t, http.MethodGet, path, "")
		_, rest, again := strings.Cut(text, "\nsleep 5\nchain --replace "+d.url)
		if !again {
			if n != 25 || !strings.Contains(text, "\nexit 1\n") {
				t.Errorf("ask %d: %s", n, text)
			}
			break
		}
		path, _, _ = strings.Cut(rest, " ||\n")
	}
	d.api.set(func() { d.api.err = nil })
	if _, text := d.do(t, http.MethodGet, "/boot/mac/"+mac+"?again=3", ""); !strings.Contains(text, "\nkernel ") {
		t.Errorf("the API is back: %s", text)
	}
	d.api.set(func() { d.api.err = fault.New(fault.ForeignSite, "fra01") })
	if _, text := d.do(t, http.MethodGet, "/boot/mac/"+mac, ""); strings.Contains(text, "chain") {
		t.Errorf("of another site: %s", text)
	}
}

// An agent's record gives no installer, and an installer's no agent.
func TestOnlyWhatTheRecordIsFor(t *testing.T) {
	for p, yes := range map[operation.Purpose]string{operation.ForAgent: "agent.ipxe", operation.ForInstall: "installer.ipxe"} {
		d := serve(t, "rhel-bios-plain", p, nil)
		for name := range scripts {
			code, text := d.do(t, http.MethodGet, "/boot/"+token+"/"+name, "")
			if code != 200 || strings.Contains(text, "\nkernel ") != (name == yes) {
				t.Errorf("%s of a record for %s: HTTP %d: %s", name, p, code, text)
			}
		}
	}
}

func TestStages(t *testing.T) {
	d := serve(t, "debian-bios-plain", operation.ForInstall, nil)
	for name, c := range map[string]struct {
		path, body string
		want       int
	}{
		"heard":              {"/boot/" + token + "/stage/early", report, 200},
		"another machine":    {"/boot/" + token + "/stage/early", "mac=02:00:00:00:00:99\n", 409},
		"unknown token":      {"/boot/none/stage/early", report, 404},
		"no such stage":      {"/boot/" + token + "/stage/finished", report, 404},
		"a stage of our own": {"/boot/" + token + "/stage/asked", report, 404},
		"too long":           {"/boot/" + token + "/stage/early", strings.Repeat("x", operation.MaxStageBody+1), 413},
	} {
		if code, text := d.do(t, http.MethodPost, c.path, c.body); code != c.want || strings.Contains(text, token) {
			t.Errorf("%s: HTTP %d, want %d: %s", name, code, c.want, text)
		}
	}
	d.api.set(func() { d.api.err = fault.New(fault.StoreAway, "x") })
	if code, _ := d.do(t, http.MethodPost, "/boot/"+token+"/stage/early", report); code != 503 {
		t.Errorf("API away: HTTP %d: the machine would not try again", code)
	}
}

func TestAgentEndpoints(t *testing.T) {
	d := serve(t, "image-uefi", operation.ForAgent, nil)
	at := "/agent/v1/" + token
	if code, text := d.do(t, http.MethodPost, at+"/claim", `{"macs":["`+mac+`"],"newer":1}`); code != 200 || !strings.Contains(text, "srv-101") {
		t.Errorf("claim: HTTP %d: %s", code, text)
	}
	if code, text := d.do(t, http.MethodPost, at+"/claim", `{"macs":["02:00:00:00:00:99"]}`); code != 409 || !strings.Contains(text, `"wrong_machine"`) {
		t.Errorf("claim by another: HTTP %d: %s", code, text)
	}
	if code, _ := d.do(t, http.MethodGet, at+"/next?wait=0", ""); code != 204 {
		t.Errorf("nothing to do: HTTP %d", code)
	}
	if code, _ := d.do(t, http.MethodGet, at+"/next?wait=x", ""); code != 422 {
		t.Errorf("wait=x: HTTP %d", code)
	}
	d.api.set(func() { d.api.command = &operation.AgentCommand{ID: "c1", Kind: operation.AgentBurnIn} })
	if code, text := d.do(t, http.MethodGet, at+"/next", ""); code != 200 || !strings.Contains(text, `"id":"c1"`) {
		t.Errorf("next: HTTP %d: %s", code, text)
	}
	if code, _ := d.do(t, http.MethodPost, at+"/commands/c1/progress", `{"text":"memory","percent":4}`); code != 204 || d.api.heard[0] != "c1 memory" {
		t.Errorf("progress: HTTP %d", code)
	}
	if code, text := d.do(t, http.MethodPost, at+"/commands/c1/result", `{"state":"done","result":{"a":1}}`); code != 200 || !strings.Contains(text, `"state":"done"`) {
		t.Errorf("result: HTTP %d: %s", code, text)
	}
	if code, _ := d.do(t, http.MethodPost, at+"/commands/c1/result", strings.Repeat(" ", resultLimit+1)); code != 413 {
		t.Errorf("too long: HTTP %d", code)
	}
	if code, _ := d.do(t, http.MethodPost, at+"/claim", `[`); code != 422 {
		t.Errorf("no JSON: HTTP %d", code)
	}
}

func TestRecordsAreKeptForAMoment(t *testing.T) {
	now := time.Now()
	d := serve(t, "debian-bios-plain", operation.ForInstall, func(o *Options) { o.Keep, o.Clock = time.Second, func() time.Time { return now } })
	for range 3 {
		d.do(t, http.MethodGet, "/boot/"+token+"/hook.sh", "")
	}
	if d.api.lookups != 1 {
		t.Errorf("%d questions for one boot", d.api.lookups)
	}
	now = now.Add(time.Second)
	d.do(t, http.MethodGet, "/boot/"+token+"/hook.sh", "")
	if d.api.lookups != 2 {
		t.Errorf("%d questions, want a second one after a moment", d.api.lookups)
	}
}

// A machine that was sent to its disk is looked at anew: its operation may have opened a record since.
func TestThatAMachineBootsItsDiskIsNotKept(t *testing.T) {
	d := serve(t, "debian-bios-plain", operation.ForInstall, func(o *Options) { o.Keep = time.Hour })
	d.api.set(func() { d.api.record.Stages = []string{"partitioned"} })
	d.do(t, http.MethodGet, "/boot/mac/"+mac, "")
	d.api.set(func() { d.api.record.Stages, d.api.record.Revoked = nil, time.Now() })
	d.do(t, http.MethodGet, "/boot/mac/"+mac, "")
	d.api.set(func() { d.api.record.Revoked = time.Time{} })
	if _, text := d.do(t, http.MethodGet, "/boot/mac/"+mac, ""); !strings.Contains(text, "\nkernel ") {
		t.Errorf("an open record is not seen: %s", text)
	}
}

func TestOneAddressCannotFlood(t *testing.T) {
	now := time.Now()
	l := limiter{rate: 2, burst: 3}
	allowed := func(n int, address string) (out int) {
		for range n {
			if l.allow(address, now) {
				out++
			}
		}
		return out
	}
	if a, b := allowed(10, "192.0.2.1"), allowed(2, "192.0.2.2"); a != 3 || b != 2 {
		t.Errorf("allowed %d and %d, want 3 and 2", a, b)
	}
	now = now.Add(time.Second)
	if a := allowed(10, "192.0.2.1"); a != 2 {
		t.Errorf("a second later %d, want 2", a)
	}
	d := serve(t, "debian-bios-plain", operation.ForInstall, func(o *Options) { o.PerSecond, o.Burst = 0.001, 1 })
	d.do(t, http.MethodGet, "/boot/mac/"+mac, "")
	if code, _ := d.do(t, http.MethodGet, "/boot/mac/"+mac, ""); code != http.StatusTooManyRequests {
		t.Errorf("HTTP %d", code)
	}
}

func TestTokensAreNotLogged(t *testing.T) {
	var log bytes.Buffer
	d := serve(t, "debian-bios-plain", operation.ForInstall, func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	d.do(t, http.MethodGet, "/boot/"+token+"/installer.ipxe", "")
	d.do(t, http.MethodPost, "/boot/"+token+"/stage/early", report)
	d.do(t, http.MethodPost, "/boot/"+token+"/stage/early", "mac=02:00:00:00:00:99\n")
	d.api.set(func() { d.api.err = fault.New(fault.Internal, "x") })
	d.do(t, http.MethodGet, "/boot/"+token+"/hook.sh", "")
	if log.Len() == 0 || strings.Contains(log.String(), token) {
		t.Errorf("log: %s", log.String())
	}
}
