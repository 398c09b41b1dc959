package apitest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cagenut/cagenut/internal/api"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/inventory"
)

// Fleet is a NetBox with machines srv-01 to srv-NN, complete and planned.
type Fleet struct {
	mu      sync.Mutex
	devices []inventory.Device
	down    error
	setup   bool
	active  map[asset.ID]bool
}

// NewFleet makes n machines in rack r12 of site ams01.
func NewFleet(n int) *Fleet {
	f := &Fleet{}
	for i := 1; i <= n; i++ {
		oob := netip.MustParsePrefix(fmt.Sprintf("10.0.8.%d/24", i))
		f.devices = append(f.devices, inventory.Device{ID: asset.ID(100 + i), Name: fmt.Sprintf("srv-%02d", i), Serial: fmt.Sprintf("SN%03d", i),
			Status: asset.Planned, Site: inventory.Named{ID: 1, Slug: "ams01", Name: "Amsterdam 1"}, Rack: inventory.Named{ID: 1, Name: "r12"},
			Position: float64(i), Face: "front", Role: inventory.Named{Slug: "compute"}, Type: inventory.Named{Slug: "box-1u", Name: "Box 1U"},
			Manufacturer: inventory.Named{Slug: "box"}, OOB: oob, PrimaryIP4: netip.MustParsePrefix(fmt.Sprintf("10.1.2.%d/24", i)),
			Interfaces: []inventory.Interface{
				{ID: int64(i), Name: "bmc", Mgmt: true, MACs: []string{fmt.Sprintf("02:00:00:00:00:%02X", i)}, Addresses: []netip.Prefix{oob},
					Cable: &inventory.Cable{Peer: "mgmt-1", Port: fmt.Sprint(i)}},
				{ID: int64(1000 + i), Name: "eth0", MACs: []string{fmt.Sprintf("02:00:00:00:01:%02X", i)}, Cable: &inventory.Cable{Peer: "leaf-1", Port: fmt.Sprint(i)}},
			}})
	}
	return f
}

// Edit changes a machine's record.
func (f *Fleet) Edit(name string, edit func(*inventory.Device)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.devices {
		if f.devices[i].Name == name {
			edit(&f.devices[i])
		}
	}
}

// Break makes every call fail, until Break(nil).
func (f *Fleet) Break(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = err
}

// Find selects as a NetBox does.
func (f *Fleet) Find(_ context.Context, q inventory.Query) ([]inventory.Device, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down != nil {
		return nil, f.down
	}
	var out []inventory.Device
	found := map[string]bool{}
	for _, d := range f.devices {
		fold := func(list []string, v string) bool {
			return slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, v) })
		}
		if len(q.Names) > 0 && !fold(q.Names, d.Name) || len(q.IDs) > 0 && !slices.Contains(q.IDs, d.ID) ||
			len(q.Serials) > 0 && !fold(q.Serials, d.Serial) || q.Rack != "" && q.Rack != d.Rack.Name || q.Site != "" && q.Site != d.Site.Slug {
			continue
		}
		found[strings.ToLower(d.Name)], found[d.ID.String()] = true, true
		out = append(out, d)
	}
	var missing []string
	for _, n := range q.Names {
		if !found[strings.ToLower(n)] {
			missing = append(missing, n)
		}
	}
	for _, id := range q.IDs {
		if !found[id.String()] {
			missing = append(missing, id.String())
		}
	}
	if len(missing) > 0 {
		return nil, &inventory.Error{Kind: inventory.ErrNotFound, Op: "find devices", Names: missing}
	}
	return out, nil
}

// NoteActive puts into the changelog that a device was active.
func (f *Fleet) NoteActive(id asset.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.active == nil {
		f.active = map[asset.ID]bool{}
	}
	f.active[id] = true
}

// WasActive tells of what NoteActive noted, whenever that was.
func (f *Fleet) WasActive(_ context.Context, id asset.ID, _ time.Time) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.active[id], f.down
}

// ManagementMACs gives the MACs of a device's mgmt_only interfaces.
func (f *Fleet) ManagementMACs(ctx context.Context, id asset.ID) ([]string, error) {
	found, err := f.Describe(ctx, []asset.ID{id})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, i := range found[0].Interfaces {
		if i.Mgmt {
			out = append(out, i.MACs...)
		}
	}
	return out, nil
}

// Describe gives devices in the order asked for.
func (f *Fleet) Describe(ctx context.Context, ids []asset.ID) ([]inventory.Device, error) {
	found, err := f.Find(ctx, inventory.Query{IDs: ids})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b inventory.Device) int { return slices.Index(ids, a.ID) - slices.Index(ids, b.ID) })
	return found, nil
}

