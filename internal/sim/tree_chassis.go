package sim

import (
	"net"
	"strconv"
	"strings"
	"time"
)

func (t tree) chassis() {
	f, path := t.f, t.f.chassisPath()
	t.get("/redfish/v1/Chassis", func(*call) obj {
		return collection("/redfish/v1/Chassis", "ChassisCollection", "Chassis", []string{path})
	})
	t.get(path, func(c *call) obj {
		r := resource(path, "Chassis.v1_25_0.Chassis", f.chassisID, "Chassis")
		r["ChassisType"], r["Manufacturer"], r["Model"] = "RackMount", f.manufacturer, f.model
		r["SerialNumber"], r["PartNumber"], r["AssetTag"] = c.m.spec.Serial, "PN-"+word(f.model, "chassis", 6), c.m.st.AssetTag
		if f.skuIsSerial {
			r["SerialNumber"], r["SKU"] = "CNFCP"+c.m.partSerial("board"), c.m.spec.Serial
		}
		r["PowerState"], r["LocationIndicatorActive"] = "Off", c.m.st.LED
		if c.m.st.on() {
			r["PowerState"] = "On"
		}
		r["Status"] = obj{"State": "Enabled", "Health": c.m.overall(), "HealthRollup": c.m.overall()}
		if f.ports != portsNone {
			r["NetworkAdapters"] = ref(path + "/NetworkAdapters")
		}
		if f.power&powerSubsystem != 0 {
			for _, name := range []string{"PowerSubsystem", "ThermalSubsystem", "Sensors"} {
				r[name] = ref(path + "/" + name)
			}
		}
		if f.power&powerLegacy != 0 {
			r["Power"], r["Thermal"] = ref(path+"/Power"), ref(path+"/Thermal")
		}
		r["Links"] = obj{"ComputerSystems": refs(f.systemPath()), "ManagedBy": refs(f.managerPath())}
		return r
	})
	if f.power&powerSubsystem != 0 {
		t.subsystems(path)
	}
	if f.power&powerLegacy != 0 {
		t.legacyPower(path)
	}
}

func (t tree) subsystems(path string) {
	f := t.f
	power, thermal := path+"/PowerSubsystem", path+"/ThermalSubsystem"
	t.get(power, func(*call) obj {
		r := resource(power, "PowerSubsystem.v1_1_1.PowerSubsystem", "PowerSubsystem", "Power Subsystem")
		r["Status"], r["CapacityWatts"] = status("OK"), len(f.hw.psus)*f.hw.psuWatts
		r["PowerSupplies"] = ref(power + "/PowerSupplies")
		return r
	})
	t.list(power+"/PowerSupplies", "PowerSupplyCollection", "Power Supplies", f.hw.psus, func(c *call, id string) obj {
		r := resource(c.path, "PowerSupply.v1_5_2.PowerSupply", id, "Power Supply "+id)
		r["Manufacturer"], r["Model"], r["SerialNumber"] = f.manufacturer, f.hw.psuModel, c.m.partSerial(id)
		r["PowerSupplyType"], r["PowerCapacityWatts"], r["FirmwareVersion"] = "AC", f.hw.psuWatts, c.m.st.Firmware[ComponentPSU]
		r["LineInputStatus"], r["Status"] = "Normal", status(c.m.health(id))
		return r
	})
	t.get(thermal, func(*call) obj {
		r := resource(thermal, "ThermalSubsystem.v1_3_0.ThermalSubsystem", "ThermalSubsystem", "Thermal Subsystem")
		r["Status"], r["Fans"], r["ThermalMetrics"] = status("OK"), ref(thermal+"/Fans"), ref(thermal+"/ThermalMetrics")
		return r
	})
	sensors := path + "/Sensors"
	t.get(thermal+"/ThermalMetrics", func(*call) obj {
		r := resource(thermal+"/ThermalMetrics", "ThermalMetrics.v1_3_0.ThermalMetrics", "ThermalMetrics", "Thermal Metrics")
		var list []obj
		for _, s := range f.hw.temps {
			list = append(list, obj{"DataSourceUri": sensors + "/" + s.id, "DeviceName": s.id, "Reading": s.celsius})
		}
		r["TemperatureReadingsCelsius"] = list
		return r
	})
	t.list(thermal+"/Fans", "FanCollection", "Fans", f.hw.fans, func(c *call, id string) obj {
		r := resource(c.path, "Fan.v1_5_0.Fan", id, "Fan "+id)
		r["Status"] = status(c.m.health(id))
		r["SpeedPercent"] = obj{"DataSourceUri": sensors + "/" + id, "Reading": 32, "SpeedRPM": 7800}
		return r
	})
	ids := append([]string(nil), f.hw.fans...)
	for _, s := range f.hw.temps {
		ids = append(ids, s.id)
	}
	t.list(sensors, "SensorCollection", "Sensors", ids, func(c *call, id string) obj {
		r := resource(c.path, "Sensor.v1_9_0.Sensor", id, id)
		r["Status"], r["ReadingType"], r["ReadingUnits"], r["Reading"] = status(c.m.health(id)), "Percent", "%", 32
		for _, s := range f.hw.temps {
			if s.id == id {
				r["ReadingType"], r["ReadingUnits"], r["Reading"] = "Temperature", "Cel", s.celsius
				r["Thresholds"] = obj{"UpperCritical": obj{"Reading": s.upper}}
			}
		}
		return r
	})
}

