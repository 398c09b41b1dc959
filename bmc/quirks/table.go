package quirks

import (
	"crypto/tls"
	"slices"
)

// rsaKeyExchange are the suites that old BMCs need and that Go no longer offers by default.
var rsaKeyExchange = []uint16{
	tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	tls.TLS_RSA_WITH_AES_256_CBC_SHA,
}

var table = []Quirk{
	{
		Name:     "common",
		Reason:   "DSP0266 and DSP0268: what no inventory wants, whoever made the BMC",
		Identity: []string{"ComputerSystem.SerialNumber", "Chassis.SerialNumber"},
		Skip: []string{
			// Descriptions of the API itself.
			"JsonSchemas", "Registries", "$metadata", "odata", "ActionInfo", "ResourceDirectory",
			// Doings, not things.
			"SessionService", "TaskService", "Tasks", "JobService", "Jobs", "TelemetryService",
			"MetricReports", "MetricReportDefinitions", "MetricDefinitions", "Triggers",
			// Counters that change with every reading; the things they count are read themselves.
			"Metrics", "ProcessorMetrics", "MemoryMetrics", "DriveMetrics", "PortMetrics", "EnvironmentMetrics",
			"PowerSupplyMetrics", "ManagerDiagnosticData",
			// Thousands of hashes without a serial.
			"Signatures",
			"AccountService/Roles",
		},
	},
	{
		Name:     "dell-service-tag",
		Reason:   "SerialNumber is the board's; SKU is the service tag that people type",
		Match:    Match{Vendor: []string{"Dell"}},
		Identity: []string{"ComputerSystem.SKU", "Chassis.SKU", "ComputerSystem.SerialNumber"},
	},
	{
		Name:   "dell-bulk",
		Reason: "iDRAC repeats its sensors and slots as hundreds of OEM objects without a serial of their own",
		Match:  Match{Vendor: []string{"Dell"}},
		Skip: []string{
			"DellSensors", "DellNumericSensors", "DellPSNumericSensors", "DellPresenceAndStatusSensors",
			"DellSlots", "DellRollupStatus", "DellMetricService", "DellOpaqueManagementData",
			"SecureBoot/Oem/Dell/Certificates/DBX",
		},
	},
	{
		Name:   "hpe-oem-types",
		Reason: "iLO 4 to 6 list drives, controllers and NICs as OEM resources, some of them nowhere else",
		Match:  Match{Vendor: []string{"HPE", "Hewlett", "Hpe", "Hp"}},
		Types: map[string]string{
			"HpeSmartStorageDiskDrive": "Drive", "HpSmartStorageDiskDrive": "Drive",
			"HpeSmartStorageArrayController": "StorageController", "HpSmartStorageArrayController": "StorageController",
			"HpeSmartStorageHostBusAdapter": "StorageController", "HpSmartStorageHostBusAdapter": "StorageController",
			"HpeSmartStorageLogicalDrive": "Volume", "HpSmartStorageLogicalDrive": "Volume",
			"HpeBaseNetworkAdapter": "NetworkAdapter", "HpBaseNetworkAdapter": "NetworkAdapter",
			"HpMemory": "Memory", "HpeMemory": "Memory",
			"HpeHttpsCert": "Certificate", "HpHttpsCert": "Certificate", "HpeCertificate": "Certificate",
			"FwSwVersionInventory": "SoftwareInventory",
		},
	},
	{
		Name:         "hpe-ilo4-ciphers",
		Reason:       "iLO 4 before 2.55 offers RSA key exchange only",
		Match:        Match{Vendor: []string{"HP"}, Manager: []string{"iLO 4"}},
		CipherSuites: rsaKeyExchange,
		InFlight:     2,
	},
	{
		Name:         "idrac-7-8-ciphers",
		Reason:       "iDRAC 7 and 8 offer RSA key exchange only, and answer one request at a time",
		Match:        Match{Vendor: []string{"Dell"}, Manager: []string{"12G", "13G"}},
		CipherSuites: rsaKeyExchange,
		InFlight:     2,
	},
	{
		Name:   "lenovo-bulk",
		Reason: "XCC gives every LED, port mapping and history value a resource of its own",
		Match:  Match{Vendor: []string{"Lenovo"}},
		Skip:   []string{"Oem/Lenovo/LEDs", "Oem/Lenovo/Metrics", "PortForwardingMap", "Oem/Lenovo/Slots", "RemoteControl", "RemoteMap"},
	},
	{
		Name:    "lenovo-pending",
		Reason:  "Systems/1/Pending holds what the next boot is asked to do",
		Match:   Match{Vendor: []string{"Lenovo"}},
		Pending: []string{"Systems/*/Pending"},
	},
	{
		Name:   "dell-certificates",
		Reason: "iDRAC lists the Secure Boot certificates under types of its own",
		Match:  Match{Vendor: []string{"Dell"}},
		Types:  map[string]string{"DellCertificate": "Certificate"},
	},
}

// OldCipherSuites are Go's own suites and those of BMCs that offer RSA key exchange only (iLO 4, iDRAC 7
// and 8). A quirk cannot choose them, since it matches what a BMC tells only after the handshake: a
// profile or a flag does, for one BMC.
func OldCipherSuites() []uint16 {
	var out []uint16
	for _, s := range tls.CipherSuites() {
		out = append(out, s.ID)
	}
	for _, id := range rsaKeyExchange {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}
