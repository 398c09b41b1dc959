package sim

import "time"

// flavours are the vendors, by name. The values are plausible, not copied: what counts is that the
// layouts and habits differ as they do between real BMCs.
var flavours = makeFlavours()

var allResets = []string{"On", "ForceOff", "GracefulShutdown", "GracefulRestart", "ForceRestart", "PowerCycle", "Nmi", "PushPowerButton"}

const (
	gb = 1_000_000_000
)

var (
	xeon   = processor{model: "INTEL(R) XEON(R) GOLD 6430", maker: "Intel", kind: "CPU", cores: 32, threads: 64, mhz: 3400}
	epyc   = processor{model: "AMD EPYC 9354P 32-Core Processor", maker: "AMD", kind: "CPU", cores: 32, threads: 64, mhz: 3800}
	l4     = processor{model: "NVIDIA L4", maker: "NVIDIA", kind: "GPU", cores: 7424, threads: 7424, mhz: 2040}
	sata   = drive{model: "MZ7L3480HCHQ", maker: "Samsung", bytes: 480 * gb, media: "SSD", protocol: "SATA"}
	nvme   = drive{model: "KCD8XPUG3T84", maker: "Kioxia", bytes: 3840 * gb, media: "SSD", protocol: "NVMe"}
	sas    = drive{model: "ST2400MM0129", maker: "Seagate", bytes: 2400 * gb, media: "HDD", protocol: "SAS"}
	region = []temperature{{"Inlet", 22, 47}, {"Exhaust", 34, 75}, {"CPU1Temp", 51, 98}}
)

func (p processor) named(ids ...string) []processor {
	out := make([]processor, len(ids))
	for i, id := range ids {
		out[i] = p
		out[i].id = id
	}
	return out
}

// firmwareOf lists the usual components. ids are in the order of Components.
func firmwareOf(biosVersion, bmcVersion string, ids [6]string, names [6]string) []component {
	versions := [6]string{biosVersion, bmcVersion, "22.31.6", "8.4.0.0.18", "00.24.41", "1.0.7"}
	after := [6]string{afterHost, afterBMC, afterHost, afterHost, atOnce, afterHost}
	releases := [6]string{"159", "25227", "108255", "104298", "108076", "27763"}
	out := make([]component, 6)
	for i, key := range Components() {
		out[i] = component{key, ids[i], names[i], versions[i], after[i], releases[i]}
	}
	return out
}

func makeFlavours() map[string]*flavour {
	all := map[string]*flavour{}
	for _, f := range []*flavour{base(), dell(), hpe(), lenovo(), supermicro(), openbmc()} {
		all[f.name] = f.build()
	}
	return all
}

