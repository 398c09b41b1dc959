package sim

import (
	"fmt"
	"strings"
)

func (t tree) system() {
	f, path := t.f, t.f.systemPath()
	t.get("/redfish/v1/Systems", func(c *call) obj {
		return collection("/redfish/v1/Systems", "ComputerSystemCollection", "Systems", []string{path})
	})
	t.get(path, systemBody).patch = patchSystem
	t.at(path + "/Actions/ComputerSystem.Reset").post = resetHost

	bios, settings := path+"/"+f.biosPath, path+"/"+f.biosSettings
	t.get(bios, func(c *call) obj {
		r := resource(bios, "Bios.v1_2_3.Bios", "Bios", "BIOS")
		attrs := obj{}
		for name, v := range c.m.st.BIOS {
			attrs[name] = v
		}
		r["Attributes"], r["AttributeRegistry"] = attrs, f.registryID
		r["@Redfish.Settings"] = obj{
			"@odata.type": "#Settings.v1_3_5.Settings", "SettingsObject": ref(settings), "SupportedApplyTimes": []string{"OnReset"},
		}
		return r
	})
	t.get(settings, func(c *call) obj {
		id := settings[strings.LastIndexByte(settings, '/')+1:]
		r := resource(settings, "Bios.v1_2_3.Bios", id, "BIOS settings for the next boot")
		r["Attributes"], r["AttributeRegistry"] = c.pendingView(), f.registryID
		return r
	}).patch = setBIOS

	t.get(path+"/SecureBoot", func(c *call) obj {
		r := resource(path+"/SecureBoot", "SecureBoot.v1_1_0.SecureBoot", "SecureBoot", "UEFI Secure Boot")
		r["SecureBootEnable"], r["SecureBootMode"] = c.m.st.SecureBoot, "UserMode"
		r["SecureBootCurrentBoot"] = "Disabled"
		if c.m.st.SecureBootNow {
			r["SecureBootCurrentBoot"] = "Enabled"
		}
		return r
	}).patch = patchSecureBoot

	options := []string{"Boot0001", "Boot0002", "Boot0003"}
	names := map[string]string{"Boot0001": "Operating system", "Boot0002": "PXE IPv4 port 1", "Boot0003": "HTTP IPv4 port 1"}
	t.list(path+"/BootOptions", "BootOptionCollection", "Boot Options", options, func(c *call, id string) obj {
		r := resource(c.path, "BootOption.v1_0_4.BootOption", id, names[id])
		r["BootOptionReference"], r["DisplayName"], r["BootOptionEnabled"] = id, names[id], true
		r["UefiDevicePath"] = fmt.Sprintf("PciRoot(0x0)/Pci(0x%s,0x0)", strings.TrimPrefix(id, "Boot000"))
		return r
	})
}

func systemBody(c *call) obj {
	f, m, st, path := c.f, c.m, &c.m.st, c.f.systemPath()
	r := resource(path, "ComputerSystem.v1_20_0.ComputerSystem", f.systemID, "System")
	r["SystemType"], r["Manufacturer"], r["Model"] = "Physical", f.manufacturer, f.model
	r["SerialNumber"], r["SKU"], r["PartNumber"] = m.spec.Serial, f.model, "PN-"+word(f.model, "part", 6)
	if f.skuIsSerial {
		r["SerialNumber"], r["SKU"] = "CNFCP"+m.partSerial("board"), m.spec.Serial
	}
	r["UUID"], r["AssetTag"], r["HostName"] = uuidOf(m.spec.Serial, "system"), st.AssetTag, ""
	r["BiosVersion"], r["LocationIndicatorActive"] = st.Firmware[ComponentBIOS], st.LED
	r["Status"] = obj{"State": "Enabled", "Health": m.overall(), "HealthRollup": m.overall()}
	r["PowerState"] = st.Power
	if f.hidesTransition {
		switch st.Power {
		case "PoweringOn":
			r["PowerState"] = "Off"
		case "PoweringOff":
			r["PowerState"] = "On"
		}
	}
	r["LastResetTime"] = stamp(st.Reset)
	r["BootProgress"] = obj{"LastState": st.Boot}
	r["Oem"] = f.oemSystem(m)
	boot := obj{
		"BootSourceOverrideTarget": st.Override.Target, "BootSourceOverrideEnabled": st.Override.Enabled,
		"BootSourceOverrideMode": st.Override.Mode, "HttpBootUri": st.Override.URI,
		"BootSourceOverrideTarget@Redfish.AllowableValues": bootTargets,
		"BootOrder":   []string{"Boot0001", "Boot0002", "Boot0003"},
		"BootOptions": ref(path + "/BootOptions"),
	}
	if st.Override.URI == "" {
		boot["HttpBootUri"] = nil
	}
	r["Boot"] = boot
	cpus, cores := 0, 0
	for _, p := range f.hw.cpus {
		if p.kind == "CPU" && !m.lacks(p.id) {
			cpus++
			cores += p.cores
		}
	}
	r["ProcessorSummary"] = obj{"Count": cpus, "CoreCount": cores, "Model": f.hw.cpus[0].model}
	r["MemorySummary"] = obj{"TotalSystemMemoryGiB": m.memoryGiB()}
	for _, name := range []string{"Memory", "Processors", "Storage", "EthernetInterfaces", "SecureBoot"} {
		r[name] = ref(path + "/" + name)
	}
	if f.mediaInSystem {
		r["VirtualMedia"] = ref(path + "/VirtualMedia")
	}
	if !f.logInManager {
		r["LogServices"] = ref(path + "/LogServices")
	}
	r["Bios"] = ref(path + "/" + f.biosPath)
	r["TrustedModules"] = []obj{{
		"InterfaceType": f.hw.tpm, "FirmwareVersion": "7.2.3.1", "Status": status("OK"),
	}}
	r["Actions"] = obj{"#ComputerSystem.Reset": obj{
		"target": path + "/Actions/ComputerSystem.Reset", "ResetType@Redfish.AllowableValues": f.resets,
	}}
	r["Links"] = obj{"Chassis": refs(f.chassisPath()), "ManagedBy": refs(f.managerPath())}
	if r["Oem"] == nil {
		delete(r, "Oem")
	}
	return r
}

