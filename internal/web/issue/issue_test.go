package issue_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/web/issue"
)

var now = time.Date(2026, 3, 4, 3, 0, 0, 0, time.UTC)

const op operation.ID = "op_01KJZX4Q00000000000000000A"

func parked(id asset.ID, name, step string, f *fault.Error, since time.Duration) operation.RunRow {
	return operation.RunRow{Run: operation.Run{Operation: op, Asset: asset.Ref{ID: id, Name: name, Site: "ams01", Rack: "r12"}, State: operation.Waiting,
		Step: step, Error: f, Updated: now.Add(-since)}, Current: &operation.Step{Name: step, Title: "Do it"}}
}

func worker(site string, ago time.Duration, skew time.Duration, version string) operation.Heartbeat {
	return operation.Heartbeat{Site: site, Worker: "w-" + site, Version: version, At: now.Add(-ago), SkewMS: skew.Milliseconds()}
}

func up(slug string, w operation.Heartbeat) operation.Site {
	return operation.Site{Slug: slug, State: "up", Workers: []operation.Heartbeat{w}}
}

func many(n int) (out []operation.RunRow) {
	for i := range n {
		out = append(out, parked(asset.ID(i+1), fmt.Sprintf("srv-%d", i+1), "firmware", fault.New(fault.ServerError, "HTTP 500"), time.Minute))
	}
	return out
}

// brief is what a test looks at of an issue.
type brief struct {
	Kind     string
	Severity issue.Severity
	Title    string
	Count    int
	Command  string // the first
}

