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
	sys, err := c.choose(systems)
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

// choose takes the system that was asked for, or the only one that is a computer of its own: some
// BMCs show accelerator boards beside it.
func (c *Controller) choose(systems []object) (object, error) {
	var ids []string
	var whole []object
	for _, s := range systems {
		id := s.str("Id")
		if c.system != "" && id == c.system {
			return s, nil
		}
		ids = append(ids, id)
		if s.action("ComputerSystem.Reset") != "" && s.has("Boot") {
			whole = append(whole, s)
		}
	}
	switch {
	case c.system != "":
		return nil, c.fail(bmc.ErrRejected, "choose the system", "there is no system "+c.system+", but "+strings.Join(ids, ", "))
	case len(systems) == 1:
		return systems[0], nil
	case len(systems) == 0:
		return nil, c.fail(bmc.ErrUnsupported, "choose the system", "the BMC names none")
	case len(whole) == 1:
		return whole[0], nil
	}
	return nil, c.fail(bmc.ErrRejected, "choose the system", "the BMC serves several: name one of "+strings.Join(ids, ", "))
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