// oemSystem is what vendors tell in places of their own.
func (f *flavour) oemSystem(m *Machine) any {
	st := &m.st
	switch f.name {
	case FlavourDell:
		return obj{"Dell": obj{"DellSystem": obj{
			"@odata.type": "#DellSystem.v1_4_0.DellSystem", "ChassisServiceTag": m.spec.Serial, "NodeID": m.spec.Serial,
			"SystemGeneration": "16G Monolithic", "POSTCode": st.PostCode,
		}}}
	case FlavourHPE:
		state := "FinishedPost"
		switch {
		case !st.on():
			state = "PowerOff"
		case st.PostCode < stages[stageOS].post:
			state = "InPost"
		}
		return obj{"Hpe": obj{"@odata.type": "#HpeComputerSystemExt.v2_13_0.HpeComputerSystemExt", "PostState": state, "PowerOnDelay": "Minimum"}}
	case FlavourLenovo:
		return obj{"Lenovo": obj{"@odata.type": "#LenovoComputerSystem.v1_0_0.LenovoSystemProperties", "SystemStatus": st.Boot, "NumberOfReboots": st.Boots}}
	case FlavourSupermicro:
		return obj{"Supermicro": obj{"@odata.type": "#SmcSystemExtensions.v1_0_0.System", "NodeManager": ref(f.systemPath()), "PostCode": fmt.Sprintf("%02X", st.PostCode)}}
	}
	return nil
}

// dimms gives the slots that hold a DIMM: the first ones of each CPU.
func (f *flavour) dimmIn(slot int) bool {
	cpus := 0
	for _, p := range f.hw.cpus {
		if p.kind == "CPU" {
			cpus++
		}
	}
	per := len(f.hw.dimmSlots) / cpus
	return slot%per < f.hw.populated/cpus
}

func (m *Machine) memoryGiB() int {
	n := 0
	for i, slot := range m.f.hw.dimmSlots {
		if m.f.dimmIn(i) && !m.lacks(slot) {
			n += m.f.hw.dimmGiB
		}
	}
	return n
}

