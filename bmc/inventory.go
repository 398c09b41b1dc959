package bmc

import "time"

// InventorySchema is the version of Inventory's JSON form (docs/schema/inventory.schema.json).
const InventorySchema = "1"

// Inventory is all that a BMC told about its machine. Serial numbers, versions and names stand as
// the BMC gives them; MAC addresses are in NetBox's form. Slices are never nil in JSON: an empty
// array means that the BMC was asked and has none, and what could not be asked is in Unread.
type Inventory struct {
	Schema   string    `json:"schema"`
	URL      string    `json:"url"`
	Protocol Protocol  `json:"protocol"`
	ReadAt   time.Time `json:"read_at"`
	Scope    Scope     `json:"scope"`
	Complete bool      `json:"complete"` // nothing in Unread that the scope asked for
	Service  Service   `json:"service"`
	Identity Identity  `json:"identity"`

	Systems           []System            `json:"systems"`
	Chassis           []Chassis           `json:"chassis"`
	Managers          []Manager           `json:"managers"`
	Processors        []Processor         `json:"processors"`
	Memory            []Memory            `json:"memory"` // populated only
	Storage           []StorageController `json:"storage_controllers"`
	Drives            []Drive             `json:"drives"`
	Volumes           []Volume            `json:"volumes"`
	NetworkInterfaces []NetworkInterface  `json:"network_interfaces"`
	PCIeDevices       []PCIeDevice        `json:"pcie_devices"`
	PowerSupplies     []PowerSupply       `json:"power_supplies"`
	Fans              []Fan               `json:"fans"`
	Temperatures      []Temperature       `json:"temperatures"`
	Firmware          []FirmwareComponent `json:"firmware"`
	Accounts          []Account           `json:"accounts"`
	Protocols         []NetworkProtocol   `json:"network_protocols"`
	Certificates      []Certificate       `json:"certificates"`
	Events            []Event             `json:"events"` // newest first
	// Components are further things with a serial, MAC or version that fit none of the arrays
	// above: boards, backplanes, batteries, switches, TPMs, vendor objects.
	Components []Component `json:"components"`

	Unread   []Unread     `json:"unread"`
	Requests RequestStats `json:"requests"`
}

// Service is what the Redfish ServiceRoot (DSP0268) says of itself.
type Service struct {
	Vendor         string   `json:"vendor,omitempty"`
	Product        string   `json:"product,omitempty"`
	RedfishVersion string   `json:"redfish_version,omitempty"`
	UUID           string   `json:"uuid,omitempty"`
	Quirks         []string `json:"quirks"` // names of the quirks that applied
	Expand         string   `json:"expand,omitempty"`
}

// Part is what every physical thing has. URI is where it was read; for IPMI, the FRU or sensor.
type Part struct {
	ID           string `json:"id"`
	Name         string `json:"name,omitempty"`
	Manufacturer string `json:"manufacturer,omitempty"`
	Model        string `json:"model,omitempty"`
	PartNumber   string `json:"part_number,omitempty"`
	Serial       string `json:"serial,omitempty"`
	Location     string `json:"location,omitempty"`
	Health       string `json:"health,omitempty"` // OK, Warning, Critical
	State        string `json:"state,omitempty"`  // DSP0268 Status.State
	URI          string `json:"uri"`
}

// System is a computer system.
type System struct {
	Part
	UUID          string       `json:"uuid,omitempty"`
	SKU           string       `json:"sku,omitempty"`
	AssetTag      string       `json:"asset_tag,omitempty"`
	HostName      string       `json:"host_name,omitempty"`
	Type          string       `json:"type,omitempty"`
	PowerState    PowerState   `json:"power_state,omitempty"`
	BIOSVersion   string       `json:"bios_version,omitempty"`
	BIOS          Attributes   `json:"bios_attributes,omitempty"`
	BIOSPending   Attributes   `json:"bios_pending,omitempty"`
	BootOrder     []BootOption `json:"boot_order,omitempty"`
	BootOverride  BootOverride `json:"boot_override"`
	BootMode      string       `json:"boot_mode,omitempty"` // UEFI, Legacy
	BootProgress  string       `json:"boot_progress,omitempty"`
	SecureBoot    *SecureBoot  `json:"secure_boot,omitempty"`
	TPMs          []TPM        `json:"tpms,omitempty"`
	CPUCount      int          `json:"cpu_count,omitempty"`     // as the system's summary says
	MemoryGiB     float64      `json:"memory_gib,omitempty"`    // as the system's summary says
	HealthRollup  string       `json:"health_rollup,omitempty"` // OK, Warning, Critical
	PostState     string       `json:"post_state,omitempty"`    // vendor's
	ChassisIDs    []string     `json:"chassis_ids,omitempty"`   // Id of each linked chassis
	ManagerIDs    []string     `json:"manager_ids,omitempty"`   // Id of each linked manager
	OtherSerials  []NamedValue `json:"other_serials,omitempty"` // board, PCA, node
	LastResetTime string       `json:"last_reset_time,omitempty"`
}

