package inventory

import (
	"net/netip"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/plan"
)

// Ref gives the reference that plans and calls carry.
func (d Device) Ref() asset.Ref {
	return asset.Ref{ID: d.ID, Name: d.Name, Serial: d.Serial, Site: d.Site.Slug, Rack: d.Rack.Name}
}

// Facts gives what planning needs of a described device. What only our own history knows (Holder,
// EverActive, InstallBegan, HasSecret, SameSerial) is left for the caller to fill.
func (d Device) Facts() plan.Facts {
	f := plan.Facts{
		Asset:        d.Ref(),
		Status:       d.Status,
		Type:         d.Type.Slug,
		Role:         d.Role.Slug,
		Manufacturer: d.Manufacturer.Name,
		Model:        d.Type.Name,
		Position:     d.Position,
		Face:         d.Face,
		OOB:          d.OOB,
		PrimaryPool:  d.PrimaryPool,
	}
	for _, p := range []netip.Prefix{d.PrimaryIP4, d.PrimaryIP6} {
		if p.IsValid() {
			f.Primary = append(f.Primary, p)
		}
	}
	for _, i := range d.Interfaces {
		port := plan.Port{Name: i.Name, Mgmt: i.Mgmt, MACs: i.MACs, LAG: i.LAG}
		if i.Cable != nil {
			port.Cable = i.Cable.Peer + ":" + i.Cable.Port
		}
		f.Interfaces = append(f.Interfaces, port)
		for _, a := range i.Addresses {
			if i.Mgmt && d.OOB.IsValid() && a.Addr() == d.OOB.Addr() {
				f.OOBInterface = i.Name
			}
		}
	}
	return f
}