// base follows DMTF's schemas and habits.
func base() *flavour {
	return &flavour{
		name: FlavourBase, vendor: "Contoso", product: "Contoso BMC", manufacturer: "Contoso", model: "CS-1000",
		managerModel: "CBMC-2", server: "Contoso-BMC", latency: 100 * time.Millisecond, serial: serialer("CS", 10), mgmtPort: "bmc",
		systemID: "1", managerID: "BMC", chassisID: "1U", biosPath: "Bios", biosSettings: "Bios/Settings",
		registryID: "ContosoBiosAttributeRegistry", managerNIC: "eth0", logID: "SEL",
		user: "admin", accountID: "1", passwordMax: 40, passwordChange: true,
		mediaInSystem: true, strictQuery: true, resets: allResets, syslog: syslogDestination, ntpInProtocol: true,
		expand: expandSupport{all: true, links: true, noLinks: true, levels: 2},
		power:  powerSubsystem, ports: portsModern,
		taskMonitors: true, simpleUpdate: true, pushMultipart: true,
		components: firmwareOf("1.2.0", "2.10.0",
			[6]string{"BIOS", "BMC", "NIC1", "RAID1", "PSU", "CPLD"},
			[6]string{"System BIOS", "Baseboard Management Controller", "Ethernet Adapter", "RAID Controller", "Power Supplies", "System CPLD"}),
		bios: []biosAttr{
			enum("BootMode", "Uefi", "Uefi", "Legacy"),
			enum("Virtualization", "Disabled", "Enabled", "Disabled"),
			boolean("HyperThreading", true),
			enum("PowerProfile", "Balanced", "Balanced", "Performance", "Custom"),
			enum("TurboMode", "Enabled", "Enabled", "Disabled").when("PowerProfile", "Custom"),
			boolean("SrIov", false),
			integer("PowerOnDelaySeconds", 0, 0, 240),
			text("AssetLabel", ""),
			enum("SerialConsole", "Off", "Off", "Com1", "Com2"),
			text("BiosDate", "11/04/2025").fixed(),
		},
		bootModeAttr: "BootMode", bootModeUEFI: "Uefi", bootModeLegacy: "Legacy", raidVolume: "RAID1",
		hw: hardware{
			cpus: xeon.named("CPU1", "CPU2"), dimmSlots: numbered(32, 1, "DIMM%d"), populated: 16, dimmGiB: 32,
			dimmMaker: "Micron", dimmPart: "MTC20F2085S1RC48BA1",
			raid: controller{"RAID1", "RAID Controller", "Broadcom", "MegaRAID 9560-8i"}, raidDrives: drives(2, "Bay%d", sata),
			nvme: controller{"NVMe1", "NVMe Drives", "Contoso", "NVMe Backplane"}, nvmeDrives: drives(4, "NVMe%d", nvme),
			nic: controller{"NIC1", "Ethernet Adapter", "Mellanox", "ConnectX-6 Lx"}, ports: 2,
			psus: []string{"PSU1", "PSU2"}, psuModel: "CPS-1100", psuWatts: 1100, fans: numbered(6, 1, "Fan%d"), temps: region, tpm: "TPM2_0",
		},
	}
}

// dell is iDRAC-like: embedded IDs, slots for accounts, jobs, settings that need a job, and a
// service tag in SKU.
func dell() *flavour {
	return &flavour{
		name: FlavourDell, vendor: "Dell", product: "Integrated Dell Remote Access Controller", manufacturer: "Dell Inc.", model: "PowerEdge R660",
		managerModel: "16G Monolithic", server: "Apache", latency: 190 * time.Millisecond, serial: serialer("", 7), mgmtPort: "iDRAC",
		systemID: "System.Embedded.1", managerID: "iDRAC.Embedded.1", chassisID: "System.Embedded.1", biosPath: "Bios", biosSettings: "Bios/Settings",
		registryID: "BiosAttributeRegistry", managerNIC: "NIC.1", logID: "Sel", logInManager: true,
		user: "root", accountID: "2", accountSlots: 16, passwordMax: 40,
		skuIsSerial: true, refuseSame: true, hidesTransition: true, resets: allResets, syslog: syslogDell, ntpInProtocol: true,
		expand: expandSupport{all: true, links: true, noLinks: true, levels: 1}, pageSize: 50,
		power: powerSubsystem | powerLegacy, ports: portsModern,
		jobPrefix: "JID_", jobsPath: "/redfish/v1/Managers/iDRAC.Embedded.1/Oem/Dell/Jobs", bareAccepted: true, jobWaits: true,
		biosJobs: true, needsApplyTime: true, pendingOnly: true, simpleUpdate: true, pushMultipart: true,
		components: firmwareOf("1.5.6", "6.10.30.20",
			[6]string{"BIOS.Setup.1-1", "iDRAC.Embedded.1-1", "NIC.Integrated.1-1-1", "RAID.SL.3-1", "PSU.Slot.1", "CPLD.Embedded.1"},
			[6]string{"BIOS", "Integrated Dell Remote Access Controller", "Broadcom Adv. Dual 25Gb Ethernet", "PERC H755 Front", "PWR SPLY,1100W", "System CPLD"}),
		bios: []biosAttr{
			enum("BootMode", "Uefi", "Uefi", "Bios"),
			enum("ProcVirtualization", "Disabled", "Enabled", "Disabled"),
			enum("LogicalProc", "Enabled", "Enabled", "Disabled"),
			enum("SysProfile", "PerfPerWattOptimizedDapc", "PerfPerWattOptimizedDapc", "PerfOptimized", "Custom"),
			enum("ProcTurboMode", "Enabled", "Enabled", "Disabled").when("SysProfile", "Custom"),
			enum("SriovGlobalEnable", "Disabled", "Enabled", "Disabled"),
			enum("AcPwrRcvry", "Last", "Last", "On", "Off"),
			integer("AcPwrRcvryUserDelay", 120, 120, 600),
			text("AssetTag", ""),
			enum("SerialComm", "Off", "Off", "OnConRedirCom1", "OnConRedirCom2"),
			text("SystemBiosVersion", "1.5.6").fixed(),
		},
		bootModeAttr: "BootMode", bootModeUEFI: "Uefi", bootModeLegacy: "Bios", raidVolume: "RAID1",
		hw: hardware{
			cpus: xeon.named("CPU.Socket.1", "CPU.Socket.2"), dimmSlots: append(numbered(16, 1, "DIMM.Socket.A%d"), numbered(16, 1, "DIMM.Socket.B%d")...),
			populated: 16, dimmGiB: 32, dimmMaker: "Hynix Semiconductor", dimmPart: "HMCG88AGBRA191N",
			raid:       controller{"RAID.SL.3-1", "PERC H755 Front", "DELL", "PERC H755 Front"},
			raidDrives: drives(2, "Disk.Bay.%d:Enclosure.Internal.0-1:RAID.SL.3-1", sata),
			nvme:       controller{"CPU.1", "CPU.1", "Dell", "PCIe SSD Backplane"}, nvmeDrives: drives(4, "Disk.Bay.%d:Enclosure.Internal.0-2", nvme),
			nic: controller{"NIC.Integrated.1", "NIC.Integrated.1", "Broadcom", "BCM57414"}, ports: 2,
			psus: []string{"PSU.Slot.1", "PSU.Slot.2"}, psuModel: "PWR SPLY,1100W,RDNT,LTON", psuWatts: 1100,
			fans: numbered(8, 1, "Fan.Embedded.%d"), temps: region, tpm: "TPM2_0",
		},
	}
}

