package sim

import (
	"net/http"
	"slices"
	"strings"
)

// tree builds the routes of a flavour.
type tree struct{ f *flavour }

func (f *flavour) build() *flavour {
	f.routes = map[string]*route{}
	t := tree{f}
	t.root()
	t.sessions()
	t.accounts()
	t.tasks()
	t.updates()
	t.events()
	t.certificates()
	t.system()
	t.memoryAndProcessors()
	t.storage()
	t.network()
	t.chassis()
	t.manager()
	t.logs()
	return f
}

func (t tree) at(path string) *route {
	r := t.f.routes[path]
	if r == nil {
		r = &route{}
		t.f.routes[path] = r
	}
	return r
}

func (t tree) get(path string, fn func(c *call) obj) *route {
	r := t.at(path)
	r.get = fn
	return r
}

// list is a collection whose members are there from the factory; parts that the machine's spec
// calls missing are left out.
func (t tree) list(path, typ, name string, ids []string, member func(c *call, id string) obj) *route {
	for _, id := range ids {
		t.get(path+"/"+id, func(c *call) obj {
			if c.m.lacks(id) {
				return nil
			}
			return member(c, id)
		})
	}
	return t.get(path, func(c *call) obj {
		here := slices.DeleteFunc(slices.Clone(ids), c.m.lacks)
		return collection(path, typ, name, children(path, here))
	})
}

func (m *Machine) lacks(id string) bool { return slices.Contains(m.spec.Missing, id) }

// health of a part.
func (m *Machine) health(id string) string {
	if slices.Contains(m.spec.Failed, id) {
		return "Critical"
	}
	return "OK"
}

// overall is the health of the whole machine.
func (m *Machine) overall() string {
	if len(m.spec.Failed) > 0 {
		return "Critical"
	}
	return "OK"
}

// partSerial is a serial number of a part, different on each machine.
func (m *Machine) partSerial(id string) string { return word(m.spec.Serial, "part/"+id, 12) }

func (t tree) root() {
	f := t.f
	t.get("/redfish", func(*call) obj { return obj{"v1": "/redfish/v1/"} })
	t.get("/redfish/v1", func(c *call) obj {
		r := resource("/redfish/v1", "ServiceRoot.v1_16_1.ServiceRoot", "RootService", "Root Service")
		r["RedfishVersion"], r["UUID"] = "1.20.0", uuidOf(c.m.spec.Serial, "service")
		r["Vendor"], r["Product"] = f.vendor, f.product
		for _, name := range []string{"Systems", "Chassis", "Managers", "SessionService", "AccountService", "UpdateService", "EventService", "CertificateService", "Registries"} {
			r[name] = ref("/redfish/v1/" + name)
		}
		r["Tasks"] = ref("/redfish/v1/TaskService")
		r["Links"] = obj{"Sessions": ref(sessionsPath)}
		r["ProtocolFeaturesSupported"] = obj{
			"ExpandQuery": f.expand.body(), "ExcerptQuery": false, "FilterQuery": false, "SelectQuery": false,
			"OnlyMemberQuery": false, "DeepOperations": obj{"DeepPATCH": false, "DeepPOST": false},
		}
		if f.vendor == "" {
			delete(r, "Vendor")
		}
		return r
	})
	t.get("/redfish/v1/odata", func(*call) obj {
		var list []obj
		for _, name := range []string{"Systems", "Chassis", "Managers", "SessionService", "AccountService", "UpdateService"} {
			list = append(list, obj{"name": name, "kind": "Singleton", "url": "/redfish/v1/" + name})
		}
		return obj{"@odata.context": "/redfish/v1/$metadata", "value": list}
	})
	metadata := metadataDocument()
	t.at("/redfish/v1/$metadata").answer = func(*call) *answer {
		return &answer{status: http.StatusOK, raw: metadata, kind: "application/xml"}
	}
	registries := "/redfish/v1/Registries"
	t.list(registries, "MessageRegistryFileCollection", "Registries", []string{f.registryID}, func(c *call, id string) obj {
		r := resource(c.path, "MessageRegistryFile.v1_1_3.MessageRegistryFile", id, "BIOS attribute registry")
		r["Languages"], r["Registry"] = []string{"en"}, f.registryID+".1.0"
		r["Location"] = []obj{{"Language": "en", "Uri": registries + "/" + id + "/" + id + ".json"}}
		return r
	})
	t.get(registries+"/"+f.registryID+"/"+f.registryID+".json", biosRegistry)
}

// metadataDocument refers to the schemas in use (DSP0266 8.4.1).
func metadataDocument() []byte {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<edmx:Edmx xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx" Version="4.0">` + "\n")
	for _, name := range []string{
		"AccountService", "AttributeRegistry", "Bios", "BootOption", "BootOptionCollection", "Certificate", "CertificateCollection",
		"CertificateLocations", "CertificateService", "Chassis", "ChassisCollection", "ComputerSystem", "ComputerSystemCollection",
		"Drive", "EthernetInterface", "EthernetInterfaceCollection", "EventDestination", "EventDestinationCollection", "EventService",
		"Fan", "FanCollection", "LogEntry", "LogEntryCollection", "LogService", "LogServiceCollection", "Manager", "ManagerAccount",
		"ManagerAccountCollection", "ManagerCollection", "ManagerNetworkProtocol", "Memory", "MemoryCollection", "MessageRegistryFile",
		"MessageRegistryFileCollection", "NetworkAdapter", "NetworkAdapterCollection", "Port", "PortCollection", "Power",
		"PowerSubsystem", "PowerSupply", "PowerSupplyCollection", "Processor", "ProcessorCollection", "Role", "RoleCollection",
		"SecureBoot", "Sensor", "SensorCollection", "ServiceRoot", "Session", "SessionCollection", "SessionService",
		"SoftwareInventory", "SoftwareInventoryCollection", "Storage", "StorageCollection", "StorageController",
		"StorageControllerCollection", "Task", "TaskCollection", "TaskService", "Thermal", "ThermalSubsystem", "ThermalMetrics",
		"UpdateService", "VirtualMedia", "VirtualMediaCollection", "Volume", "VolumeCollection",
	} {
		b.WriteString(`  <edmx:Reference Uri="http://redfish.dmtf.org/schemas/v1/` + name + `_v1.xml"><edmx:Include Namespace="` + name + `"/></edmx:Reference>` + "\n")
	}
	b.WriteString(`  <edmx:DataServices><Schema xmlns="http://docs.oasis-open.org/odata/ns/edm" Namespace="Service"><EntityContainer Name="Service" Extends="ServiceRoot.v1_0_0.ServiceContainer"/></Schema></edmx:DataServices>` + "\n</edmx:Edmx>\n")
	return []byte(b.String())
}