func (t tree) legacyPower(path string) {
	f := t.f
	power, thermal := path+"/Power", path+"/Thermal"
	t.get(power, func(c *call) obj {
		r := resource(power, "Power.v1_7_1.Power", "Power", "Power")
		list := []obj{}
		for i, id := range f.hw.psus {
			if c.m.lacks(id) {
				continue
			}
			n := strconv.Itoa(i)
			list = append(list, obj{
				"@odata.id": power + "#/PowerSupplies/" + n, "MemberId": n, "Name": id, "Manufacturer": f.manufacturer,
				"Model": f.hw.psuModel, "SerialNumber": c.m.partSerial(id), "FirmwareVersion": c.m.st.Firmware[ComponentPSU],
				"PowerCapacityWatts": f.hw.psuWatts, "LineInputVoltage": 230, "Status": status(c.m.health(id)),
			})
		}
		r["PowerSupplies"] = list
		r["PowerControl"] = []obj{{
			"@odata.id": power + "#/PowerControl/0", "MemberId": "0", "Name": "System Power Control", "PowerConsumedWatts": 212,
		}}
		return r
	})
	t.get(thermal, func(c *call) obj {
		r := resource(thermal, "Thermal.v1_7_1.Thermal", "Thermal", "Thermal")
		fans, temps := []obj{}, []obj{}
		for i, id := range f.hw.fans {
			n := strconv.Itoa(i)
			if !c.m.lacks(id) {
				fans = append(fans, obj{
					"@odata.id": thermal + "#/Fans/" + n, "MemberId": n, "Name": id, "Reading": 32, "ReadingUnits": "Percent",
					"Status": status(c.m.health(id)),
				})
			}
		}
		for i, s := range f.hw.temps {
			n := strconv.Itoa(i)
			temps = append(temps, obj{
				"@odata.id": thermal + "#/Temperatures/" + n, "MemberId": n, "Name": s.id, "ReadingCelsius": s.celsius,
				"UpperThresholdCritical": s.upper, "Status": status(c.m.health(s.id)),
			})
		}
		r["Fans"], r["Temperatures"] = fans, temps
		return r
	})
}