// hpe is iLO-like: lower-case BIOS paths, OEM time settings, and a certificate that follows the
// host name.
func hpe() *flavour {
	return &flavour{
		name: FlavourHPE, vendor: "HPE", product: "ProLiant DL360 Gen11", manufacturer: "HPE", model: "ProLiant DL360 Gen11",
		managerModel: "iLO 6", server: "HPE-iLO-Server/1.30", latency: 305 * time.Millisecond, serial: serialer("CZ", 8), mgmtPort: "iLO",
		systemID: "1", managerID: "1", chassisID: "1", biosPath: "bios", biosSettings: "bios/settings",
		registryID: "BiosAttributeRegistryU54.v1_2_00", managerNIC: "1", logID: "IML",
		user: "Administrator", accountID: "1", passwordMax: 39,
		certFollowsName: true, refuseSame: true, hidesTransition: true, syslog: syslogHPE,
		resets: []string{"On", "ForceOff", "GracefulShutdown", "ForceRestart", "Nmi", "PushPowerButton", "GracefulRestart"},
		expand: expandSupport{noLinks: true, levels: 1},
		power:  powerLegacy, ports: portsLegacy,
		simpleUpdate: true, pushMultipart: true, pushBare: true,
		components: firmwareOf("U54 v1.44", "1.51",
			[6]string{"2", "1", "6", "5", "8", "3"},
			[6]string{"System ROM", "iLO 6", "Broadcom BCM57414 Ethernet 10/25Gb 2-port SFP28", "HPE MR416i-o Gen11", "Power Supply Firmware", "System Programmable Logic Device"}),
		bios: []biosAttr{
			enum("BootMode", "Uefi", "Uefi", "LegacyBios"),
			enum("ProcVirtualization", "Disabled", "Enabled", "Disabled"),
			enum("ProcHyperthreading", "Enabled", "Enabled", "Disabled"),
			enum("WorkloadProfile", "GeneralPowerEfficientCompute", "GeneralPowerEfficientCompute", "GeneralThroughputCompute", "Custom"),
			enum("ProcTurbo", "Enabled", "Enabled", "Disabled").when("WorkloadProfile", "Custom"),
			enum("Sriov", "Disabled", "Enabled", "Disabled"),
			enum("AutoPowerOn", "RestoreLastState", "RestoreLastState", "AlwaysPowerOn", "AlwaysPowerOff"),
			text("ServerAssetTag", ""),
			enum("EmbeddedSerialPort", "Com1Irq4", "Com1Irq4", "Com2Irq3", "Disabled"),
		},
		bootModeAttr: "BootMode", bootModeUEFI: "Uefi", bootModeLegacy: "LegacyBios", raidVolume: "RAID1",
		hw: hardware{
			cpus: xeon.named("1", "2"), dimmSlots: append(numbered(16, 1, "proc1dimm%d"), numbered(16, 1, "proc2dimm%d")...),
			populated: 16, dimmGiB: 32, dimmMaker: "HPE", dimmPart: "P43322-B21",
			raid: controller{"DE00A000", "HPE MR416i-o Gen11", "HPE", "MR416i-o Gen11"}, raidDrives: drives(2, "%d", sata),
			nvme: controller{"DA000001", "NVMe Storage", "HPE", "NVMe Direct"}, nvmeDrives: drives(4, "1%d", nvme),
			nic: controller{"DC07A000", "BCM57414 Ethernet 10/25Gb 2-port", "Broadcom", "P26256-B21"}, ports: 2,
			psus: []string{"0", "1"}, psuModel: "P38995-B21", psuWatts: 800, fans: numbered(7, 1, "Fan %d"), temps: region, tpm: "TPM2_0",
		},
	}
}

