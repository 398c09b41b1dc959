package redfish

import (
	"context"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/quirks"
)

const rootPath = "/redfish/v1/"

// place is where on the BMC things are. It does not change while a BMC runs.
type place struct {
	root    object
	system  string
	manager string // "" when no manager says that it manages the system
	control quirks.Control
	// name is the system's Name, by which bmclib finds it; "" for the only system, and unnamed says
	// that its Name is not its own, so that bmclib cannot be used.
	name    string
	unnamed bool
}

// where finds the place once.
func (c *Controller) where(ctx context.Context) (*place, error) {
	c.mu.Lock()
	p := c.place
	c.mu.Unlock()
	if p != nil {
		return p, nil
	}
	root, err := c.get(ctx, rootPath)
	if err != nil {
		return nil, err
	}
	systems, err := c.members(ctx, root, "Systems")
	if err != nil {
		return nil, err
	}
	sys, err := c.choose(ctx, systems)
	if err != nil {
		return nil, err
	}
	p = &place{root: root, system: sys.id()}
	if len(systems) > 1 {
		p.name = sys.str("Name")
		same := 0
		for _, s := range systems {
			if s.str("Name") == p.name {
				same++
			}
		}
		p.unnamed = p.name == "" || same > 1
	}
	mgr, err := c.managerOf(ctx, root, sys)
	if err != nil {
		return nil, err
	}
	p.manager = mgr.id()
	p.control = quirks.ControlFor(quirks.Facts{
		Vendor: firstNonEmpty(root.str("Vendor"), oemName(root), sys.str("Manufacturer")), Product: root.str("Product"),
		Model: sys.str("Model"), Manager: mgr.str("Model"), Firmware: mgr.str("FirmwareVersion"),
	})
	c.mu.Lock()
	c.place = p
	c.mu.Unlock()
	return p, nil
}

func (c *Controller) members(ctx context.Context, o object, link string) ([]object, error) {
	path := o.link(link)
	if path == "" {
		return nil, nil
	}
	return c.each(ctx, path, 1024)
}

// choose takes the only system; of several, the one whose identity the reader gives, so that what is
// switched and written to is what was proved. Without a word of the caller's on a BMC that serves
// several hosts there is none: some BMCs show accelerator boards beside a host, which are no choice.
func (c *Controller) choose(ctx context.Context, systems []object) (object, error) {
	const op = "choose the system"
	var ids, hosts []string
	for _, s := range systems {
		ids = append(ids, s.str("Id"))
		if s.action("ComputerSystem.Reset") != "" && s.has("Boot") {
			hosts = append(hosts, s.str("Id"))
		}
	}
	switch {
	case len(systems) == 0:
		return nil, c.fail(bmc.ErrUnsupported, op, "the BMC names none")
	case c.system != "" && !slices.Contains(ids, c.system):
		return nil, c.fail(bmc.ErrRejected, op, "there is no system "+c.system+", but "+strings.Join(ids, ", "))
	case len(systems) == 1:
		return systems[0], nil
	case c.system == "" && c.serial == "" && len(hosts) > 1:
		return nil, c.fail(bmc.ErrRejected, op, "the BMC serves several: name one of "+strings.Join(ids, ", "))
	}
	inv, err := c.identify(ctx)
	if err != nil {
		return nil, err
	}
	if u, kind := c.unproved(inv); kind != nil {
		return nil, c.fail(kind, op+": GET "+u.URI, u.Detail)
	}
	if err := c.toldApart(op, inv.Identity); err != nil {
		return nil, err
	}
	if id := inv.Identity; c.system == "" && c.serial != "" && len(hosts) > 1 && !strings.EqualFold(id.Serial, strings.TrimSpace(c.serial)) {
		return nil, c.fail(bmc.ErrRejected, op, "none of "+strings.Join(ids, ", ")+" has the serial "+c.serial)
	}
	for _, s := range systems {
		if strings.EqualFold(strings.TrimSuffix(s.id(), "/"), inv.Identity.System) {
			return s, nil
		}
	}
	return nil, c.fail(bmc.ErrMalformed, op, "the BMC lists "+strings.Join(ids, ", ")+", and not "+inv.Identity.System)
}

// toldApart refuses an identity that several hosts behind the BMC have: by the serial that was asked for
// nobody knows which of them is meant.
func (c *Controller) toldApart(op string, id bmc.Identity) error {
	if c.serial == "" || len(id.Twins) == 0 || id.Serial != "" && !strings.EqualFold(id.Serial, strings.TrimSpace(c.serial)) {
		return nil
	}
	what := "have no serials of their own"
	if id.Serial != "" {
		what = "have the same serial " + id.Serial
	}
	return c.fail(bmc.ErrRejected, op, strings.Join(id.Twins, ", ")+" "+what+": name one by its Id as bmc.system in the machine's profile")
}

// managerOf gives the BMC among the system's managers: the one with a network of its own.
func (c *Controller) managerOf(ctx context.Context, root, sys object) (object, error) {
	links := sys.links("Links", "ManagedBy")
	if len(links) == 0 {
		all, err := c.members(ctx, root, "Managers")
		if err != nil || len(all) != 1 {
			return object{}, err
		}
		return all[0], nil
	}
	var best object
	for _, l := range links[:min(len(links), 8)] {
		m, err := c.get(ctx, l)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if m.id() == "" {
			m["@odata.id"] = l
		}
		if best == nil || rank(m) > rank(best) {
			best = m
		}
	}
	if best == nil {
		best = object{}
	}
	return best, nil
}

func rank(m object) int {
	n := 0
	if m.str("ManagerType") == "BMC" {
		n++
	}
	for _, link := range []string{"NetworkProtocol", "EthernetInterfaces"} {
		if m.link(link) != "" {
			n++
		}
	}
	return n
}

// systemNow reads the system.
func (c *Controller) systemNow(ctx context.Context) (*place, object, error) {
	p, err := c.where(ctx)
	if err != nil {
		return nil, nil, err
	}
	sys, err := c.get(ctx, p.system)
	return p, sys, err
}

func firstNonEmpty(list ...string) string {
	i := slices.IndexFunc(list, func(s string) bool { return s != "" })
	if i < 0 {
		return ""
	}
	return list[i]
}

func oemName(root object) string {
	for name := range root.obj("Oem") {
		if !strings.HasPrefix(name, "@") {
			return name
		}
	}
	return ""
}
