// Package inventory is the port to the source of truth: what devices there should be, where, and
// in which status. The driver is inventory/netbox (NetBox 4.7); inventorytest is the conformance
// suite that it passes against a real NetBox and against the data center in a box alike.
//
// The source of truth belongs to people. Cagenut owns fields in it, never devices: it writes the
// status, and the custom fields that Setup made, and leaves everything else as it stands.
//
// A Source is safe for concurrent use. Every method ends when its context does. Errors are of type
// *Error.
package inventory

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/plan"
)

// Device is a device as the source of truth has it. A device from Find carries the plain fields
// only; one from Describe has its interfaces, cables and addresses too.
type Device struct {
	ID           asset.ID          `json:"id"`
	Name         string            `json:"name"`
	Serial       string            `json:"serial"`
	AssetTag     string            `json:"asset_tag,omitempty"`
	Status       asset.Status      `json:"status"`
	Site         Named             `json:"site"`
	Rack         Named             `json:"rack"`
	Position     float64           `json:"position"` // rack units from the bottom; 0: none
	Face         string            `json:"face,omitempty"`
	Role         Named             `json:"role"`
	Manufacturer Named             `json:"manufacturer"`
	Type         Named             `json:"type"` // slug and model
	Platform     Named             `json:"platform"`
	Tenant       Named             `json:"tenant"`
	Cluster      Named             `json:"cluster"`
	OOB          netip.Prefix      `json:"oob_ip"`
	OOBID        int64             `json:"-"` // of the IP address object
	PrimaryIP4   netip.Prefix      `json:"primary_ip4"`
	PrimaryIP6   netip.Prefix      `json:"primary_ip6"`
	Tags         []string          `json:"tags,omitempty"`          // slugs, sorted
	Custom       map[string]string `json:"custom_fields,omitempty"` // every field of the type; empty: not set
	Updated      time.Time         `json:"last_updated"`
	ETag         string            `json:"-"`                    // only of Device, and only where the source gives one
	Interfaces   []Interface       `json:"interfaces,omitempty"` // by name
	// PrimaryPool are the prefixes from which a primary address could be taken when the device has
	// none, best first: role "primary" (or the configured one), scoped to the device's site, of a VLAN that
	// a port or bond carries untagged or of none. Describe fills it only for devices without a primary
	// address.
	PrimaryPool []netip.Prefix `json:"primary_pool,omitempty"`
}

// Named is a reference to another object; the zero value means none.
type Named struct {
	ID   int64  `json:"id,omitempty"`
	Slug string `json:"slug,omitempty"` // racks have none
	Name string `json:"name,omitempty"`
}

// Interface is a network interface of a device.
type Interface struct {
	ID        int64          `json:"id"`
	Name      string         `json:"name"`
	Type      string         `json:"type"` // NetBox slug, e.g. 25gbase-x-sfp28
	Mgmt      bool           `json:"mgmt_only"`
	Enabled   bool           `json:"enabled"`
	MACs      []string       `json:"macs,omitempty"` // upper case with colons, primary first
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Cable     *Cable         `json:"cable,omitempty"`
	LAG       string         `json:"lag,omitempty"`    // name of the bond that it belongs to
	Parent    string         `json:"parent,omitempty"` // name of the interface that it is a part of, such as a VLAN
	Bridge    string         `json:"bridge,omitempty"` // name of the bridge that it is a port of
	MTU       int            `json:"mtu,omitempty"`    // 0: not said
	Mode      string         `json:"mode,omitempty"`   // 802.1Q: access, tagged, tagged-all, q-in-q
	Untagged  VLAN           `json:"untagged_vlan,omitzero"`
	Tagged    []VLAN         `json:"tagged_vlans,omitempty"` // by VID
}

// VLAN is a VLAN on an interface; the zero value means none.
type VLAN struct {
	VID  int    `json:"vid"`
	Name string `json:"name"`
}

// Cable is the cable on an interface, with its far end.
type Cable struct {
	ID     int64  `json:"id"`
	Status string `json:"status"` // connected, planned, decommissioning
	Peer   string `json:"peer"`   // device name
	Port   string `json:"port"`   // far interface
}