// NamedValue is a vendor's value under its own name.
type NamedValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// BootOption is one entry of a boot order, first first.
type BootOption struct {
	Reference  string `json:"reference"`
	Name       string `json:"name,omitempty"`
	DevicePath string `json:"device_path,omitempty"`
	Enabled    *bool  `json:"enabled,omitempty"`
}

// SecureBoot is UEFI Secure Boot.
type SecureBoot struct {
	Enabled bool   `json:"enabled"`
	Current string `json:"current,omitempty"` // Enabled, Disabled: what this boot used
	Mode    string `json:"mode,omitempty"`
}

// TPM is a trusted platform module.
type TPM struct {
	Type     string `json:"type,omitempty"` // TPM1_2, TPM2_0
	Firmware string `json:"firmware,omitempty"`
	State    string `json:"state,omitempty"`
}

// Chassis is an enclosure, sled, board or rack.
type Chassis struct {
	Part
	Type         string       `json:"type,omitempty"`
	SKU          string       `json:"sku,omitempty"`
	AssetTag     string       `json:"asset_tag,omitempty"`
	UUID         string       `json:"uuid,omitempty"`
	ContainedBy  string       `json:"contained_by,omitempty"` // Id
	Systems      []string     `json:"systems,omitempty"`      // Ids
	IndicatorLED string       `json:"indicator_led,omitempty"`
	OtherSerials []NamedValue `json:"other_serials,omitempty"`
}

// Manager is a BMC or another management controller.
type Manager struct {
	Part
	Type      string   `json:"type,omitempty"`
	UUID      string   `json:"uuid,omitempty"`
	Firmware  string   `json:"firmware,omitempty"`
	Clock     string   `json:"clock,omitempty"` // as the BMC gives it
	ClockSkew *float64 `json:"clock_skew_seconds,omitempty"`
	HostName  string   `json:"host_name,omitempty"`
	LastReset string   `json:"last_reset,omitempty"`
}

// Processor is a CPU, GPU, FPGA or accelerator; Type says which (DSP0268 Processor.ProcessorType).
type Processor struct {
	Part
	Type     string  `json:"type"`
	System   string  `json:"system,omitempty"`
	Socket   string  `json:"socket,omitempty"`
	Cores    int     `json:"cores,omitempty"`
	Threads  int     `json:"threads,omitempty"`
	MaxMHz   float64 `json:"max_mhz,omitempty"`
	Firmware string  `json:"firmware,omitempty"`
	UUID     string  `json:"uuid,omitempty"`
}

// Memory is a populated DIMM or on-package memory.
type Memory struct {
	Part
	System   string  `json:"system,omitempty"`
	GiB      float64 `json:"gib"`
	Type     string  `json:"type,omitempty"` // DDR4, DDR5, HBM3
	MHz      float64 `json:"mhz,omitempty"`
	Firmware string  `json:"firmware,omitempty"`
}

// StorageController is a RAID controller, HBA or NVMe controller.
type StorageController struct {
	Part
	System   string `json:"system,omitempty"`
	Firmware string `json:"firmware,omitempty"`
}

// Drive is a physical drive, wherever its controller or enclosure is.
type Drive struct {
	Part
	System            string  `json:"system,omitempty"`
	Controller        string  `json:"controller,omitempty"` // Id
	Bytes             int64   `json:"bytes"`
	Media             string  `json:"media,omitempty"`    // HDD, SSD
	Protocol          string  `json:"protocol,omitempty"` // SATA, SAS, NVMe
	Firmware          string  `json:"firmware,omitempty"`
	FailurePredicted  *bool   `json:"failure_predicted,omitempty"`
	LifeLeftPercent   float64 `json:"life_left_percent,omitempty"`
	EncryptionAbility string  `json:"encryption_ability,omitempty"`
}

// Volume is a RAID volume or namespace.
type Volume struct {
	Part
	System     string   `json:"system,omitempty"`
	Controller string   `json:"controller,omitempty"`
	RAID       string   `json:"raid,omitempty"` // RAID0, RAID1, ...
	Bytes      int64    `json:"bytes"`
	Drives     []string `json:"drives,omitempty"` // Ids
}

// NetworkInterface is a port of a NIC, or an interface of the host or BMC, with every MAC known.
type NetworkInterface struct {
	Part
	Owner    string   `json:"owner,omitempty"`   // "system", "manager" or "chassis", then "/" and Id
	Adapter  string   `json:"adapter,omitempty"` // Id of the NIC that it is a port of
	MACs     []string `json:"macs"`              // permanent first
	LinkUp   *bool    `json:"link_up,omitempty"`
	Mbps     float64  `json:"mbps,omitempty"`
	IPv4     []string `json:"ipv4,omitempty"`
	IPv6     []string `json:"ipv6,omitempty"`
	Firmware string   `json:"firmware,omitempty"`
	MTU      int      `json:"mtu,omitempty"`
	VLAN     int      `json:"vlan,omitempty"`
	// Neighbor is what the port hears by LLDP, where the BMC tells.
	Neighbor *Neighbor `json:"neighbor,omitempty"`
}

