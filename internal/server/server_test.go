package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	temporal "go.temporal.io/sdk/client"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/workflows"
)

var silent = slog.New(slog.DiscardHandler)

func TestThePlanCarriesTheCatalogue(t *testing.T) {
	f := plan.Facts{Asset: asset.Ref{ID: 1, Name: "srv-1", Serial: "SN1", Site: "ams01"}, Status: asset.Planned}
	sum := strings.Repeat("ab", 32)
	p := profile.Profile{Name: "box", Version: 1, BMC: profile.BMC{Protocol: "redfish", Account: "root"},
		Firmware: profile.Firmware{Components: []profile.Component{{Component: "BIOS", Version: "2", File: "bios.bin"}}}}
	files := []operation.FirmwareFile{{Name: "bios.bin", SHA256: sum, Size: 9}}
	for _, file := range []string{"bios.bin", strings.ToUpper(sum)} {
		p.Firmware.Components[0].File = file
		target, err := planInstall(f, p, files, workflows.Resources{}, "hardware")
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		i := slices.IndexFunc(target.Steps, func(s plan.Step) bool { return s.Kind == plan.KindFirmware })
		want, err := plan.Decode[plan.WantFirmware](target.Steps[i])
		if err != nil || len(want.Components) != 1 || want.Components[0].SHA256 != sum || want.Components[0].Size != 9 {
			t.Errorf("%s: %+v, %v", file, want, err)
		}
	}
	if _, err := planInstall(f, p, nil, workflows.Resources{}, "hardware"); fault.From(err).Code != fault.BadImage || len(fault.From(err).Details) == 0 {
		t.Errorf("a file that is not there: %v", err)
	}
	planned := plan.Target{Steps: []plan.Step{{Name: "ahead", Kind: "ahead", Version: 1}, {Name: "not here", Kind: "ahead", Version: 1, NotApplicable: "no need"},
		{Name: "hardware", Kind: plan.KindHardware, Version: 1}, {Name: "newer", Kind: plan.KindStage, Version: 99}}}
	if diff := cmp.Diff([]string{"ahead", "newer"}, unknownSteps(planned)); diff != "" {
		t.Errorf("steps that no worker knows (-want +got):\n%s", diff)
	}
	if _, err := planInstall(f, p, files, workflows.Resources{}, "moon"); fault.From(err).Code != fault.Invalid {
		t.Errorf("an unknown stage: %v", err)
	}
}