func (t tree) manager() {
	f, path := t.f, t.f.managerPath()
	t.get("/redfish/v1/Managers", func(*call) obj {
		return collection("/redfish/v1/Managers", "ManagerCollection", "Managers", []string{path})
	})
	t.get(path, func(c *call) obj {
		r := resource(path, "Manager.v1_19_0.Manager", f.managerID, "Manager")
		r["ManagerType"], r["Manufacturer"], r["Model"] = "BMC", f.manufacturer, f.managerModel
		r["FirmwareVersion"], r["UUID"] = c.m.st.Firmware[ComponentBMC], uuidOf(c.m.spec.Serial, "manager")
		r["SerialNumber"] = c.m.partSerial("manager")
		r["DateTime"], r["DateTimeLocalOffset"] = c.clock(), c.m.st.Manager.Offset
		r["LastResetTime"], r["PowerState"], r["Status"] = stamp(c.m.st.Reset), "On", status("OK")
		r["EthernetInterfaces"], r["NetworkProtocol"] = ref(path+"/EthernetInterfaces"), ref(path+"/NetworkProtocol")
		r["VirtualMedia"] = ref(path + "/VirtualMedia")
		if f.logInManager {
			r["LogServices"] = ref(path + "/LogServices")
		}
		r["Actions"] = obj{"#Manager.Reset": obj{
			"target": path + "/Actions/Manager.Reset", "ResetType@Redfish.AllowableValues": []string{"GracefulRestart", "ForceRestart"},
		}}
		links := obj{"ManagerForServers": refs(f.systemPath()), "ManagerForChassis": refs(f.chassisPath()), "ManagerInChassis": ref(f.chassisPath())}
		r["Links"] = links
		switch f.name {
		case FlavourDell:
			links["Oem"] = obj{"Dell": obj{
				"@odata.type":    "#DellOem.v1_3_0.DellOemLinks",
				"DellAttributes": refs(dellAttributesPath(f)), "DellAttributes@odata.count": 1, "Jobs": ref(f.jobsPath),
			}}
		case FlavourHPE:
			r["Oem"] = obj{"Hpe": obj{"@odata.type": "#HpeiLO.v2_10_0.HpeiLO", "Links": obj{"DateTimeService": ref(path + "/DateTime")}}}
		case FlavourSupermicro:
			r["Oem"] = obj{"Supermicro": obj{"@odata.type": "#SmcManagerExtensions.v1_0_0.Manager", "Syslog": ref(path + "/Oem/Supermicro/Syslog")}}
		}
		return r
	}).patch = patchManager
	t.at(path + "/Actions/Manager.Reset").post = resetManager
	t.managerNetwork(path)
	t.virtualMedia(path)
	if f.mediaInSystem {
		t.virtualMedia(f.systemPath())
	}
	switch f.name {
	case FlavourDell:
		t.get(dellAttributesPath(f), func(c *call) obj {
			r := resource(c.path, "DellAttributes.v1_0_0.DellAttributes", "iDRAC.Embedded.1", "OEMAttributeRegistry")
			r["Attributes"], r["AttributeRegistry"] = dellAttributes(c), "ManagerAttributeRegistry.v1_0_0"
			return r
		}).patch = patchDellAttributes
	case FlavourHPE:
		t.get(path+"/DateTime", hpeDateTime).patch = patchHPEDateTime
	case FlavourSupermicro:
		t.get(path+"/Oem/Supermicro/Syslog", func(c *call) obj {
			s := c.m.st.Manager
			r := resource(c.path, "SyslogService.v1_0_0.SyslogService", "Syslog", "Syslog")
			r["EnableSyslog"], r["SyslogServer"], r["SyslogPortNumber"] = s.SyslogOn, s.Syslog, s.Port
			return r
		}).patch = patchSupermicroSyslog
	}
}

func dellAttributesPath(f *flavour) string {
	return f.managerPath() + "/Oem/Dell/DellAttributes/iDRAC.Embedded.1"
}

func hpeDateTime(c *call) obj {
	s := c.m.st.Manager
	ntp := append(append([]string(nil), s.NTP...), "0.0.0.0", "0.0.0.0")[:2]
	r := resource(c.path, "HpeiLODateTime.v2_0_0.HpeiLODateTime", "DateTime", "iLO Date and Time Settings")
	r["DateTime"], r["StaticNTPServers"], r["NTPServers"] = c.clock(), ntp, ntp
	r["ConfigurationSettings"] = "Current"
	return r
}

func (t tree) managerNetwork(path string) {
	f := t.f
	nics := path + "/EthernetInterfaces"
	t.list(nics, "EthernetInterfaceCollection", "Manager Ethernet Interfaces", []string{f.managerNIC}, func(c *call, id string) obj {
		s := c.m.st.Manager
		r := resource(c.path, "EthernetInterface.v1_10_0.EthernetInterface", id, "Manager Ethernet Interface")
		r["MACAddress"], r["PermanentMACAddress"], r["SpeedMbps"], r["LinkStatus"] = c.m.spec.MACs[0], c.m.spec.MACs[0], 1000, "LinkUp"
		r["HostName"], r["FQDN"], r["InterfaceEnabled"], r["Status"] = s.HostName, s.HostName, true, status("OK")
		r["IPv4Addresses"] = []obj{{"Address": c.m.spec.Addr.String(), "SubnetMask": "255.255.255.0", "AddressOrigin": "Static", "Gateway": nil}}
		r["NameServers"], r["StaticNameServers"] = list(s.DNS), list(s.DNS)
		r["DHCPv4"] = obj{"DHCPEnabled": false, "UseDNSServers": false, "UseNTPServers": false}
		return r
	})
	t.at(nics + "/" + f.managerNIC).patch = patchManagerNIC
	protocol := path + "/NetworkProtocol"
	t.get(protocol, func(c *call) obj {
		s := c.m.st.Manager
		r := resource(protocol, "ManagerNetworkProtocol.v1_9_1.ManagerNetworkProtocol", "NetworkProtocol", "Manager Network Protocol")
		r["HostName"], r["FQDN"], r["Status"] = s.HostName, s.HostName, status("OK")
		_, port, _ := net.SplitHostPort(c.m.box.addressOf(c.m))
		n, _ := strconv.Atoi(port)
		r["HTTPS"] = obj{"ProtocolEnabled": true, "Port": n, "Certificates": ref(protocol + "/HTTPS/Certificates")}
		r["HTTP"] = obj{"ProtocolEnabled": false, "Port": 80}
		r["SSH"] = obj{"ProtocolEnabled": true, "Port": 22}
		r["IPMI"] = obj{"ProtocolEnabled": false, "Port": 623}
		if f.ntpInProtocol {
			r["NTP"] = obj{"ProtocolEnabled": s.NTPOn, "NTPServers": list(s.NTP)}
		}
		if f.syslog == syslogHPE {
			r["Oem"] = obj{"Hpe": obj{
				"@odata.type":        "#HpeiLOManagerNetworkService.v2_3_0.HpeiLOManagerNetworkService",
				"RemoteSyslogServer": s.Syslog, "RemoteSyslogPort": s.Port, "RemoteSyslogEnabled": s.SyslogOn,
			}}
		}
		return r
	}).patch = patchProtocol
}