// Rack is a rack as it should stand.
type Rack struct {
	ID         int64        `json:"id"`
	Name       string       `json:"name"`
	Site       Named        `json:"site"`
	Height     int          `json:"u_height"`      // rack units
	Lowest     int          `json:"starting_unit"` // number of the first unit, mostly 1
	Descending bool         `json:"desc_units"`    // units are numbered from the top
	Devices    []RackDevice `json:"devices"`       // by ID
}

// RackDevice is a device in a rack, with what is needed to draw it.
type RackDevice struct {
	ID        asset.ID     `json:"id"`
	Name      string       `json:"name"`
	Serial    string       `json:"serial"`
	Status    asset.Status `json:"status"`
	Role      Named        `json:"role"`
	Type      Named        `json:"type"`
	Position  float64      `json:"position"` // the unit with the lowest number that it takes, in halves; 0: none
	Face      string       `json:"face,omitempty"`
	Height    float64      `json:"u_height"`      // rack units, in halves; 0: takes none
	FullDepth bool         `json:"is_full_depth"` // nothing fits behind it
}

// Query selects devices. Its set fields all apply; a Query with no field set is an error: empty is
// not all.
type Query struct {
	IDs     []asset.ID
	Names   []string // exact, letter case ignored
	Site    string   // slug; narrows the others, never alone
	Rack    string   // name; needs Site where the name is not unique
	Serials []string // exact, letter case ignored
}

// StatusChange asks to move a device from one status to another.
type StatusChange struct {
	ID        asset.ID
	From, To  asset.Status
	Operation string // operation ID: goes into the custom field and the changelog message
	Message   string // for people; cut to the changelog's 200 characters
	// Read is the device as Device gave it just now; then it is not read again, and its ETag tells whether
	// it changed since. Without, or without an ETag, it is read first.
	Read *Device
}

// JournalEntry is a note for people on a device.
type JournalEntry struct {
	Device    asset.ID
	Operation string // operation ID; Text names it, and a repeated call finds the entry by it
	Kind      string // info, success, warning, danger
	Text      string // Markdown
}

// Validate tells what cannot be written.
func (e JournalEntry) Validate() error {
	bad := func(field, value, remedy string) error {
		return &Error{Kind: ErrInvalid, Op: fmt.Sprintf("write in the journal of device %s", e.Device), Detail: fmt.Sprintf("%s %q: %s", field, value, remedy)}
	}
	switch {
	case e.Device <= 0:
		return bad("device", e.Device.String(), "name a device by its ID")
	case e.Operation == "":
		return bad("operation", "", "name the operation: without it a repeated call would write a second entry")
	case !slices.Contains([]string{"info", "success", "warning", "danger"}, e.Kind):
		return bad("kind", e.Kind, "use info, success, warning or danger")
	case !strings.Contains(e.Text, e.Operation):
		return bad("text", e.Text, "name operation "+e.Operation+" in it: the entry is found by that")
	}
	return nil
}

// OperationField is the custom field of a device with the ID of the operation that wrote last.
const OperationField = "cagenut_operation"

