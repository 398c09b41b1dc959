package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/inventory"
)

type searchBody struct {
	Word  string
	Found []inventory.Device
}

type assetBody struct {
	Ref      asset.Ref
	Device   *inventory.Device // nil: NetBox did not tell
	Runs     []operation.RunRow
	Moves    []operation.StatusMove
	System   *operation.Installed // that we installed last; nil: none, or it was erased
	Hardware *hardware
	Now      *operation.RunRow // the run that holds the machine; nil: none
}

// hardware is what the last evidence tells of the machine.
type hardware struct {
	Proof operation.Proof
	Inv   *bmc.Inventory // nil: it could not be read; Proof.Data is shown
	Rows  []hardwareRow
}

// hardwareRow is one line of the table of hardware.
type hardwareRow struct{ What, Is, More string }

// resolve finds the asset that a person means: the ID, when it is one; else what NetBox has under that
// name or serial, when it is exactly one.
func (s *Server) resolve(ctx context.Context, word string) (asset.ID, []inventory.Device, error) {
	if id, err := asset.ParseID(word); err == nil {
		return id, nil, nil
	}
	found, err := s.inv.find(ctx, word)
	if err != nil {
		return 0, nil, err
	}
	if len(found) == 1 {
		return found[0].ID, found, nil
	}
	return 0, found, nil
}

func (s *Server) asset(c *call) (*page, error) {
	word := c.PathValue("asset")
	id, found, err := s.resolve(c.Context(), word)
	if err != nil {
		return nil, err
	}
	if id == 0 {
		if len(found) > 1 {
			return nil, &redirect{"/assets?q=" + query(word)}
		}
		return nil, fault.New(fault.NotFound, "no device in NetBox has the name, serial or ID %q", cut(80, word))
	}
	ctx := c.Context()
	p := &page{Template: "asset", Title: "Asset " + id.String(), Stream: map[string][]string{}}
	b := assetBody{Ref: asset.Ref{ID: id}}
	if p.Seq, err = s.o.Store.LastEvent(ctx); err != nil {
		return nil, err
	}
	if b.Runs, _, err = s.o.Store.ListRuns(ctx, operation.RunFilter{Asset: id, Sites: c.viewer.sites, Limit: 30}); err != nil {
		return nil, err
	}
	if b.Moves, err = s.o.Store.StatusMoves(ctx, id); err != nil {
		return nil, err
	}
	known, err := s.o.Store.Known(ctx, b.Ref)
	if err != nil {
		return nil, err
	}
	if i := known.Installed; i != nil && i.Digest != "" {
		b.System = i
	}
	var ended time.Time
	if len(b.Runs) > 0 {
		ended = b.Runs[0].Ended
	}
	d, stale, err := s.inv.device(ctx, id, ended)
	switch {
	case err == nil:
		b.Device, b.Ref = &d, d.Ref()
		p.Notices = append(p.Notices, staleNotice(stale)...)
	case translate(err).Code == fault.NotFound && len(b.Runs) == 0:
		return nil, err
	default:
		p.Notices = append(p.Notices, awayNotice(err))
		if len(b.Runs) > 0 {
			b.Ref = b.Runs[0].Asset
		}
	}
	if !c.viewer.allows(b.Ref.Site) {
		return nil, fault.New(fault.NotFound, "no asset %s in your sites", id)
	}
	if b.Hardware, err = s.hardware(ctx, id); err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(b.Runs, func(r operation.RunRow) bool { return !r.State.Ended() }); i >= 0 {
		b.Now = &b.Runs[i]
		p.Stream.Set("operation", string(b.Now.Operation))
		p.Stream.Set("asset", id.String())
	}
	if b.Ref.Name != "" {
		p.Title = b.Ref.Name
	}
	p.Body = b
	return p, nil
}

// awayNotice says that NetBox did not tell what the page would show.
func awayNotice(err error) notice {
	f := translate(err)
	n := notice{Kind: "warn", Text: f.Message, Do: f.Remedy}
	switch f.Code {
	case fault.InventoryAway:
		n.Text = "NetBox does not answer: what it knows is missing here. What Cagenut did itself is complete."
		n.Do = "check NetBox and its database; this page shows it again by itself"
	case fault.Internal:
		n.Text, n.Do = "What NetBox said could not be read.", "look into the log of `cagenut serve`"
	}
	return n
}