// Neighbor is the far end of a cable, as LLDP tells it.
type Neighbor struct {
	Chassis string `json:"chassis"`        // chassis ID, often a switch's MAC
	Port    string `json:"port,omitempty"` // port ID
	Name    string `json:"name,omitempty"` // system name
}

// PCIeDevice is a card or an on-board PCIe device.
type PCIeDevice struct {
	Part
	Type     string `json:"type,omitempty"`
	Slot     string `json:"slot,omitempty"`
	Firmware string `json:"firmware,omitempty"`
	Class    string `json:"class,omitempty"`
}

// PowerSupply is a PSU.
type PowerSupply struct {
	Part
	Firmware   string  `json:"firmware,omitempty"`
	Watts      float64 `json:"watts,omitempty"` // capacity
	InputVolts float64 `json:"input_volts,omitempty"`
	Chassis    string  `json:"chassis,omitempty"`
}

// Fan is a fan with its reading.
type Fan struct {
	Part
	Reading float64 `json:"reading,omitempty"`
	Units   string  `json:"units,omitempty"` // RPM, Percent
}

// Temperature is a temperature sensor.
type Temperature struct {
	Part
	Celsius  *float64 `json:"celsius,omitempty"`
	Critical *float64 `json:"critical_celsius,omitempty"`
}

// FirmwareComponent is one updatable or reported component.
type FirmwareComponent struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Version   string `json:"version"`
	Updatable *bool  `json:"updatable,omitempty"`
	State     string `json:"state,omitempty"`
	Released  string `json:"released,omitempty"`
	Device    string `json:"device,omitempty"` // URI of what it runs on, when told
	URI       string `json:"uri"`
}

// Account is a BMC account in use.
type Account struct {
	ID             string `json:"id"`
	User           string `json:"user"`
	Role           string `json:"role,omitempty"`
	Enabled        bool   `json:"enabled"`
	Locked         bool   `json:"locked,omitempty"`
	ChangeRequired bool   `json:"password_change_required,omitempty"`
	URI            string `json:"uri"`
}

// NetworkProtocol is a service that a BMC offers.
type NetworkProtocol struct {
	Manager string `json:"manager"`
	Name    string `json:"name"` // HTTPS, SSH, IPMI, SNMP, KVMIP, ...
	Enabled *bool  `json:"enabled,omitempty"`
	Port    int    `json:"port,omitempty"`
}

// Certificate is a TLS or Secure Boot certificate that the BMC holds.
type Certificate struct {
	ID        string `json:"id"`
	Subject   string `json:"subject,omitempty"`
	Issuer    string `json:"issuer,omitempty"`
	Serial    string `json:"serial,omitempty"`
	NotBefore string `json:"not_before,omitempty"`
	NotAfter  string `json:"not_after,omitempty"`
	Usage     string `json:"usage,omitempty"`
	URI       string `json:"uri"`
}

// Event is an entry of a log.
type Event struct {
	ID       string `json:"id"`
	Log      string `json:"log"` // URI of the log
	Time     string `json:"time,omitempty"`
	Severity string `json:"severity,omitempty"` // OK, Warning, Critical
	Message  string `json:"message"`
	Code     string `json:"code,omitempty"` // MessageId or sensor
	URI      string `json:"uri,omitempty"`
}

// Component is a thing with a serial, MAC or version that has no array of its own.
type Component struct {
	Part
	Type     string   `json:"type"` // Redfish resource type or FRU area
	Firmware string   `json:"firmware,omitempty"`
	MACs     []string `json:"macs,omitempty"`
	// Values are further identifying values under the BMC's own property paths.
	Values []NamedValue `json:"values,omitempty"`
}

// Unread is something that should have been read and was not.
type Unread struct {
	URI    string `json:"uri"`
	Reason string `json:"reason"` // one of the reason codes in docs/bmc-read.md
	Detail string `json:"detail,omitempty"`
}

// RequestStats tells what a reading cost.
type RequestStats struct {
	Count       int           `json:"count"`
	NotModified int           `json:"not_modified"`
	Bytes       int64         `json:"bytes"`
	InFlight    int           `json:"max_in_flight"`
	WallMS      float64       `json:"wall_ms"`
	LatencyMS   LatencyMS     `json:"latency_ms"`
	Slowest     []SlowRequest `json:"slowest,omitempty"`
}

// LatencyMS are quantiles over the requests of one reading, in milliseconds.
type LatencyMS struct {
	Median float64 `json:"median"`
	P95    float64 `json:"p95"`
	Max    float64 `json:"max"`
}

// SlowRequest is one of the slowest requests of a reading.
type SlowRequest struct {
	URI string  `json:"uri"`
	MS  float64 `json:"ms"`
}