func (t tree) sessions() {
	service := "/redfish/v1/SessionService"
	r := t.get(service, func(c *call) obj {
		r := resource(service, "SessionService.v1_1_9.SessionService", "SessionService", "Session Service")
		r["ServiceEnabled"], r["SessionTimeout"], r["Status"] = true, c.m.st.Timeout, status("OK")
		r["Sessions"] = ref(sessionsPath)
		return r
	})
	r.patch = func(c *call) *answer {
		return patch(c, map[string]setter{"SessionTimeout": numberSetter("SessionTimeout", 30, 86400, func(n int) {
			c.m.st.Timeout = n
			c.changed("session-timeout")
		})})
	}
	s := t.get(sessionsPath, func(c *call) obj {
		var ids []string
		for _, s := range c.m.st.Sessions {
			ids = append(ids, s.ID)
		}
		return collection(sessionsPath, "SessionCollection", "Sessions", children(sessionsPath, ids))
	})
	s.post = openSession
	s.members = &route{get: getSession, del: closeSession}
}

func (t tree) accounts() {
	f, service := t.f, "/redfish/v1/AccountService"
	t.get(service, func(c *call) obj {
		r := resource(service, "AccountService.v1_10_0.AccountService", "AccountService", "Account Service")
		r["ServiceEnabled"], r["Status"] = true, status("OK")
		r["MinPasswordLength"], r["MaxPasswordLength"] = 8, f.passwordMax
		r["AccountLockoutThreshold"], r["AccountLockoutDuration"] = lockAfter, int(lockFor.Seconds())
		r["AccountLockoutCounterResetAfter"] = int(lockFor.Seconds())
		r["Accounts"], r["Roles"] = ref(accountsPath), ref(rolesPath)
		return r
	})
	a := t.get(accountsPath, func(c *call) obj {
		var ids []string
		for _, a := range c.m.st.Accounts {
			ids = append(ids, a.ID)
		}
		return collection(accountsPath, "ManagerAccountCollection", "Accounts", children(accountsPath, ids))
	})
	a.members = &route{get: getAccount, patch: patchAccount, del: deleteAccount}
	if f.accountSlots == 0 {
		a.post = createAccount
	}
	privileges := map[string][]string{
		"Administrator": {"Login", "ConfigureManager", "ConfigureUsers", "ConfigureSelf", "ConfigureComponents"},
		"Operator":      {"Login", "ConfigureSelf", "ConfigureComponents"},
		"ReadOnly":      {"Login", "ConfigureSelf"},
	}
	t.list(rolesPath, "RoleCollection", "Roles", roles, func(c *call, id string) obj {
		r := resource(c.path, "Role.v1_3_1.Role", id, id+" Role")
		r["RoleId"], r["IsPredefined"], r["AssignedPrivileges"] = id, true, privileges[id]
		return r
	})
}

func (t tree) events() {
	service := "/redfish/v1/EventService"
	t.get(service, func(c *call) obj {
		r := resource(service, "EventService.v1_10_0.EventService", "EventService", "Event Service")
		r["ServiceEnabled"], r["Status"], r["DeliveryRetryAttempts"] = true, status("OK"), 3
		r["Subscriptions"] = ref(destinationsPath)
		return r
	})
	d := t.get(destinationsPath, func(c *call) obj {
		var ids []string
		for _, d := range c.m.st.Destinations {
			ids = append(ids, d.ID)
		}
		return collection(destinationsPath, "EventDestinationCollection", "Event Destinations", children(destinationsPath, ids))
	})
	d.post = subscribe
	d.members = &route{get: getDestination, del: unsubscribe}
}

func (t tree) certificates() {
	service := "/redfish/v1/CertificateService"
	held := t.f.managerPath() + "/NetworkProtocol/HTTPS/Certificates"
	t.get(service, func(c *call) obj {
		r := resource(service, "CertificateService.v1_0_5.CertificateService", "CertificateService", "Certificate Service")
		r["CertificateLocations"] = ref(service + "/CertificateLocations")
		return r
	})
	t.get(service+"/CertificateLocations", func(c *call) obj {
		r := resource(c.path, "CertificateLocations.v1_0_3.CertificateLocations", "CertificateLocations", "Certificate Locations")
		r["Links"] = obj{"Certificates": refs(held + "/1")}
		return r
	})
	t.list(held, "CertificateCollection", "Certificates", []string{"1"}, func(c *call, id string) obj {
		r := resource(c.path, "Certificate.v1_7_0.Certificate", id, "HTTPS Certificate")
		c.m.describeCertificate(r)
		return r
	})
}
