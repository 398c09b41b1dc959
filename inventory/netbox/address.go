package netbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/inventory"
)

// ownAddress is an IP address object as allocation looks at it.
type ownAddress struct {
	ID      int64                      `json:"id"`
	Address text                       `json:"address"`
	DNSName text                       `json:"dns_name"`
	Custom  map[string]json.RawMessage `json:"custom_fields"`
}

func (a ownAddress) prefix() netip.Prefix {
	p, _ := netip.ParsePrefix(string(a.Address))
	return p
}

func (a ownAddress) madeBy(operation string) bool {
	return operation != "" && customFields(a.Custom)[OperationField] == operation
}

const ownAddressFields = "id,address,dns_name,custom_fields"

// allocation is one call of Allocate or Release on its way.
type allocation struct {
	*Client
	op     string
	device deviceRecord
	etag   string // of the device
	writes []plan.Write
	strays []ownAddress // made by the operation, and to be avoided: given back once another is there
}

func (c *Client) allocation(ctx context.Context, op string, id asset.ID) (*allocation, error) {
	r, etag, err := c.device(ctx, op, id)
	return &allocation{Client: c, op: op, device: r, etag: etag}, err
}

// Allocate gives a device a primary address: at most seven requests, six for a device that was read just
// before, and three for one that has an address. When the device changed meanwhile, it looks again. See
// inventory.Source.
func (c *Client) Allocate(ctx context.Context, ask inventory.Allocation) (netip.Prefix, []plan.Write, error) {
	var writes []plan.Write
	for n := 1; ; n++ {
		address, wrote, err := c.allocate(ctx, ask)
		for _, w := range wrote {
			if !slices.Contains(writes, w) { // what was made before is found, and told, again
				writes = append(writes, w)
			}
		}
		if n == attempts || !errors.Is(err, errPrecondition) {
			return address, writes, err
		}
		ask.Read = nil // it has changed since
	}
}

func (c *Client) allocate(ctx context.Context, ask inventory.Allocation) (netip.Prefix, []plan.Write, error) {
	if err := ask.Validate(); err != nil {
		return netip.Prefix{}, nil, err
	}
	a := &allocation{Client: c, op: fmt.Sprintf("allocate an address of %s for device %s", list(ask.Pools), ask.Device)}
	if d := ask.Read; known(d, ask.Device) && !d.PrimaryIP4.IsValid() && !d.PrimaryIP6.IsValid() {
		a.device = deviceRecord{ID: int64(d.ID), Name: text(d.Name), Site: &ref{ID: d.Site.ID, Slug: text(d.Site.Slug), Name: text(d.Site.Name)}}
		a.etag = d.ETag
	} else {
		var err error
		if a, err = c.allocation(ctx, a.op, ask.Device); err != nil {
			return netip.Prefix{}, nil, err
		}
	}
	primary, field := a.device.Primary4, "primary_ip4"
	if !ask.Is4() {
		primary, field = a.device.Primary6, "primary_ip6"
	}
	if primary != nil {
		have, err := a.address(ctx, primary.id())
		if err == nil {
			a.tell(have, ask)
			err = a.name(ctx, have, ask)
		}
		if err == nil && have.madeBy(ask.Operation) {
			a.wrote("device "+string(a.device.Name), field, "", string(have.Address))
		}
		return have.prefix(), a.writes, err
	}
	port, err := a.port(ctx, ask.Interface)
	if err != nil {
		return netip.Prefix{}, nil, err
	}
	have, err := a.existing(ctx, port, ask)
	if err == nil && have.ID == 0 {
		have, err = a.take(ctx, port, ask)
	}
	for _, stray := range a.strays {
		if failed := a.giveBack(ctx, stray); err == nil { // else the next call finds it
			err = failed
		}
	}
	if err != nil {
		return netip.Prefix{}, a.writes, err
	}
	if err := a.name(ctx, have, ask); err != nil {
		return have.prefix(), a.writes, err
	}
	err = a.patch(ctx, "dcim/devices/", a.device.ID, a.etag, map[string]any{field: have.ID}, ask.Operation, "primary address "+string(have.Address))
	if err == nil {
		a.wrote("device "+string(a.device.Name), field, "", string(have.Address))
	}
	return have.prefix(), a.writes, err
}

// port finds an interface of the device by its name.
func (a *allocation) port(ctx context.Context, name string) (int64, error) {
	ports, err := listAll[interfaceRecord](ctx, a.Client, a.op, url.Values{"fields": {interfaceFields}, "device_id": {asset.ID(a.device.ID).String()}},
		func(ctx context.Context, offset int32) (*http.Response, error) {
			_, resp, err := a.api.DcimAPI.DcimInterfacesList(ctx).Limit(pageSize).Offset(offset).Ordering("id").Execute()
			return resp, err
		})
	if err != nil {
		return 0, err
	}
	for _, p := range ports {
		if port := p.port(); port.Name == name && !port.Mgmt {
			return port.ID, nil
		}
	}
	return 0, &inventory.Error{Kind: inventory.ErrNotFound, Op: a.op, Names: []string{name}, Detail: "the device has no such data interface"}
}

