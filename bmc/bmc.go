// Package bmc is the port to management controllers (BMCs): the small computers beside a server
// that can switch it, read it and update it.
//
// Words
//
//   - Endpoint: where one BMC is and how its TLS certificate is known.
//   - Controller: one BMC, logged in. Its methods are grouped by what they touch (Power, BIOS,
//     Firmware, ...); what a BMC cannot do answers ErrUnsupported.
//   - Inventory: all that a BMC told about its machine, in one vendor-neutral form (inventory.go).
//   - Quirk: data about how a vendor, model or firmware differs (package quirks); never a branch
//     on a vendor's name.
//
// Drivers are bmc/redfish and bmc/ipmi; bmctest is the conformance suite that both pass. A BMC is
// fragile, so all requests to one go through its one broker (bmc/broker): one kept session, a cap
// on requests in flight, a login budget and a circuit breaker.
//
// A Controller is safe for concurrent use. Every method ends when its context does. Every write is
// read back before it returns, unless its comment says that the effect comes later. Errors are of
// type *Error (errors.go).
package bmc

import (
	"context"
	"io"
	"slices"
	"time"
)

// Protocol is the language in which a BMC is spoken to.
type Protocol string

// The protocols.
const (
	Redfish Protocol = "redfish" // DSP0266 over HTTPS
	IPMI    Protocol = "ipmi"    // IPMI 2.0, RMCP+ over UDP
)

// Endpoint says where a BMC is. It holds no secret.
type Endpoint struct {
	Protocol Protocol `json:"protocol"`
	Address  string   `json:"address"` // host, or host:port where it is not the protocol's own
	// Pin is the SHA-256 of the DER certificate, as `openssl x509 -fingerprint -sha256` prints it.
	// Empty means first contact: the certificate shown is accepted once and reported in Identity,
	// and nothing is changed on the BMC before the caller has compared the serial.
	Pin string `json:"pin,omitempty"`
	// CA is PEM; when set, the chain is verified against it instead of the pin.
	CA string `json:"ca,omitempty"`
	// System chooses a system by its Redfish Id on a BMC that serves several.
	System string `json:"system,omitempty"`
	// Serial chooses the system with this serial on a BMC that serves several, when System is empty.
	// It proves nothing: the caller compares the serial in Identity, which is of the same system.
	Serial string `json:"serial,omitempty"`
	// OldCiphers also offers the RSA key exchange that old BMCs need (iLO 4, iDRAC 7 and 8).
	OldCiphers bool `json:"old_ciphers,omitempty"`
}

// Credentials log in to a BMC. The password never appears in any String, log or error.
type Credentials struct {
	User     string
	Password string
}

// String hides the password.
func (c Credentials) String() string { return c.User + ":***" }

// GoString hides the password from %#v.
func (c Credentials) GoString() string { return "bmc.Credentials{" + c.String() + "}" }

// Identity is what proves which machine a BMC belongs to.
type Identity struct {
	Serial       string `json:"serial"`        // from the field that the quirk names first
	SerialSource string `json:"serial_source"` // that field, e.g. "ComputerSystem.SKU"
	Manufacturer string `json:"manufacturer"`
	Model        string `json:"model"`
	Firmware     string `json:"bmc_firmware"`
	Fingerprint  string `json:"fingerprint,omitempty"` // of the certificate shown, see Endpoint.Pin
	System       string `json:"system,omitempty"`      // URI of the system whose serial it is
	// OtherSerials are further serials of the same machine (the board's, the chassis'), so that an
	// error can say "that is the board's serial".
	OtherSerials map[string]string `json:"other_serials,omitempty"`
	// Twins are the Ids of the hosts behind this BMC that the serial does not tell apart, System's among
	// them: there are several with this serial, or (Serial is "") with none. It is of no use to a reader
	// of the JSON form.
	Twins []string `json:"-"`
}

// Controller is one BMC. Obtain one from a driver, Close it when done: Close logs out.
type Controller interface {
	// Identify reads who the machine is. It needs a valid login.
	Identify(ctx context.Context) (Identity, error)
	// Read gives everything in the scope that the BMC knows. What could not be read is in
	// Inventory.Unread; an error is returned only when nothing useful was read at all.
	Read(ctx context.Context, scope Scope) (*Inventory, error)

	Power
	Boot
	Media
	Accounts
	Settings
	BIOS
	Firmware
	Log

	Close(ctx context.Context) error
}