// lenovo is XCC-like: a Pending object below the BIOS, PATCH with If-Match only, no syslog.
func lenovo() *flavour {
	return &flavour{
		name: FlavourLenovo, vendor: "Lenovo", product: "ThinkSystem SR630 V3", manufacturer: "Lenovo", model: "ThinkSystem SR630 V3",
		managerModel: "Lenovo XClarity Controller", server: "XCC Web Server", latency: 382 * time.Millisecond, serial: serialer("J", 7), mgmtPort: "XCC",
		systemID: "1", managerID: "1", chassisID: "1", biosPath: "Bios", biosSettings: "Bios/Pending",
		registryID: "BiosAttributeRegistry.1.0.0", managerNIC: "NIC", logID: "PlatformLog",
		user: "USERID", accountID: "1", passwordMax: 32,
		needsIfMatch: true, resets: []string{"On", "ForceOff", "GracefulShutdown", "GracefulRestart", "ForceRestart", "Nmi"}, ntpInProtocol: true,
		expand: expandSupport{all: true, noLinks: true, levels: 2},
		power:  powerLegacy, ports: portsLegacy,
		simpleUpdate: true, pushMultipart: true,
		components: firmwareOf("ESE122E-2.40", "ESX322K-3.10",
			[6]string{"UEFI", "BMC-Primary", "Slot_4.Bundle", "Slot_1.Bundle", "PSU1", "FPGA"},
			[6]string{"Firmware:UEFI", "Firmware:BMC-Primary", "Firmware:Adapter Slot 4", "Firmware:RAID Slot 1", "Firmware:PSU1", "Firmware:FPGA"}),
		bios: []biosAttr{
			enum("BootModes_SystemBootMode", "UEFIMode", "UEFIMode", "LegacyMode"),
			enum("Processors_IntelVirtualizationTechnology", "Disabled", "Enabled", "Disabled"),
			enum("Processors_HyperThreading", "Enabled", "Enabled", "Disabled"),
			enum("OperatingModes_ChooseOperatingMode", "MaximumEfficiency", "MaximumEfficiency", "MaximumPerformance", "CustomMode"),
			enum("Processors_TurboMode", "Enabled", "Enabled", "Disabled").when("OperatingModes_ChooseOperatingMode", "CustomMode"),
			enum("DevicesandIOPorts_SRIOV", "Disabled", "Enabled", "Disabled"),
			enum("Power_PowerRestorePolicy", "Restore", "Restore", "AlwaysOn", "AlwaysOff"),
			integer("Power_PowerOnDelay", 0, 0, 255),
			enum("DevicesandIOPorts_ConsoleRedirection", "Disabled", "Auto", "Enabled", "Disabled"),
		},
		bootModeAttr: "BootModes_SystemBootMode", bootModeUEFI: "UEFIMode", bootModeLegacy: "LegacyMode", raidVolume: "RAID1",
		hw: hardware{
			cpus: xeon.named("1", "2"), dimmSlots: numbered(32, 1, "%d"), populated: 16, dimmGiB: 32, dimmMaker: "Samsung", dimmPart: "M321R4GA3BB6-CQK",
			raid: controller{"RAID_Slot1", "ThinkSystem RAID 940-8i 4GB Flash", "Lenovo", "SAS3908"}, raidDrives: drives(2, "Disk.%d", sata),
			nvme: controller{"Direct_Attached_NVMe", "NVMe", "Lenovo", "NVMe"}, nvmeDrives: drives(4, "NVMe.%d", nvme),
			nic: controller{"slot-4", "ThinkSystem Mellanox ConnectX-6 Lx 10/25GbE SFP28 2-Port", "Mellanox", "SN37B23784"}, ports: 2,
			psus: []string{"PSU1", "PSU2"}, psuModel: "SP57A14678", psuWatts: 1100, fans: numbered(8, 1, "Fan %d"), temps: region, tpm: "TPM2_0",
		},
	}
}