// Device gives one.
func (f *Fleet) Device(ctx context.Context, id asset.ID) (inventory.Device, error) {
	found, err := f.Find(ctx, inventory.Query{IDs: []asset.ID{id}})
	if err != nil {
		return inventory.Device{}, err
	}
	return found[0], nil
}

// Rack gives the rack in which all of a fleet's machines of one site stand.
func (f *Fleet) Rack(ctx context.Context, site, name string) (inventory.Rack, error) {
	found, err := f.Find(ctx, inventory.Query{Rack: name, Site: site})
	if err != nil {
		return inventory.Rack{}, err
	}
	if len(found) == 0 {
		return inventory.Rack{}, &inventory.Error{Kind: inventory.ErrNotFound, Op: "read rack", Names: []string{name}}
	}
	r := inventory.Rack{ID: found[0].Rack.ID, Name: name, Site: found[0].Site, Height: 48, Lowest: 1}
	for _, d := range found {
		r.Devices = append(r.Devices, inventory.RackDevice{ID: d.ID, Name: d.Name, Serial: d.Serial, Status: d.Status, Role: d.Role,
			Type: d.Type, Position: d.Position, Face: d.Face, Height: 1, FullDepth: true})
	}
	return r, nil
}

// SetStatus is not for the API.
func (f *Fleet) SetStatus(context.Context, inventory.StatusChange) (bool, error) {
	return false, &inventory.Error{Kind: inventory.ErrDenied, Op: "set status: the API never writes a status"}
}

// SameSerial is not for the API, which asks for many at once.
func (f *Fleet) SameSerial(context.Context, string) ([]inventory.Device, error) {
	return nil, &inventory.Error{Kind: inventory.ErrDenied, Op: "same serial: the API asks for all at once"}
}

// Sites lists one.
func (f *Fleet) Sites(context.Context) ([]inventory.Named, error) {
	return []inventory.Named{{ID: 1, Slug: "ams01", Name: "Amsterdam 1"}}, nil
}

// Ping answers as NetBox 4.7 does.
func (f *Fleet) Ping(context.Context) (inventory.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	st := inventory.Status{Version: "4.7.3", User: "cagenut"}
	if !f.setup {
		st.Missing = []string{"custom field cagenut_operation"}
	}
	return st, f.down
}

// Setup has one thing to make.
func (f *Fleet) Setup(_ context.Context, _ inventory.SetupOptions, apply bool) ([]inventory.SetupItem, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	item := inventory.SetupItem{Kind: "custom field", Name: "cagenut_operation", State: "missing"}
	switch {
	case f.setup:
		item.State = "present"
	case apply:
		item.State, f.setup = "created", true
	}
	return []inventory.SetupItem{item}, f.down
}

// Runs carries out commands on the runs of a MemoryStore, as the workflows do.
type Runs struct {
	Store *MemoryStore
	mu    sync.Mutex
	down  error
	told  []string
	steps []string
	pins  []string

	// After, when set, is called after a command took effect on a machine.
	After func(id operation.ID, name string)
}

// Break makes every command fail, until Break(nil).
func (r *Runs) Break(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = err
}

// Told lists the commands that came, as "pause 101"; asset 0 is the whole operation.
func (r *Runs) Told() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(slices.Values(r.told))
}

// Steps lists the steps that the commands named, as "srv-01 identity".
func (r *Runs) Steps() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(slices.Values(r.steps))
}

// Pins lists the fingerprints that the commands accepted.
func (r *Runs) Pins() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.pins)
}

// Command tells one run, or the operation.
func (r *Runs) Command(ctx context.Context, id asset.ID, a operation.Action, c operation.Command) (operation.Reply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, fmt.Sprintf("%s %d", a, id))
	if r.down != nil {
		return operation.Reply{}, r.down
	}
	d, err := r.Store.GetOperation(ctx, c.Operation)
	if err != nil || id == 0 {
		return operation.Reply{State: d.State}, err
	}
	i := slices.IndexFunc(d.Runs, func(run operation.Run) bool { return run.Asset.ID == id })
	if i < 0 || d.Runs[i].State == operation.Queued {
		return operation.Reply{}, fault.New(fault.NotFound, "asset/%d does not run", id)
	}
	run := d.Runs[i]
	r.steps = append(r.steps, run.Asset.Name+" "+c.Step)
	if c.AcceptPin != "" {
		r.pins = append(r.pins, c.AcceptPin)
	}
	if c.Step != "" && c.Step != run.Step {
		return operation.Reply{}, fault.New(fault.Conflict, "%s: the command is for step %s, the run is at %q", a, c.Step, run.Step)
	}
	next := map[operation.Action]map[operation.State]operation.State{
		operation.Pause:  {operation.Running: operation.Paused},
		operation.Resume: {operation.Paused: operation.Running},
		operation.Retry:  {operation.Waiting: operation.Running},
		operation.Skip:   {operation.Waiting: operation.Running},
		operation.Abort:  {operation.Running: operation.Aborted, operation.Waiting: operation.Aborted, operation.Paused: operation.Aborted},
	}[a][run.State]
	if next == "" {
		return operation.Reply{}, fault.New(fault.Conflict, "%s: the run is %s", a, run.State)
	}
	r.Store.Move(c.Operation, run.Asset.Name, next, run.Step, operation.StepRunning, nil)
	if r.After != nil {
		r.After(c.Operation, run.Asset.Name)
	}
	return operation.Reply{State: next, Step: run.Step}, nil
}