// list makes [] of nil.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func (t tree) virtualMedia(path string) {
	media := path + "/VirtualMedia"
	slot := media + "/CD1"
	t.list(media, "VirtualMediaCollection", "Virtual Media", []string{"CD1"}, func(c *call, id string) obj {
		r := resource(c.path, "VirtualMedia.v1_6_2.VirtualMedia", id, "Virtual CD")
		r["MediaTypes"], r["Inserted"], r["WriteProtected"], r["ConnectedVia"] = []string{"CD", "DVD"}, c.m.st.Media != "", true, "NotConnected"
		r["Image"], r["ImageName"] = nil, nil
		if image := c.m.st.Media; image != "" {
			r["Image"], r["ImageName"], r["ConnectedVia"] = image, image[strings.LastIndexByte(image, '/')+1:], "URI"
		}
		r["Actions"] = obj{
			"#VirtualMedia.InsertMedia": obj{"target": slot + "/Actions/VirtualMedia.InsertMedia"},
			"#VirtualMedia.EjectMedia":  obj{"target": slot + "/Actions/VirtualMedia.EjectMedia"},
		}
		return r
	})
	t.at(slot + "/Actions/VirtualMedia.InsertMedia").post = insertMedia
	t.at(slot + "/Actions/VirtualMedia.EjectMedia").post = ejectMedia
}

func (t tree) logs() {
	f, owner := t.f, t.f.systemPath()
	if f.logInManager {
		owner = f.managerPath()
	}
	services := owner + "/LogServices"
	path := services + "/" + f.logID
	clear := path + "/Actions/LogService.ClearLog"
	t.list(services, "LogServiceCollection", "Log Services", []string{f.logID}, func(c *call, id string) obj {
		r := resource(path, "LogService.v1_5_0.LogService", id, "System Event Log")
		r["ServiceEnabled"], r["LogEntryType"], r["OverWritePolicy"] = true, "Event", "WrapsWhenFull"
		r["MaxNumberOfRecords"], r["Status"], r["Entries"] = 200, status("OK"), ref(path+"/Entries")
		r["DateTime"], r["DateTimeLocalOffset"] = c.clock(), c.m.st.Manager.Offset
		r["Actions"] = obj{"#LogService.ClearLog": obj{"target": clear}}
		return r
	})
	t.at(clear).post = clearLog
	entries := path + "/Entries"
	r := t.get(entries, func(c *call) obj {
		r := collection(entries, "LogEntryCollection", "Log Entries", nil)
		log := c.m.st.Log
		skip, _ := strconv.Atoi(c.query.Get("$skip"))
		skip = min(max(0, skip), len(log))
		page := log[skip:]
		if n := f.pageSize; n > 0 && len(page) > n {
			page = page[:n]
			r["Members@odata.nextLink"] = entries + "?$skip=" + strconv.Itoa(skip+n)
		}
		members := []obj{} // DSP0268 lets log collections carry their members whole
		for _, e := range page {
			members = append(members, e.body(entries))
		}
		r["Members"], r["Members@odata.count"] = members, len(log)
		return r
	})
	r.slow = true
	r.members = &route{slow: true, get: func(c *call) obj {
		for _, e := range c.m.st.Log {
			if strconv.Itoa(e.ID) == c.id {
				return e.body(entries)
			}
		}
		return nil
	}}
}

func (e event) body(entries string) obj {
	id := strconv.Itoa(e.ID)
	r := resource(entries+"/"+id, "LogEntry.v1_15_1.LogEntry", id, "Log Entry "+id)
	r["EntryType"], r["Created"], r["Severity"], r["Message"] = "Event", e.Time.Format(time.RFC3339), e.Severity, e.Message
	r["MessageId"] = "CagenutBox.1.0." + e.Code
	return r
}