// supermicro has no $expand, an old layout, a GPU, and a factory password that must be changed.
func supermicro() *flavour {
	return &flavour{
		name: FlavourSupermicro, vendor: "Supermicro", product: "", manufacturer: "Supermicro", model: "SYS-111C-NR",
		managerModel: "ASPEED", server: "AMI MegaRAC Redfish Service", latency: 253 * time.Millisecond, serial: serialer("S", 14), mgmtPort: "IPMI",
		systemID: "1", managerID: "1", chassisID: "1", biosPath: "Bios", biosSettings: "Bios/SD",
		registryID: "BiosAttributeRegistry", managerNIC: "1", logID: "Log1", logInManager: true,
		user: "ADMIN", accountID: "2", accountSlots: 10, passwordMax: 20, passwordChange: true,
		quietPatch: true, hidesTransition: true, syslog: syslogSupermicro, ntpInProtocol: true,
		resets: []string{"On", "ForceOff", "GracefulShutdown", "GracefulRestart", "ForceRestart", "Nmi", "ForceOn", "PowerCycle"},
		power:  powerLegacy, ports: portsModern,
		simpleUpdate: true, pushMultipart: true,
		components: firmwareOf("1.4a", "01.02.15",
			[6]string{"BIOS", "BMC", "NIC1", "Storage1", "PowerSupply1", "CPLD"},
			[6]string{"BIOS", "BMC Firmware", "AOC-S25G-i2S", "AOC-S3908L", "PWS-861A-1R", "Motherboard CPLD"}),
		bios: []biosAttr{
			enum("BootModeSelect", "UEFI", "UEFI", "LEGACY"),
			enum("IntelVirtualizationTechnology", "Disable", "Enable", "Disable"),
			enum("HyperThreading_ALL", "Enable", "Enable", "Disable"),
			enum("PowerTechnology", "Energy Efficient", "Energy Efficient", "Disable", "Custom"),
			enum("TurboMode", "Enable", "Enable", "Disable").when("PowerTechnology", "Custom"),
			enum("SR-IOVSupport", "Disabled", "Enabled", "Disabled"),
			enum("RestoreOnACPowerLoss", "Last State", "Last State", "Power On", "Stay Off"),
			integer("BootTimeout", 5, 1, 65535),
			boolean("QuietBoot", true),
		},
		bootModeAttr: "BootModeSelect", bootModeUEFI: "UEFI", bootModeLegacy: "LEGACY", raidVolume: "RAID1",
		hw: hardware{
			cpus: append(epyc.named("1"), l4.named("GPU1")...), dimmSlots: numbered(12, 1, "%d"), populated: 12, dimmGiB: 64, dimmMaker: "Samsung", dimmPart: "M321R8GA0BB0-CQKEG",
			raid: controller{"HBA1", "AOC-S3908L-H8IR", "Supermicro", "AOC-S3908L-H8IR"}, raidDrives: drives(4, "Disk.%d", sas),
			nvme: controller{"NVMeSSD", "NVMe", "Supermicro", "NVMe"}, nvmeDrives: drives(2, "NVMe.%d", nvme),
			nic: controller{"1", "AOC-S25G-i2S", "Supermicro", "AOC-S25G-i2S"}, ports: 2,
			psus: []string{"PS1", "PS2"}, psuModel: "PWS-861A-1R", psuWatts: 860, fans: numbered(6, 1, "FAN%d"), temps: region, tpm: "TPM2_0",
		},
	}
}