// Source is the port.
type Source interface {
	// Find gives the devices of a query by ID. Names or IDs that match nothing are an ErrNotFound
	// that lists them all; a name that matches several is an ErrAmbiguous.
	Find(ctx context.Context, q Query) ([]Device, error)
	// Describe gives devices with interfaces, MACs, cables and addresses, in the order asked for,
	// in a number of requests that grows with len(ids)/100, not with len(ids).
	Describe(ctx context.Context, ids []asset.ID) ([]Device, error)
	// Device is one device's plain fields, for a check just before acting.
	Device(ctx context.Context, id asset.ID) (Device, error)
	// ManagementMACs gives the MACs of a device's mgmt_only interfaces, in one request. The device
	// must exist.
	ManagementMACs(ctx context.Context, id asset.ID) ([]string, error)
	// SetStatus moves a device by compare-and-set. Already there is success with false; a status
	// that is neither From nor To is an ErrConflict, and so is a move that the lifecycle forbids.
	SetStatus(ctx context.Context, c StatusChange) (changed bool, err error)
	// Allocate gives a device the next free address of the pools as its primary one, with its DNS name. A
	// device that has a primary address of that family keeps it, and one that its interface has from
	// a pool already becomes the primary one. It is atomic, and idempotent by the operation: after a
	// lost answer the address that was made is found, and no second one is taken. A DNS name that
	// somebody else gave is an ErrConflict and stays. No address left in any pool is ErrRejected. writes
	// tells what the operation changed, in this call or in one whose answer was lost.
	Allocate(ctx context.Context, a Allocation) (address netip.Prefix, writes []plan.Write, err error)
	// Release takes back what the operation allocated for the device, and nothing else: an address that
	// does not carry the operation's ID stays.
	Release(ctx context.Context, id asset.ID, operation string) (writes []plan.Write, err error)
	// Journal writes an entry in a device's journal, once: an entry of this kind that names the operation
	// is success with false. The device must exist.
	Journal(ctx context.Context, e JournalEntry) (made bool, err error)
	// WasActive tells whether the device was active at any time since then, by the inventory's change
	// log. What cannot be excluded counts as yes: a log that does not reach back to that time.
	WasActive(ctx context.Context, id asset.ID, since time.Time) (bool, error)
	// SameSerial lists other devices with this serial: NetBox does not keep serials unique.
	SameSerial(ctx context.Context, serial string) ([]Device, error)
	// Rack gives a rack with everything that stands in it, in at most four requests (a rack of more than
	// 1,000 devices needs more). An unknown rack is an ErrNotFound; a name that several sites use is an
	// ErrAmbiguous unless the site is given.
	Rack(ctx context.Context, site, name string) (Rack, error)
	// Sites lists the sites.
	Sites(ctx context.Context) ([]Named, error)
	// Ping tells the version of the source of truth and what the token may do.
	Ping(ctx context.Context) (Status, error)
	// Setup compares what Cagenut needs (custom fields, tags, permissions, webhook) with what is
	// there and, when apply is true, makes what is missing. It never changes what it did not make.
	Setup(ctx context.Context, o SetupOptions, apply bool) ([]SetupItem, error)
}

// Status is what the source of truth says of itself and of us.
type Status struct {
	Version string   `json:"version"`
	User    string   `json:"user,omitempty"`
	Super   bool     `json:"superuser"`
	Missing []string `json:"missing,omitempty"` // what Setup would make
}

// SetupOptions are the choices of Setup.
type SetupOptions struct {
	User       string // the account that Cagenut's own token belongs to
	WebhookURL string // empty: no webhook
	WebhookKey string // secret of X-Hook-Signature; never logged
}

// SetupItem is one thing that Setup needs.
type SetupItem struct {
	Kind   string `json:"kind"` // custom field, tag, permission, webhook, event rule
	Name   string `json:"name"`
	State  string `json:"state"` // present, missing, created, differs
	Detail string `json:"detail,omitempty"`
}

// The ways in which the source of truth fails. Test with errors.Is.
var (
	ErrUnreachable = errors.New("inventory unreachable")
	ErrDenied      = errors.New("inventory refused the token or the permission")
	ErrNotFound    = errors.New("not in the inventory")
	ErrAmbiguous   = errors.New("ambiguous in the inventory")
	ErrConflict    = errors.New("inventory changed meanwhile")
	ErrRejected    = errors.New("inventory rejected the write")
	ErrMalformed   = errors.New("inventory answer is malformed")
	ErrServer      = errors.New("inventory answered with a server error")
	ErrInvalid     = errors.New("the inventory cannot be asked that") // a mistake of the caller
)

// Error is what every driver returns.
type Error struct {
	Kind   error  // one of the sentinels above
	Op     string // the call and its argument
	Status int    // HTTP status, 0 when there was no answer
	Detail string // the inventory's own words, bounded
	Names  []string
	Err    error
}

// Error names the call and the reason.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %v", e.Op, e.Kind)
	if e.Status != 0 {
		s += fmt.Sprintf(" (HTTP %d)", e.Status)
	}
	if len(e.Names) > 0 {
		s += fmt.Sprintf(": %q", e.Names)
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the kind and the cause to errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}
