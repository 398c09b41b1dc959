package quirks

// Control is how writing to a BMC differs from the standard. Every row that matches adds to it.
type Control struct {
	Syslog SyslogPlace
	NTP    NTPPlace
	// NoSyslogSubscription: the EventService takes no destination of the type Syslog. Nothing in a
	// service tells that, but for its refusal.
	NoSyslogSubscription bool
}

// SyslogPlace says where a BMC keeps its remote syslog server, when that is not an EventDestination
// (DSP0268). Properties are paths with slashes inside the resource.
type SyslogPlace struct {
	Link    string // property of the manager that links to the resource; "/" separates steps
	Last    string // last path segment of the right one, where the link is a list
	Server  string
	Port    string
	Enabled string
	On      any // value of Enabled
}

// NTPPlace says where a BMC keeps its NTP servers, when that is not ManagerNetworkProtocol.NTP.
type NTPPlace struct {
	Link    string // property of the manager that links to the resource
	Servers string
}

type controlRow struct {
	name   string
	reason string
	match  Match
	Control
}

var controls = []controlRow{
	{
		name:   "hpe-syslog",
		reason: "iLO keeps its syslog server in an OEM part of ManagerNetworkProtocol",
		match:  Match{Vendor: []string{"HPE", "Hewlett"}},
		Control: Control{Syslog: SyslogPlace{Link: "NetworkProtocol", Server: "Oem/Hpe/RemoteSyslogServer",
			Port: "Oem/Hpe/RemoteSyslogPort", Enabled: "Oem/Hpe/RemoteSyslogEnabled", On: true}},
	},
	{
		name:    "hpe-ntp",
		reason:  "iLO 5 keeps its NTP servers in an OEM resource where ManagerNetworkProtocol has none",
		match:   Match{Vendor: []string{"HPE", "Hewlett"}},
		Control: Control{NTP: NTPPlace{Link: "Oem/Hpe/Links/DateTimeService", Servers: "StaticNTPServers"}},
	},
	{
		name:   "dell-syslog",
		reason: "iDRAC keeps its syslog server among its attributes",
		match:  Match{Vendor: []string{"Dell"}},
		Control: Control{Syslog: SyslogPlace{Link: "Links/Oem/Dell/DellAttributes", Last: "iDRAC.Embedded.1",
			Server: "Attributes/SysLog.1.Server1", Port: "Attributes/SysLog.1.Port",
			Enabled: "Attributes/SysLog.1.SysLogEnable", On: "Enabled"}},
	},
	{
		name:   "supermicro-syslog",
		reason: "Supermicro keeps its syslog server in an OEM resource of the manager",
		match:  Match{Vendor: []string{"Supermicro"}},
		Control: Control{Syslog: SyslogPlace{Link: "Oem/Supermicro/Syslog", Server: "SyslogServer",
			Port: "SyslogPortNumber", Enabled: "EnableSyslog", On: true}},
	},
	{
		name:    "no-syslog-subscription",
		reason:  "the EventServices of these vendors take destinations of the types RedfishEvent and SNMP only",
		match:   Match{Vendor: []string{"Dell", "HPE", "Hewlett", "Lenovo", "Supermicro"}},
		Control: Control{NoSyslogSubscription: true},
	},
}

// ControlFor gives how writing to a BMC differs.
func ControlFor(f Facts) Control {
	var c Control
	for _, r := range controls {
		if !r.match.holds(f) {
			continue
		}
		if r.Syslog.Link != "" {
			c.Syslog = r.Syslog
		}
		c.NoSyslogSubscription = c.NoSyslogSubscription || r.NoSyslogSubscription
		if r.NTP.Link != "" {
			c.NTP = r.NTP
		}
	}
	return c
}

// BootMode is a BIOS attribute that sets whether the host boots by UEFI or by legacy BIOS.
type BootMode struct {
	Attribute string
	UEFI      string
	Legacy    string
}

// BootModes are the known ones. They are found by the attribute's presence, not by the vendor.
func BootModes() []BootMode {
	return []BootMode{
		{"BootMode", "Uefi", "Bios"},                           // Dell
		{"BootMode", "Uefi", "LegacyBios"},                     // HPE
		{"BootMode", "UEFI", "Legacy"},                         // generic
		{"BootModes_SystemBootMode", "UEFIMode", "LegacyMode"}, // Lenovo
		{"SystemBootMode", "UEFIMode", "LegacyMode"},           // Lenovo, older
		{"BootModeSelect", "UEFI", "Legacy"},                   // Supermicro, OpenBMC
		{"BootModeselect", "UEFI", "LEGACY"},                   // Supermicro, older
	}
}