// openbmc is bmcweb-like: names for IDs, accounts by name, and one bare push URI.
func openbmc() *flavour {
	return &flavour{
		name: FlavourOpenBMC, vendor: "OpenBMC", product: "SV7000", manufacturer: "Wiwynn", model: "SV7000",
		managerModel: "OpenBmc", server: "bmcweb", latency: 217 * time.Millisecond, serial: serialer("WY", 11), mgmtPort: "bmc",
		systemID: "system", managerID: "bmc", chassisID: "chassis", biosPath: "Bios", biosSettings: "Bios/Settings",
		registryID: "BiosAttributeRegistry", managerNIC: "eth0", logID: "EventLog",
		user: "root", accountID: "root", accountsByName: true, passwordMax: 20, passwordChange: true,
		quietPatch: true, syslog: syslogDestination, ntpInProtocol: true, resets: allResets,
		expand: expandSupport{all: true, links: true, noLinks: true, levels: 6}, pageSize: 1000,
		power: powerSubsystem, ports: portsNone,
		simpleUpdate: true, pushBare: true,
		components: firmwareOf("2025.44.1", "2.14.0",
			[6]string{"bios_active", "bmc_active", "nic_active", "raid_active", "psu_active", "cpld_active"},
			[6]string{"Host image", "BMC image", "NIC image", "HBA image", "PSU image", "CPLD image"}),
		bios: []biosAttr{
			enum("BootMode", "UEFI", "UEFI", "Legacy"),
			boolean("VirtualizationEnable", false),
			boolean("SmtEnable", true),
			enum("PowerPolicy", "Balanced", "Balanced", "Performance", "Manual"),
			boolean("BoostEnable", true).when("PowerPolicy", "Manual"),
			boolean("SriovEnable", false),
			integer("BootTimeoutSeconds", 5, 0, 120),
		},
		bootModeAttr: "BootMode", bootModeUEFI: "UEFI", bootModeLegacy: "Legacy", raidVolume: "RAID1",
		hw: hardware{
			cpus: epyc.named("cpu0"), dimmSlots: numbered(12, 0, "dimm%d"), populated: 12, dimmGiB: 64, dimmMaker: "Hynix", dimmPart: "HMCG94AGBRA181N",
			raid: controller{"hba0", "Tri-Mode HBA", "Broadcom", "9600-8i"}, raidDrives: drives(2, "sata%d", sata),
			nvme: controller{"nvme", "NVMe", "Wiwynn", "NVMe Backplane"}, nvmeDrives: drives(6, "nvme%d", nvme),
			nic: controller{"ocp0", "OCP 3.0 NIC", "NVIDIA", "ConnectX-6 Dx"}, ports: 2,
			psus: []string{"powersupply0", "powersupply1"}, psuModel: "DPS-2000", psuWatts: 2000, fans: numbered(5, 0, "fan%d"), temps: region, tpm: "TPM2_0",
		},
	}
}