// Scope says how much to read.
type Scope string

// The scopes, each with all of the one before it.
const (
	ScopeIdentity Scope = "identity" // service root, systems, managers, chassis
	ScopeHardware Scope = "hardware" // + processors, memory, storage, network, power, fans, firmware
	ScopeComplete Scope = "complete" // + accounts, BIOS, logs, certificates, protocols, every link
)

// PowerState is a host's power. Between states a BMC may tell of a transition.
type PowerState string

// The power states of DSP0268 Resource.PowerState.
const (
	PowerOn          PowerState = "On"
	PowerOff         PowerState = "Off"
	PowerPoweringOn  PowerState = "PoweringOn"
	PowerPoweringOff PowerState = "PoweringOff"
	PowerUnknown     PowerState = "Unknown"
)

// PowerAction asks for a change of power. There is no "cycle": a cycle is off, seen off, on, seen
// on, so that a crash in between never cycles twice.
type PowerAction string

// The power actions.
const (
	PowerActionOn       PowerAction = "on"
	PowerActionOff      PowerAction = "off"      // at once
	PowerActionShutdown PowerAction = "shutdown" // asks the operating system
)

// Power switches the host.
type Power interface {
	PowerState(ctx context.Context) (PowerState, error)
	// SetPower asks and returns when the BMC has accepted: the state follows later and must be
	// observed with PowerState. Asking for the state that already is does nothing.
	SetPower(ctx context.Context, action PowerAction) error
	// BootProgress tells how far the host's boot is: a Redfish BootProgress.LastState or a POST
	// code, empty where the BMC does not tell. It is evidence, never a decision.
	BootProgress(ctx context.Context) (string, error)
}

// BootDevice is where a host boots from next.
type BootDevice string

// The boot devices.
const (
	BootNone BootDevice = "none"
	BootDisk BootDevice = "disk"
	BootPXE  BootDevice = "pxe"
	BootHTTP BootDevice = "http"
	BootCD   BootDevice = "cd"
	BootBIOS BootDevice = "bios-setup"
)

// BootOverride is a BMC's boot override.
type BootOverride struct {
	Device BootDevice `json:"device"`
	Once   bool       `json:"once"`
	UEFI   bool       `json:"uefi"`
	URI    string     `json:"uri,omitempty"` // for BootHTTP
}

// Boot sets what a host boots from.
type Boot interface {
	BootOverride(ctx context.Context) (BootOverride, error)
	SetBootOverride(ctx context.Context, o BootOverride) error
}

// Media is virtual media: an image that the BMC presents as a drive.
type Media interface {
	// InsertMedia makes the BMC present the image at url as a CD. Already inserted is success.
	InsertMedia(ctx context.Context, url string) error
	// EjectMedia takes it out. Nothing inserted is success.
	EjectMedia(ctx context.Context) error
}

// Accounts changes BMC accounts.
type Accounts interface {
	// Accounts lists the accounts; empty slots are left out.
	Accounts(ctx context.Context) ([]Account, error)
	// PasswordLengths gives how short and how long a password may be; 0 where the BMC does not say.
	PasswordLengths(ctx context.Context) (least, most int, err error)
	// SetPassword changes the password of the named account. It does not log in with the new one:
	// the caller does, with a new Controller, before it trusts the change. A BMC that demands a
	// change before anything else (PasswordChangeRequired) serves this call.
	SetPassword(ctx context.Context, user, password string) error
}

// ManagerSettings are the BMC's own settings that a site's baseline sets. A nil or empty field is
// not part of the baseline and is never written.
type ManagerSettings struct {
	Hostname   string    `json:"hostname,omitempty"`
	NTPServers []string  `json:"ntp_servers,omitempty"`
	DNSServers []string  `json:"dns_servers,omitempty"`
	Syslog     string    `json:"syslog,omitempty"`      // host:port; read in the form of SyslogAddress
	AlsoSyslog []string  `json:"also_syslog,omitempty"` // further servers that it sends to; never written
	TimeZone   string    `json:"time_zone,omitempty"`
	Clock      time.Time `json:"clock,omitzero"` // the BMC's clock when read; on write: set to now when it is off
	NTPEnabled *bool     `json:"ntp_enabled,omitempty"`
}

