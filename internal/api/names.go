package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/inventory"
)

// kindOf takes id:, name: or serial: from the front of what a person writes for a machine; kind is ""
// when none is there. It is the same for machines in NetBox and for those of an operation (names).
func kindOf(ref string) (kind, value string) {
	kind, value, said := strings.Cut(ref, ":")
	if said && slices.Contains([]string{"id", "name", "serial"}, kind) {
		return kind, value
	}
	return "", ref
}

// findAsset gives the one device that a person means by a name, a serial or a NetBox ID. One machine's
// name may be another's serial or ID: what means two that the caller may see is refused.
func (s *Server) findAsset(ctx context.Context, ref string, caller operation.Token) (inventory.Device, error) {
	kind, value := kindOf(ref)
	var queries []inventory.Query
	if id, err := asset.ParseID(value); err == nil && (kind == "" || kind == "id") {
		queries = append(queries, inventory.Query{IDs: []asset.ID{id}})
	}
	if strings.TrimSpace(value) != "" && (kind == "" || kind == "name") {
		queries = append(queries, inventory.Query{Names: []string{value}})
	}
	if strings.TrimSpace(value) != "" && (kind == "" || kind == "serial") {
		queries = append(queries, inventory.Query{Serials: []string{value}})
	}
	var mine []inventory.Device
	var foreign *inventory.Device
	for _, q := range queries {
		found, err := s.o.Inventory.Find(ctx, q)
		if err != nil && !errors.Is(err, inventory.ErrNotFound) {
			return inventory.Device{}, err
		}
		for _, d := range found {
			switch {
			case !caller.AllowsSite(d.Site.Slug):
				foreign = &d
			case !slices.ContainsFunc(mine, func(m inventory.Device) bool { return m.ID == d.ID }):
				mine = append(mine, d)
			}
		}
	}
	switch {
	case len(mine) > 1:
		return inventory.Device{}, severalMeant(ref, mine)
	case len(mine) == 1:
		return mine[0], nil
	case foreign != nil:
		return inventory.Device{}, fault.New(fault.Denied, "%s is in site %s, which token %s does not cover", foreign.Name, foreign.Site.Slug, caller.ID)
	}
	return inventory.Device{}, fault.New(fault.NotFound, "no device in NetBox has the name, serial or ID %q", ref)
}

// severalMeant refuses to guess.
func severalMeant(ref string, found []inventory.Device) *fault.Error {
	means := make([]string, len(found))
	for i, d := range found {
		means[i] = fmt.Sprintf("%s (NetBox %s, serial %s)", d.Name, d.ID, d.Serial)
	}
	e := fault.New(fault.Invalid, "%s means %s", echo(ref), strings.Join(means, " and "))
	e.Remedy = fmt.Sprintf("say which, with its NetBox ID: id:%s; nothing was done", found[0].ID)
	return e
}

// findTargets reads the devices of a request. Without a kind in front a target is a name and nothing
// else: an install of many is not to hit a machine whose serial somebody typed as another's name.
func (s *Server) findTargets(ctx context.Context, t wire.Targets) ([]inventory.Device, error) {
	if len(t.Names) == 0 {
		return s.o.Inventory.Find(ctx, inventory.Query{IDs: t.IDs, Site: t.Site, Rack: t.Rack})
	}
	var q [3]inventory.Query // by ID, by name, by serial
	for i, ref := range t.Names {
		kind, value := kindOf(ref)
		id, err := asset.ParseID(value)
		switch {
		case strings.TrimSpace(value) == "" || kind == "id" && err != nil:
			return nil, invalid(fmt.Sprintf("names[%d]", i), ref, "write a name, id:NUMBER or serial:SERIAL")
		case kind == "id":
			q[0].IDs = append(q[0].IDs, id)
		case kind == "serial":
			q[2].Serials = append(q[2].Serials, value)
		default:
			q[1].Names = append(q[1].Names, value)
		}
	}
	var out []inventory.Device
	for _, one := range q {
		if len(one.IDs)+len(one.Names)+len(one.Serials) == 0 {
			continue
		}
		one.Site = t.Site
		found, err := s.o.Inventory.Find(ctx, one)
		if errors.Is(err, inventory.ErrNotFound) {
			f := translate(err)
			f.Remedy = "look them up in NetBox; a serial or a NetBox ID is taken as serial:7CX1234 or id:101. Nothing was started"
			return nil, f
		}
		if err != nil {
			return nil, err
		}
		for _, serial := range one.Serials {
			same := slices.DeleteFunc(slices.Clone(found), func(d inventory.Device) bool { return !asset.SameSerial(d.Serial, serial) })
			switch {
			case len(same) == 0:
				return nil, fault.New(fault.NotFound, "no device in NetBox has the serial %s", echo(serial))
			case len(same) > 1:
				return nil, severalMeant("serial:"+serial, same)
			}
		}
		out = append(out, found...)
	}
	return out, nil
}