// existing finds the address that the operation made before, else one of the pools that the interface
// has already. Several of these are for a person to choose from.
func (a *allocation) existing(ctx context.Context, port int64, ask inventory.Allocation) (ownAddress, error) {
	found, err := a.addresses(ctx, url.Values{"interface_id": {asset.ID(port).String()}})
	if err != nil {
		return ownAddress{}, err
	}
	for _, o := range found {
		if o.madeBy(ask.Operation) && slices.Contains(ask.Avoid, o.prefix().Addr()) {
			a.strays = append(a.strays, o)
		}
	}
	found = slices.DeleteFunc(found, func(o ownAddress) bool { return !ask.In(o.prefix().Addr()) })
	if i := slices.IndexFunc(found, func(o ownAddress) bool { return o.madeBy(ask.Operation) }); i >= 0 {
		a.tell(found[i], ask)
		return found[i], nil
	}
	if len(found) > 1 {
		return ownAddress{}, &inventory.Error{Kind: inventory.ErrAmbiguous, Op: a.op, Names: []string{string(found[0].Address), string(found[1].Address)},
			Detail: "interface " + ask.Interface + " has several addresses of the pools: set the primary one"}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return ownAddress{}, nil
}

// take has NetBox choose the next free address of the first pool that has one, which it does atomically.
func (a *allocation) take(ctx context.Context, port int64, ask inventory.Allocation) (ownAddress, error) {
	records, err := a.poolRecords(ctx, a.device.Site.named())
	if err != nil {
		return ownAddress{}, err
	}
	for _, pool := range ask.Pools {
		id, err := a.poolID(records, pool)
		if err != nil {
			return ownAddress{}, err
		}
		for range len(ask.Avoid) + 1 {
			made, err := a.next(ctx, id, pool, port, ask)
			if errors.Is(err, errFull) {
				break
			}
			if err != nil {
				return ownAddress{}, err
			}
			if ask.In(made.prefix().Addr()) {
				a.tell(made, ask)
				return made, nil
			}
			a.strays = append(a.strays, made) // kept meanwhile: NetBox would choose it again
		}
	}
	return ownAddress{}, &inventory.Error{Kind: inventory.ErrRejected, Op: a.op,
		Detail: fmt.Sprintf("no address is left in %s: free some, or make another prefix with the role %q", list(ask.Pools), a.primaryRole)}
}

// errFull is that a prefix has no address left.
var errFull = errors.New("no address is left")

// next makes the next free address of a prefix, on a port.
func (a *allocation) next(ctx context.Context, id int64, pool netip.Prefix, port int64, ask inventory.Allocation) (made ownAddress, err error) {
	body := map[string]any{
		"assigned_object_type": "dcim.interface", "assigned_object_id": port, "status": "active", "dns_name": ask.DNSName,
		"custom_fields":     map[string]any{OperationField: ask.Operation},
		"changelog_message": message(inventory.StatusChange{Operation: ask.Operation, Message: "address for " + string(a.device.Name)}),
	}
	err = a.post(ctx, a.op, fmt.Sprintf("/api/ipam/prefixes/%d/available-ips/", id), body, &made)
	var e *inventory.Error
	switch {
	case errors.As(err, &e) && e.Status == http.StatusConflict:
		return made, errFull
	case err == nil && !pool.Contains(made.prefix().Addr()):
		err = &inventory.Error{Kind: inventory.ErrMalformed, Op: a.op, Detail: fmt.Sprintf("NetBox gave %q, which is not of %s", made.Address, pool)}
	}
	return made, err
}

// giveBack deletes an address that the operation made.
func (a *allocation) giveBack(ctx context.Context, o ownAddress) error {
	body := map[string]any{"changelog_message": message(inventory.StatusChange{Operation: customFields(o.Custom)[OperationField], Message: "taken back"})}
	err := a.exchange(ctx, a.op, &call{}, nil, http.MethodDelete, fmt.Sprintf("/api/ipam/ip-addresses/%d/", o.ID), body)
	var e *inventory.Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound {
		return nil // by a call whose answer was lost
	}
	return err
}

// list names prefixes.
func list(pools []netip.Prefix) string {
	words := make([]string, len(pools))
	for i, p := range pools {
		words[i] = p.String()
	}
	return strings.Join(words, ", ")
}

// tell notes what the operation wrote by making an address, now or in a call whose answer was lost.
func (a *allocation) tell(made ownAddress, ask inventory.Allocation) {
	if !made.madeBy(ask.Operation) {
		return
	}
	object := "ip-address " + string(made.Address)
	a.wrote(object, "address", "", string(made.Address))
	if ask.DNSName != "" && string(made.DNSName) == ask.DNSName {
		a.wrote(object, "dns_name", "", ask.DNSName)
	}
}

// poolID finds a pool among the site's prefixes of the primary role.
func (a *allocation) poolID(records []poolRecord, pool netip.Prefix) (int64, error) {
	for _, r := range records {
		if r.prefix() == pool && r.usable() {
			return r.ID, nil
		}
	}
	return 0, &inventory.Error{Kind: inventory.ErrNotFound, Op: a.op, Names: []string{pool.String()},
		Detail: fmt.Sprintf("the device's site has no active prefix like it with the role %q", a.primaryRole)}
}

// name gives an address its DNS name where it has none.
func (a *allocation) name(ctx context.Context, have ownAddress, ask inventory.Allocation) error {
	switch string(have.DNSName) {
	case ask.DNSName:
		return nil
	case "":
	default:
		return &inventory.Error{Kind: inventory.ErrConflict, Op: a.op,
			Detail: fmt.Sprintf("address %s is named %q and was to be %q: somebody else named it; correct it in NetBox, or the device's name", have.Address, have.DNSName, ask.DNSName)}
	}
	var now ownAddress
	x := &call{query: url.Values{"fields": {ownAddressFields}}}
	path := fmt.Sprintf("/api/ipam/ip-addresses/%d/", have.ID)
	if err := a.exchange(ctx, a.op, x, &now, http.MethodGet, path, nil); err != nil {
		return err
	}
	if now.DNSName != have.DNSName {
		return a.name(ctx, now, ask)
	}
	err := a.patch(ctx, "ipam/ip-addresses/", have.ID, x.etag, map[string]any{"dns_name": ask.DNSName}, ask.Operation, "DNS name")
	if err == nil {
		a.wrote("ip-address "+string(have.Address), "dns_name", "", ask.DNSName)
	}
	return err
}

// Release deletes the device's addresses that the operation made: NetBox then clears the primary one.
// See inventory.Source.
func (c *Client) Release(ctx context.Context, id asset.ID, operation string) ([]plan.Write, error) {
	op := fmt.Sprintf("release the addresses of %s for device %s", operation, id)
	if operation == "" {
		return nil, &inventory.Error{Kind: inventory.ErrInvalid, Op: op, Detail: "no operation is named: empty is not all"}
	}
	a, err := c.allocation(ctx, op, id)
	if err != nil {
		return nil, err
	}
	found, err := a.addresses(ctx, url.Values{"device_id": {id.String()}})
	if err != nil {
		return nil, err
	}
	for _, o := range found {
		if !o.madeBy(operation) {
			continue
		}
		if err := a.giveBack(ctx, o); err != nil {
			return a.writes, err
		}
		a.wrote("ip-address "+string(o.Address), "address", string(o.Address), "")
		for field, primary := range map[string]*ref{"primary_ip4": a.device.Primary4, "primary_ip6": a.device.Primary6} {
			if primary.id() == o.ID {
				a.wrote("device "+string(a.device.Name), field, string(o.Address), "")
			}
		}
	}
	return a.writes, nil
}

func (a *allocation) wrote(object, field, before, after string) {
	a.writes = append(a.writes, plan.Write{System: "netbox", Object: object, Field: field, Before: before, After: after})
}

func (a *allocation) address(ctx context.Context, id int64) (out ownAddress, err error) {
	err = a.exchange(ctx, a.op, &call{query: url.Values{"fields": {ownAddressFields}}}, &out, http.MethodGet, fmt.Sprintf("/api/ipam/ip-addresses/%d/", id), nil)
	return out, err
}

func (a *allocation) addresses(ctx context.Context, filter url.Values) ([]ownAddress, error) {
	filter.Set("fields", ownAddressFields)
	return listAll[ownAddress](ctx, a.Client, a.op, filter, func(ctx context.Context, offset int32) (*http.Response, error) {
		_, resp, err := a.api.IpamAPI.IpamIpAddressesList(ctx).Limit(pageSize).Offset(offset).Ordering("id").Execute()
		return resp, err
	})
}

// patch writes fields of an object that has not changed since it was read.
func (a *allocation) patch(ctx context.Context, path string, id int64, etag string, fields map[string]any, operation, why string) error {
	fields["changelog_message"] = message(inventory.StatusChange{Operation: operation, Message: why})
	x := &call{header: http.Header{}}
	if etag != "" {
		x.header.Set("If-Match", etag) // with its W/, as it came
	}
	err := a.exchange(ctx, a.op, x, nil, http.MethodPatch, fmt.Sprintf("/api/%s%d/", path, id), fields)
	var e *inventory.Error
	if errors.As(err, &e) && x.status == http.StatusPreconditionFailed {
		e.Kind, e.Err = inventory.ErrConflict, errPrecondition
	}
	return err
}