func TestEndpointsGetTheSitesPortAndCA(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte("PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		site config.Site
		in   plan.BMC
		want bmc.Endpoint // all with the machine's serial
	}{
		{config.Site{}, plan.BMC{Protocol: "redfish", Address: "10.0.0.1"}, bmc.Endpoint{Protocol: bmc.Redfish, Address: "10.0.0.1"}},
		{config.Site{BMCPort: 8443, BMCCAFile: ca}, plan.BMC{Protocol: "redfish", Address: "fd00::1"}, bmc.Endpoint{Protocol: bmc.Redfish, Address: "[fd00::1]:8443", CA: "PEM"}},
		{config.Site{BMCPort: 8443}, plan.BMC{Protocol: "redfish", Address: "10.0.0.1:444"}, bmc.Endpoint{Protocol: bmc.Redfish, Address: "10.0.0.1:444"}},
		{config.Site{BMCPort: 8443}, plan.BMC{Protocol: "ipmi", Address: "10.0.0.1"}, bmc.Endpoint{Protocol: bmc.IPMI, Address: "10.0.0.1"}},
		{config.Site{}, plan.BMC{Protocol: "redfish", Address: "10.0.0.1", System: "Node2", OldCiphers: true},
			bmc.Endpoint{Protocol: bmc.Redfish, Address: "10.0.0.1", System: "Node2", OldCiphers: true}},
	} {
		f, err := endpoints(tc.site)
		if err != nil {
			t.Fatal(err)
		}
		tc.want.Serial = "SN1"
		if diff := cmp.Diff(tc.want, f(asset.Ref{Serial: "SN1"}, tc.in)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
	if _, err := endpoints(config.Site{BMCCAFile: ca + "x"}); err == nil {
		t.Error("a CA file that is not there: got nil")
	}
}

func TestWithoutTemporalNothingIsStartedAndTheEndIsQuick(t *testing.T) {
	d := &Dialer{log: silent, dial: func(context.Context) (temporal.Client, error) { return nil, errors.New("refused") }}
	defer d.Close()
	if _, err := d.Command(t.Context(), 1, operation.Pause, operation.Command{}); fault.From(err).Code != fault.EngineAway {
		t.Errorf("command: %v", err)
	}
	if err := startFromOutbox(t.Context(), d, outboxStart(`{"operation":"op_X"}`)); fault.From(err).Code != fault.EngineAway {
		t.Errorf("start: %v", err)
	}
	if err := startFromOutbox(t.Context(), d, outboxStart(`{`)); fault.From(err).Code != fault.Internal {
		t.Errorf("a broken item: %v", err)
	}
	if err := startFromOutbox(t.Context(), d, outboxSignal(`{"asset":1}`)); fault.From(err).Code != fault.EngineAway {
		t.Errorf("signal while Temporal is away: %v", err)
	}
	if err := startFromOutbox(t.Context(), d, outboxSignal(`{}`)); fault.From(err).Code != fault.Internal {
		t.Errorf("signal to nobody: %v", err)
	}
	if _, err := d.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "What to do") {
		t.Errorf("check: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := d.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait: %v", err)
	}
}

func TestWhatIsMissingIsSaidBeforeAnythingIsDialled(t *testing.T) {
	o := Options{Log: silent}
	for name, err := range map[string]error{
		"serve":   Serve(t.Context(), config.Default(), o),
		"central": Worker(t.Context(), config.Default(), "", o),
		"site":    Worker(t.Context(), config.Default(), "ams01", o),
	} {
		var problems config.Problems
		if !errors.As(err, &problems) || problems[0].Remedy == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryStepOfAPlanIsKnown(t *testing.T) {
	f := plan.Facts{Asset: asset.Ref{ID: 1, Name: "srv-1", Serial: "SN1", Site: "ams01"}, Status: asset.Planned}
	p := profile.Profile{Name: "box", Version: 1, BMC: profile.BMC{Protocol: "redfish", Account: "root"}, OS: profile.OS{Distro: "debian", Release: "bookworm"}}
	target, _ := workflows.Install(f, p, workflows.Resources{}, workflows.UntilActive) // what it lacks is not asked here
	if last := target.Steps[len(target.Steps)-1]; last.Kind != plan.KindInService {
		t.Fatalf("the plan ends with %s", last.Kind)
	}
	for _, s := range target.Steps {
		if kind := s.Kind + "/" + string(rune('0'+s.Version)); !slices.Contains(Kinds(), kind) {
			t.Errorf("step %s is in the plan, and no worker knows it: %q", kind, Kinds())
		}
	}
}

func TestListenLetsOpenRequestsEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	entered, leave := make(chan struct{}), make(chan struct{})
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-leave
		w.WriteHeader(http.StatusTeapot)
	})}
	ctx, cancel := context.WithCancel(t.Context())
	ended, answered := make(chan error, 1), make(chan int, 1)
	go func() { ended <- listen(ctx, web, l, config.ServerTLS{}) }()
	go func() {
		res, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			answered <- 0
			return
		}
		res.Body.Close()
		answered <- res.StatusCode
	}()
	<-entered
	cancel()
	close(leave)
	if got := <-answered; got != http.StatusTeapot {
		t.Errorf("the open request got %d", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("the end: %v", err)
	}
}

func TestExpiring(t *testing.T) {
	e := newExpiring[int, string](time.Hour)
	calls := 0
	make := func() (string, error) { calls++; return "a", nil }
	for range 3 {
		if v, err := e.get(1, make); v != "a" || err != nil {
			t.Errorf("got %q, %v", v, err)
		}
	}
	if _, err := e.get(2, func() (string, error) { return "", errors.New("no") }); err == nil {
		t.Error("a failure was swallowed")
	}
	if v, err := e.get(2, make); v != "a" || err != nil || calls != 2 {
		t.Errorf("after a failure: %q, %v, %d calls", v, err, calls)
	}
}