func staleNotice(age time.Duration) []notice {
	if age == 0 {
		return nil
	}
	return []notice{{Kind: "warn", Text: fmt.Sprintf("NetBox does not answer: this is what it said %s ago.", length(age)),
		Do: "check NetBox and its database; this page shows the present by itself"}}
}

func (s *Server) hardware(ctx context.Context, id asset.ID) (*hardware, error) {
	proof, err := s.o.Store.LatestProof(ctx, id, "hardware")
	var f *fault.Error
	if errors.As(err, &f) && f.Code == fault.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	h := &hardware{Proof: proof}
	var inv bmc.Inventory
	if json.Unmarshal(proof.Data, &inv) == nil && (len(inv.Systems) > 0 || len(inv.Memory) > 0 || len(inv.Processors) > 0) {
		h.Inv, h.Rows = &inv, hardwareRows(&inv)
	}
	return h, nil
}

// hardwareRows tells a machine in few lines: equal parts are counted.
func hardwareRows(inv *bmc.Inventory) []hardwareRow {
	var out []hardwareRow
	add := func(what, is, more string) { out = append(out, hardwareRow{what, is, more}) }
	for _, sys := range inv.Systems {
		add("system", join(sys.Manufacturer, sys.Model), join("serial "+orDash(sys.Serial), "BIOS "+orDash(sys.BIOSVersion), sys.BootMode))
	}
	for _, m := range inv.Managers {
		add("BMC", join(m.Manufacturer, orDash(m.Model)), "firmware "+orDash(m.Firmware))
	}
	count := func(what string, n int, label func(i int) (string, string)) {
		type line struct{ is, more string }
		var order []line
		times := map[line]int{}
		for i := range n {
			is, more := label(i)
			l := line{is, more}
			if times[l]++; times[l] == 1 {
				order = append(order, l)
			}
		}
		for _, l := range order[:min(len(order), 24)] {
			add(what, fmt.Sprintf("%d × %s", times[l], orDash(l.is)), l.more)
		}
		if len(order) > 24 {
			add(what, fmt.Sprintf("and %d more kinds", len(order)-24), "")
		}
	}
	count("processor", len(inv.Processors), func(i int) (string, string) {
		p := inv.Processors[i]
		return join(p.Manufacturer, p.Model), cores(p.Type, p.Cores)
	})
	count("memory", len(inv.Memory), func(i int) (string, string) {
		m := inv.Memory[i]
		return join(fmt.Sprintf("%g GiB", m.GiB), m.Type), join(m.Manufacturer, m.PartNumber)
	})
	count("drive", len(inv.Drives), func(i int) (string, string) {
		d := inv.Drives[i]
		return join(bytesOf(d.Bytes), d.Protocol, d.Media), join(d.Manufacturer, d.Model, d.Health)
	})
	count("network port", len(inv.NetworkInterfaces), func(i int) (string, string) {
		n := inv.NetworkInterfaces[i]
		return join(speed(n.Mbps), n.Model), join(n.Manufacturer, n.Health)
	})
	count("power supply", len(inv.PowerSupplies), func(i int) (string, string) {
		p := inv.PowerSupplies[i]
		return join(fmt.Sprintf("%g W", p.Watts), p.Model), join(p.Manufacturer, p.Health)
	})
	return out
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// join puts words that are there beside each other.
func join(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

func query(s string) string { return url.QueryEscape(s) }

func cores(kind string, n int) string {
	if n == 0 {
		return kind
	}
	return fmt.Sprintf("%s, %d cores each", kind, n)
}

// bytesOf says a capacity as vendors do, in powers of ten.
func bytesOf(n int64) string {
	switch {
	case n <= 0:
		return ""
	case n >= 1e12:
		return fmt.Sprintf("%.4g TB", float64(n)/1e12)
	}
	return fmt.Sprintf("%.4g GB", float64(n)/1e9)
}

func speed(mbps float64) string {
	switch {
	case mbps <= 0:
		return "no link known"
	case mbps >= 1000:
		return fmt.Sprintf("%g Gbit/s", mbps/1000)
	}
	return fmt.Sprintf("%g Mbit/s", mbps)
}
