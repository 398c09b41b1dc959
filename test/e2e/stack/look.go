//go:build e2e

package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/sim"
)

// perRack is how many servers a rack of the box can hold.
const perRack = 40

// Fleet makes racks with one machine for each flavour, in order. Machines take their primary addresses from
// one prefix of their site, so the first rack's holds those of all.
func Fleet(flavours ...string) []sim.Rack {
	var out []sim.Rack
	for some := range slices.Chunk(flavours, perRack) {
		number := len(out) + 1
		rack := sim.NewRack(sim.DefaultRack().Site, number, number*1000+1, some)
		i := slices.IndexFunc(rack.Prefixes, func(p sim.Prefix) bool { return p.Role == "primary" })
		if rack.Prefixes[i].Prefix = netip.MustParsePrefix("10.80.0.0/20"); number > 1 {
			rack.Prefixes = slices.Delete(rack.Prefixes, i, i+1)
		}
		out = append(out, rack)
	}
	return out
}

// Names lists the machines of the box, in the order of its racks.
func (s *Stack) Names() []string {
	var out []string
	for _, d := range s.inner.Servers() {
		out = append(out, d.Name)
	}
	return out
}

// Done waits until an operation is done with every machine. A machine that waits for a person does not
// end the test: what is disturbed on purpose may still go on.
func (s *Stack) Done(id operation.ID, limit time.Duration) {
	s.t.Helper()
	s.until(limit, "operation "+string(id)+" is done", func() error {
		d := s.Operation(id)
		if d.State == operation.Done {
			return nil
		}
		var open []string
		for _, r := range d.Runs {
			if r.State != operation.Done {
				why := ""
				if r.Error != nil {
					why = ": " + r.Error.Message
				}
				open = append(open, fmt.Sprintf("%s is %s in %s%s", r.Asset.Name, r.State, r.Step, why))
			}
		}
		return fmt.Errorf("%s; %s", d.State, strings.Join(open, "; "))
	})
}

// BeganOff tells which machines are switched off; some of a new rack are.
func (s *Stack) BeganOff() map[string]bool {
	s.t.Helper()
	list, err := s.Box().Machines(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	out := map[string]bool{}
	for _, m := range list {
		out[m.Name] = m.Power == "Off"
	}
	return out
}

// Journal is what a machine's BMC saw and did.
func (s *Stack) Journal(machine string) []sim.Entry {
	s.t.Helper()
	out, err := s.Box().Journal(s.t.Context(), sim.Query{Machine: machine})
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// Salt tells what the box's Salt did with a machine: "accept" and "delete" of its key, and its "test run" and
// "real run".
func (s *Stack) Salt(machine string) []string {
	s.t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.dir, "salt", "salt.jsonl"))
	if err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for line := range bytes.Lines(raw) {
		var e struct {
			Kind, Minion string
			Job          struct{ Args struct{ Test bool } }
		}
		if !bytes.HasSuffix(line, []byte("\n")) { // it is being written
			break
		}
		if err := json.Unmarshal(line, &e); err != nil {
			s.t.Fatal(err)
		}
		name, _, _ := strings.Cut(e.Minion, ".")
		switch {
		case name != machine:
		case e.Kind == "job":
			out = append(out, map[bool]string{true: "test run", false: "real run"}[e.Job.Args.Test])
		case e.Kind == "accept", e.Kind == "delete":
			out = append(out, e.Kind)
		}
	}
	return out
}

// Device is what tests read of a machine in NetBox.
type Device struct {
	ID     asset.ID
	Name   string
	Status struct{ Value string }
}

// Devices are the box's machines as its NetBox has them, by name.
func (s *Stack) Devices() map[string]Device {
	s.t.Helper()
	out := map[string]Device{}
	for {
		var page struct {
			Count   int
			Results []Device
		}
		s.ask("dcim/devices/", url.Values{"limit": {"100"}, "offset": {strconv.Itoa(len(out))}, "role": {"server"}}, &page)
		for _, d := range page.Results {
			out[d.Name] = d
		}
		if len(out) >= page.Count || len(page.Results) == 0 {
			return out
		}
	}
}

// Row is a row of NetBox's changelog.
type Row struct {
	User    string `json:"user_name"`
	Message string
}

// Changelog lists the rows that others than the administrator wrote about a device.
func (s *Stack) Changelog(id asset.ID) []Row {
	s.t.Helper()
	var page struct{ Results []Row }
	s.ask("core/object-changes/", url.Values{"changed_object_id": {id.String()}, "changed_object_type": {"dcim.device"}, "limit": {"100"}}, &page)
	return slices.DeleteFunc(page.Results, func(r Row) bool { return r.User == "admin" })
}

func (s *Stack) ask(path string, query url.Values, into any) {
	s.t.Helper()
	base, token := s.inner.NetBox()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	if err := s.NetBox(ctx, base, token, path+"?"+query.Encode(), into); err != nil {
		s.t.Fatal(err)
	}
}

// NetBox asks a NetBox as its administrator, and decodes the answer.
func (s *Stack) NetBox(ctx context.Context, base, token, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(base, "/")+"/api/"+path, nil)
	if err != nil {
		return err
	}
	keyword := "Token "
	if strings.HasPrefix(token, "nbt_") {
		keyword = "Bearer "
	}
	req.Header.Set("Authorization", keyword+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: status %d", path, res.StatusCode)
	}
	return json.NewDecoder(res.Body).Decode(into)
}