func TestEvaluators(t *testing.T) {
	reset := fault.New(fault.Unreachable, "no answer from 10.0.0.1")
	for _, tt := range []struct {
		name string
		f    issue.Facts
		want []brief
	}{
		{"all is well", issue.Facts{Version: "v1", Sites: []operation.Site{up("", worker("", time.Second, 0, "v1")), up("ams01", worker("ams01", 30*time.Second, time.Second, "v1"))},
			Live: []operation.Live{{Operation: op, Site: "ams01", State: operation.Running, Runs: 4}}}, nil},
		{"a parked step", issue.Facts{Waiting: []operation.RunRow{parked(1, "srv-1", "identity", reset, time.Minute)}},
			[]brief{{issue.KindParked, issue.Act, "srv-1 waits in identity", 1, "cagenut op retry " + string(op) + " --asset srv-1"}}},
		{"several for the same reason", issue.Facts{Waiting: []operation.RunRow{parked(1, "srv-1", "identity", reset, time.Minute), parked(2, "srv-2", "identity", reset, time.Hour)}},
			[]brief{{issue.KindParked, issue.Act, "2 machines wait in identity", 2, "cagenut op retry " + string(op) + " --asset srv-1,srv-2"}}},
		{"several for different reasons, the oldest first", issue.Facts{Waiting: []operation.RunRow{parked(1, "srv-1", "identity", reset, time.Minute),
			parked(2, "srv-2", "identity", fault.New(fault.BadCredentials, "401"), time.Hour), parked(3, "srv-3", "bios", reset, 2*time.Hour)}},
			[]brief{{issue.KindParked, issue.Act, "srv-3 waits in bios", 1, "cagenut op retry " + string(op) + " --asset srv-3"},
				{issue.KindParked, issue.Act, "srv-2 waits in identity", 1, "cagenut op retry " + string(op) + " --asset srv-2"},
				{issue.KindParked, issue.Act, "srv-1 waits in identity", 1, "cagenut op retry " + string(op) + " --asset srv-1"}}},
		{"many", issue.Facts{Waiting: many(200)},
			[]brief{{issue.KindParked, issue.Act, "200 machines wait in firmware", 200, "cagenut op retry " + string(op) + " --all --step firmware"}}},
		{"a plan that no longer fits is not retried", issue.Facts{Waiting: []operation.RunRow{parked(1, "srv-1", "preflight", fault.New(fault.Drift, "serial"), time.Minute)}},
			[]brief{{issue.KindParked, issue.Act, "srv-1 waits in preflight", 1, "cagenut op abort " + string(op) + " --asset srv-1 --reason \"...\""}}},
		{"a changed certificate", issue.Facts{Waiting: []operation.RunRow{parked(1, "srv-1", "bios", fault.New(fault.PinChanged, "pin"), time.Minute)}},
			[]brief{{issue.KindParked, issue.Act, "srv-1 waits in bios", 1, "cagenut op retry " + string(op) + " --asset srv-1 --accept-pin FINGERPRINT"}}},
		{"a work order has no fault", issue.Facts{Waiting: []operation.RunRow{parked(1, "srv-1", "swap-drive", nil, time.Minute)}},
			[]brief{{issue.KindParked, issue.Act, "srv-1 waits in swap-drive", 1, "cagenut op retry " + string(op) + " --asset srv-1"}}},
		{"a site is away, and nothing runs there", issue.Facts{Sites: []operation.Site{{Slug: "ams01", State: "away", Workers: []operation.Heartbeat{worker("ams01", 10*time.Minute, 0, "")}}}},
			[]brief{{issue.KindSiteAway, issue.Warn, "Site ams01 is away", 0, "cagenut worker --site ams01"}}},
		{"a site is away, and machines stand still", issue.Facts{Sites: []operation.Site{{Slug: "ams01", State: "none"}},
			Live: []operation.Live{{Site: "ams01", State: operation.Away, Runs: 3}, {Site: "fra01", State: operation.Running, Runs: 5}}},
			[]brief{{issue.KindSiteAway, issue.Act, "Site ams01 is away", 3, "cagenut worker --site ams01"}}},
		{"no central worker", issue.Facts{Sites: []operation.Site{{State: "none"}}},
			[]brief{{issue.KindSiteAway, issue.Act, "No central worker answers", 0, "cagenut worker"}}},
		{"a clock ahead, a clock behind", issue.Facts{Sites: []operation.Site{up("ams01", worker("ams01", 0, 3*time.Second, "")), up("fra01", worker("fra01", 0, -time.Minute, ""))}},
			[]brief{{issue.KindClockSkew, issue.Warn, "The clock of w-ams01 is 3.0 s ahead", 0, "timedatectl status"},
				{issue.KindClockSkew, issue.Warn, "The clock of w-fra01 is 60.0 s behind", 0, "timedatectl status"}}},
		{"the clock of who is gone does not count", issue.Facts{Sites: []operation.Site{up("ams01", worker("ams01", time.Hour, time.Hour, "v0"))}}, nil},
		{"versions", issue.Facts{Version: "v2", Sites: []operation.Site{up("ams01", worker("ams01", 0, 0, "v1")), up("fra01", worker("fra01", 0, 0, "v1")), up("lon01", worker("lon01", 0, 0, "v2"))}},
			[]brief{{issue.KindVersionMix, issue.Note, "Version v1 runs beside this server's v2", 2, ""}}},
		{"paused for long", issue.Facts{Operations: []operation.Summary{{ID: op, Kind: "install", State: operation.Paused, Assets: 3, Counts: map[operation.State]int{operation.Paused: 2, operation.Done: 1}}},
			Live: []operation.Live{{Operation: op, State: operation.Paused, Since: now.Add(-2 * time.Hour), Runs: 2}}},
			[]brief{{issue.KindPaused, issue.Warn, "Paused for 2 h: install of 3 machines", 2, "cagenut op resume " + string(op) + " --all"}}},
		{"paused a moment ago", issue.Facts{Operations: []operation.Summary{{ID: op, State: operation.Paused}},
			Live: []operation.Live{{Operation: op, State: operation.Paused, Since: now.Add(-time.Minute), Runs: 2}}}, nil},
		{"not relayed", issue.Facts{Backlog: operation.Backlog{Unsent: 2, OldestUnsent: now.Add(-5 * time.Minute), LastError: "connection refused"}},
			[]brief{{issue.KindNotRelayed, issue.Act, "2 accepted requests are not started for 5 min", 2, "cagenut doctor"}}},
		{"relayed in a moment", issue.Facts{Backlog: operation.Backlog{Unsent: 1, OldestUnsent: now.Add(-time.Second)}}, nil},
		{"told and not begun", issue.Facts{Operations: []operation.Summary{{ID: op, Kind: "install", Assets: 1, State: operation.Queued, Created: now.Add(-time.Hour)}}},
			[]brief{{issue.KindNotBegun, issue.Warn, "Queued for 1 h: install of 1 machine", 1, "cagenut doctor"}}},
		{"queued since it was not told", issue.Facts{Operations: []operation.Summary{{ID: op, State: operation.Queued, Created: now.Add(-time.Hour)}},
			Backlog: operation.Backlog{Unsent: 1, OldestUnsent: now.Add(-time.Hour)}},
			[]brief{{issue.KindNotRelayed, issue.Act, "1 accepted request is not started for 1 h", 1, "cagenut doctor"}}},
		{"not sealed", issue.Facts{Backlog: operation.Backlog{Unsealed: 40, OldestRow: now.Add(-3 * time.Minute)}},
			[]brief{{issue.KindNotSealed, issue.Warn, "The audit chain is 3 min behind", 40, "cagenut audit-log verify"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.f.Now = now
			var got []brief
			for _, i := range issue.Find(tt.f) {
				b := brief{i.Kind, i.Severity, i.Title, i.Count, ""}
				if len(i.Commands) > 0 {
					b.Command = i.Commands[0].Text
				}
				if i.Why == "" || i.Remedy == "" {
					t.Errorf("%s says neither why nor what to do: %+v", i.Title, i)
				}
				if len(i.Machines) > 8 {
					t.Errorf("%s names %d machines", i.Title, len(i.Machines))
				}
				got = append(got, b)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("issues (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCommandsArePlain holds that nothing from NetBox reaches a shell with a meaning of its own.
func TestCommandsArePlain(t *testing.T) {
	for _, name := range []string{"srv 1", "srv;reboot", "$(reboot)", "`id`", "srv-1\ncurl evil", "--all", "a,b", "", "srv\u202e", "'", "ä"} {
		got := issue.Targets([]asset.Ref{{ID: 7, Name: name}}, "identity")
		if got != "--asset 7" {
			t.Errorf("a machine called %q: %q, want its ID", name, got)
		}
	}
	if got := issue.Targets(make([]asset.Ref, 30), "x; reboot"); got != "--all" {
		t.Errorf("a step with a meaning for the shell: %q", got)
	}
	i := issue.SitesAway(issue.Facts{Now: now, Sites: []operation.Site{{Slug: "a;b", State: "none"}}})
	if !strings.HasSuffix(i[0].Commands[0].Text, "--site SITE") {
		t.Errorf("a site with a meaning for the shell: %q", i[0].Commands[0].Text)
	}
}