func (t tree) memoryAndProcessors() {
	f, path := t.f, t.f.systemPath()
	var ids []string
	for _, p := range f.hw.cpus {
		ids = append(ids, p.id)
	}
	t.list(path+"/Processors", "ProcessorCollection", "Processors", ids, func(c *call, id string) obj {
		for _, p := range f.hw.cpus {
			if p.id != id {
				continue
			}
			r := resource(c.path, "Processor.v1_18_0.Processor", id, p.model)
			r["Socket"], r["ProcessorType"], r["Manufacturer"], r["Model"] = id, p.kind, p.maker, p.model
			r["TotalCores"], r["TotalThreads"], r["MaxSpeedMHz"] = p.cores, p.threads, p.mhz
			r["SerialNumber"], r["Status"] = c.m.partSerial(id), status(c.m.health(id))
			if p.kind == "CPU" {
				r["InstructionSet"], r["ProcessorArchitecture"] = "x86-64", "x86"
			}
			return r
		}
		return nil
	})
	// A slot without a DIMM is Absent here; missing DIMMs leave their slot behind.
	memory := path + "/Memory"
	t.get(memory, func(c *call) obj {
		return collection(memory, "MemoryCollection", "Memory", children(memory, f.hw.dimmSlots))
	})
	for i, slot := range f.hw.dimmSlots {
		t.get(memory+"/"+slot, func(c *call) obj {
			r := resource(c.path, "Memory.v1_18_0.Memory", slot, slot)
			if f.mediaInSystem {
				r["Location"] = obj{"PartLocation": obj{"ServiceLabel": slot, "LocationType": "Slot"}}
			} else {
				r["DeviceLocator"] = slot // deprecated, and what most BMCs have
			}
			if !f.dimmIn(i) || c.m.lacks(slot) {
				r["Status"] = obj{"State": "Absent"}
				return r
			}
			r["CapacityMiB"], r["MemoryDeviceType"], r["MemoryType"], r["BaseModuleType"] = f.hw.dimmGiB*1024, "DDR5", "DRAM", "RDIMM"
			r["Manufacturer"], r["PartNumber"], r["SerialNumber"] = f.hw.dimmMaker, f.hw.dimmPart, c.m.partSerial(slot)[:8]
			r["OperatingSpeedMhz"], r["RankCount"], r["Status"] = 4800, 2, status(c.m.health(slot))
			return r
		})
	}
}

func (t tree) storage() {
	f, storage := t.f, t.f.storagePath()
	var ids []string
	for _, x := range []struct {
		ctl    controller
		drives []drive
	}{{f.hw.raid, f.hw.raidDrives}, {f.hw.nvme, f.hw.nvmeDrives}} {
		if x.ctl.id == "" {
			continue
		}
		ids = append(ids, x.ctl.id)
		t.storageUnit(storage+"/"+x.ctl.id, x.ctl, x.drives)
	}
	t.get(storage, func(c *call) obj {
		return collection(storage, "StorageCollection", "Storage", children(storage, ids))
	})
}

// storageUnit is one Storage resource with its controller, drives and volumes.
func (t tree) storageUnit(path string, ctl controller, list []drive) {
	f, isRAID := t.f, ctl.id == t.f.hw.raid.id
	t.get(path, func(c *call) obj {
		r := resource(path, "Storage.v1_15_0.Storage", ctl.id, ctl.name)
		var here []string
		for _, d := range list {
			if !c.m.lacks(d.id) {
				here = append(here, f.drivePath(ctl.id, d.id))
			}
		}
		r["Status"], r["Drives"], r["Drives@odata.count"] = status(c.m.health(ctl.id)), refs(here...), len(here)
		r["Controllers"] = ref(path + "/Controllers")
		if isRAID {
			r["Volumes"] = ref(path + "/Volumes")
		}
		r["Links"] = obj{"Enclosures": refs(f.chassisPath())}
		return r
	})
	version := func(c *call) string {
		if isRAID {
			return c.m.st.Firmware[ComponentRAID]
		}
		return "1.0"
	}
	t.list(path+"/Controllers", "StorageControllerCollection", "Controllers", []string{"0"}, func(c *call, id string) obj {
		r := resource(c.path, "StorageController.v1_7_1.StorageController", id, ctl.name)
		r["Manufacturer"], r["Model"], r["FirmwareVersion"] = ctl.maker, ctl.model, version(c)
		r["SerialNumber"], r["Status"] = c.m.partSerial(ctl.id), status(c.m.health(ctl.id))
		r["SupportedDeviceProtocols"] = []string{"SATA", "SAS"}
		if !isRAID {
			r["SupportedDeviceProtocols"] = []string{"NVMe"}
		}
		return r
	})
	for i, d := range list {
		p := f.drivePath(ctl.id, d.id)
		t.get(p, func(c *call) obj {
			if c.m.lacks(d.id) {
				return nil
			}
			r := resource(p, "Drive.v1_18_0.Drive", d.id, fmt.Sprintf("Drive %d", i))
			r["Manufacturer"], r["Model"], r["SerialNumber"], r["Revision"] = d.maker, d.model, c.m.partSerial(d.id), "2.1.3"
			r["CapacityBytes"], r["MediaType"], r["Protocol"] = d.bytes, d.media, d.protocol
			r["Status"], r["FailurePredicted"] = status(c.m.health(d.id)), c.m.health(d.id) != "OK"
			r["PredictedMediaLifeLeftPercent"] = 97
			r["PhysicalLocation"] = obj{"PartLocation": obj{"ServiceLabel": d.id, "LocationType": "Bay", "LocationOrdinalValue": i}}
			var in []string
			for _, v := range c.m.st.Volumes {
				for _, id := range v.Drives {
					if id == d.id {
						in = append(in, path+"/Volumes/"+v.ID)
					}
				}
			}
			r["Links"] = obj{"Chassis": ref(f.chassisPath()), "Volumes": refs(in...), "Volumes@odata.count": len(in)}
			return r
		})
	}
	if !isRAID {
		return
	}
	v := t.get(path+"/Volumes", func(c *call) obj {
		var ids []string
		for _, v := range c.m.st.Volumes {
			ids = append(ids, v.ID)
		}
		return collection(path+"/Volumes", "VolumeCollection", "Volumes", children(path+"/Volumes", ids))
	})
	v.post = createVolume
	v.members = &route{del: deleteVolume, get: func(c *call) obj {
		for _, v := range c.m.st.Volumes {
			if v.ID != c.id {
				continue
			}
			r := resource(path+"/Volumes/"+v.ID, "Volume.v1_10_0.Volume", v.ID, v.Name)
			r["RAIDType"], r["CapacityBytes"], r["Status"] = v.RAID, v.Bytes, status("OK")
			var in []string
			for _, d := range v.Drives {
				in = append(in, f.drivePath(ctl.id, d))
			}
			r["Links"] = obj{"Drives": refs(in...), "Drives@odata.count": len(in)}
			return r
		}
		return nil
	}}
}