// Safe keeps passwords in memory. It knows the factory password of every machine but those in Unknown.
type Safe struct {
	mu      sync.Mutex
	Unknown []asset.ID
	rows    map[string]bool
}

// Has tells what is known.
func (s *Safe) Has(_ context.Context, machines []api.Machine) (map[asset.ID]bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[asset.ID]bool{}
	for _, m := range machines {
		out[m.Ref.ID] = !slices.Contains(s.Unknown, m.Ref.ID)
	}
	return out, nil
}

// ImportManifest counts lines.
func (s *Safe) ImportManifest(_ context.Context, csv io.Reader) (wire.Imported, error) {
	var got wire.Imported
	raw, err := io.ReadAll(csv)
	if err != nil {
		return got, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rows == nil {
		s.rows = map[string]bool{}
	}
	for line := range bytes.Lines(raw) {
		text := strings.TrimSpace(string(line))
		switch {
		case !strings.Contains(text, ","):
			return wire.Imported{}, fault.New(fault.Invalid, "row %q has no password", text)
		case s.rows[text]:
			got.Unchanged++
		default:
			s.rows[text] = true
			got.Imported++
		}
	}
	return got, nil
}

// Candidates gives the factory's.
func (s *Safe) Candidates(_ context.Context, a asset.Ref, account string) ([]api.Candidate, error) {
	return []api.Candidate{{Source: "factory", User: account, Password: "factory-of-" + a.Serial}}, nil
}

// Propose gives one of the right length.
func (s *Safe) Propose(_ context.Context, a asset.Ref, account string, length int) (api.Candidate, error) {
	return api.Candidate{Source: "pending", User: account, Password: strings.Repeat("p", length)}, nil
}

// Promote succeeds.
func (s *Safe) Promote(context.Context, asset.Ref, string) error { return nil }

// TwoSteps plans a machine in two steps, as a runbook would in more.
func TwoSteps(f plan.Facts, p profile.Profile, _ []operation.FirmwareFile, until string) (plan.Target, error) {
	if until != "hardware" && until != plan.UntilActive {
		return plan.Target{}, fault.New(fault.Invalid, "until: %q: use hardware", until)
	}
	step := func(name, kind, title string, undo plan.Undo, w ...plan.Write) plan.Step {
		return plan.Step{Name: name, Kind: kind, Version: 1, Title: title, Mode: plan.Act, Place: plan.Site, Undo: undo, DeadlineSec: 60, Policy: "bmc", Writes: w}
	}
	return plan.Target{Asset: f.Asset, Profile: fmt.Sprintf("%s@%d", p.Name, p.Version), Status: f.Status,
		BMC: plan.BMC{Protocol: p.BMC.Protocol, Address: f.OOB.Addr().String(), Account: p.BMC.Account},
		Steps: []plan.Step{
			step("identity", plan.KindIdentity, "Prove that the BMC belongs to serial "+f.Asset.Serial, plan.ReadOnly),
			step("stage", plan.KindStage, "Set the NetBox status to staged", plan.Compensable,
				plan.Write{System: "netbox", Object: "device " + f.Asset.Name, Field: "status", Before: string(f.Status), After: "staged"}),
		}, Reads: []plan.Read{}}, nil
}

// Allocate is not for the API.
func (f *Fleet) Allocate(context.Context, inventory.Allocation) (netip.Prefix, []plan.Write, error) {
	return netip.Prefix{}, nil, &inventory.Error{Kind: inventory.ErrInvalid, Op: "allocate", Detail: "the API allocates nothing"}
}

// Journal is not for the API either.
func (f *Fleet) Journal(context.Context, inventory.JournalEntry) (bool, error) {
	return false, &inventory.Error{Kind: inventory.ErrInvalid, Op: "journal", Detail: "the API writes in no journal"}
}

// Release is not for the API either.
func (f *Fleet) Release(context.Context, asset.ID, string) ([]plan.Write, error) {
	return nil, &inventory.Error{Kind: inventory.ErrInvalid, Op: "release", Detail: "the API releases nothing"}
}