// SendsTo tells whether a syslog server is among those that the BMC sends to.
func (s ManagerSettings) SendsTo(syslog string) bool {
	want := SyslogAddress(syslog)
	return want == SyslogAddress(s.Syslog) || slices.Contains(s.AlsoSyslog, want)
}

// Settings reads and writes the BMC's own settings.
type Settings interface {
	// ManagerSettings reads them. Unsupported names the fields that this BMC does not have. Of several
	// syslog servers, Syslog is one that SetManagerSettings made, else the first.
	ManagerSettings(ctx context.Context) (s ManagerSettings, unsupported []string, err error)
	// SetManagerSettings writes the non-empty fields of s and no other.
	SetManagerSettings(ctx context.Context, s ManagerSettings) error
}

// Attributes are BIOS attributes by name: string, bool or float64/int64 values as the registry says.
type Attributes map[string]any

// BIOSState is what a BMC tells of the host's BIOS.
type BIOSState struct {
	Current  Attributes `json:"current"`
	Pending  Attributes `json:"pending"`             // asked for, not yet applied; differs from Current only
	BootMode string     `json:"boot_mode,omitempty"` // uefi, legacy
	// BootModeAttribute is the attribute that sets the boot mode, and BootModeValues its value for
	// "uefi" and "legacy"; empty where the boot mode is no attribute of this machine.
	BootModeAttribute string            `json:"boot_mode_attribute,omitempty"`
	BootModeValues    map[string]string `json:"boot_mode_values,omitempty"`
	// ReadOnly attributes, when the registry tells.
	ReadOnly []string `json:"read_only,omitempty"`
}

// BIOS reads and writes the host's firmware settings.
type BIOS interface {
	BIOS(ctx context.Context) (BIOSState, error)
	// SetBIOS asks for the attributes and no others. They apply at the host's next reboot unless
	// the BMC applies them at once; read BIOS to know. Values keep their type.
	SetBIOS(ctx context.Context, attrs Attributes) error
}

// TaskRef is a long-running job on a BMC. It is serialisable, so that a crash resumes at it. With no
// URI the BMC gave no task: progress must be seen in the component's version.
type TaskRef struct {
	URI string `json:"uri,omitempty"`
}

// TaskState is how far a task is.
type TaskState struct {
	URI      string   `json:"uri,omitempty"`
	Name     string   `json:"name,omitempty"`
	Target   string   `json:"target,omitempty"` // URI of the request that started it, where the BMC tells
	State    string   `json:"state"`            // DSP2046 TaskState
	Done     bool     `json:"done"`
	OK       bool     `json:"ok"` // meaningful when Done
	Gone     bool     `json:"gone"`
	Waits    bool     `json:"waits,omitempty"` // for something else, such as the host's reboot
	Percent  int      `json:"percent"`         // -1 unknown
	Messages []string `json:"messages,omitempty"`
}

// FirmwareUpdate is one image to install.
type FirmwareUpdate struct {
	ImageURI string // from where the BMC may fetch it (SimpleUpdate); empty: push only
	Name     string // file name
	Size     int64
	Open     func() (io.ReadCloser, error) // content for a multipart push
	Targets  []string                      // component URIs; empty: the BMC decides by the image
	Push     bool                          // use multipart push even where SimpleUpdate exists
}

// Firmware updates components.
type Firmware interface {
	// Firmware lists components with their versions, as in Inventory.Firmware.
	Firmware(ctx context.Context) ([]FirmwareComponent, error)
	// StartUpdate hands the image to the BMC once. Success means accepted, not installed.
	StartUpdate(ctx context.Context, u FirmwareUpdate) (TaskRef, error)
	// Task reads a task's state. A task that the BMC no longer knows is Gone, which is not an error.
	Task(ctx context.Context, t TaskRef) (TaskState, error)
	// Tasks lists every task that the BMC still knows, done or not, so that a crash between a write
	// and its answer finds what it started: compare with the list from before the write.
	Tasks(ctx context.Context) ([]TaskState, error)
}

// Log reads the system event log.
type Log interface {
	// Events gives the newest entries first, at most limit.
	Events(ctx context.Context, limit int) ([]Event, error)
}