func (t tree) network() {
	f, path := t.f, t.f.systemPath()+"/EthernetInterfaces"
	ids := numbered(f.hw.ports, 1, f.hw.nic.id+"-%d")
	for i, id := range ids {
		t.get(path+"/"+id, func(c *call) obj {
			r := resource(path+"/"+id, "EthernetInterface.v1_10_0.EthernetInterface", id, "Port "+id)
			r["MACAddress"], r["PermanentMACAddress"] = c.m.spec.MACs[1+i], c.m.spec.MACs[1+i]
			r["SpeedMbps"], r["FullDuplex"], r["LinkStatus"], r["InterfaceEnabled"] = 25000, true, "LinkUp", true
			r["Status"] = status(c.m.health(id))
			return r
		})
	}
	t.get(path, func(c *call) obj {
		return collection(path, "EthernetInterfaceCollection", "Ethernet Interfaces", children(path, ids))
	})
	if f.ports == portsNone {
		return
	}
	adapters := f.chassisPath() + "/NetworkAdapters"
	card := adapters + "/" + f.hw.nic.id
	ports := numbered(f.hw.ports, 1, "%d")
	list, typ, member := "Ports", "PortCollection", "Port.v1_11_0.Port"
	if f.ports == portsLegacy {
		list, typ, member = "NetworkPorts", "NetworkPortCollection", "NetworkPort.v1_4_1.NetworkPort"
	}
	t.list(adapters, "NetworkAdapterCollection", "Network Adapters", []string{f.hw.nic.id}, func(c *call, id string) obj {
		r := resource(card, "NetworkAdapter.v1_10_0.NetworkAdapter", id, f.hw.nic.name)
		r["Manufacturer"], r["Model"] = f.hw.nic.maker, f.hw.nic.model
		r["SerialNumber"], r["PartNumber"], r["Status"] = c.m.partSerial(id), "PN-"+word(f.hw.nic.model, "part", 6), status(c.m.health(id))
		r["Controllers"] = []obj{{
			"FirmwarePackageVersion": c.m.st.Firmware[ComponentNIC],
			"ControllerCapabilities": obj{"NetworkPortCount": f.hw.ports},
		}}
		r[list] = ref(card + "/" + list)
		return r
	})
	t.list(card+"/"+list, typ, "Ports", ports, func(c *call, id string) obj {
		r := resource(c.path, member, id, "Port "+id)
		mac := c.m.spec.MACs[int(id[0]-'0')]
		r["PhysicalPortNumber"], r["LinkStatus"], r["Status"] = id, "Up", status("OK")
		r["AssociatedNetworkAddresses"] = []string{mac}
		if f.ports == portsModern {
			delete(r, "AssociatedNetworkAddresses")
			delete(r, "PhysicalPortNumber")
			r["PortId"], r["PortType"], r["PortProtocol"], r["LinkStatus"] = id, "BidirectionalPort", "Ethernet", "LinkUp"
			r["CurrentSpeedGbps"] = 25
			r["Ethernet"] = obj{"AssociatedMACAddresses": []string{mac}}
		}
		return r
	})
}
