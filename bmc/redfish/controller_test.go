package redfish_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
	"github.com/cagenut/cagenut/bmc/redfish"
)

type obj = map[string]any

// service is a Redfish service that is a tree of resources: GET gives one, PATCH merges into it, and
// what else happens is in hooks by "METHOD path".
type service struct {
	*httptest.Server
	mu    sync.Mutex
	tree  map[string]obj
	tags  map[string]int
	hooks map[string]func(w http.ResponseWriter, body obj) bool // true: answered
	raw   map[string]http.HandlerFunc
	wrote []string // "METHOD path body"
}

func link(path string) obj { return obj{"@odata.id": path} }

func links(paths ...string) []any {
	var out []any
	for _, p := range paths {
		out = append(out, link(p))
	}
	return out
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{tags: map[string]int{}, hooks: map[string]func(http.ResponseWriter, obj) bool{}, raw: map[string]http.HandlerFunc{}}
	s.tree = map[string]obj{
		"/redfish/v1": {
			"Id": "RootService", "Systems": link("/redfish/v1/Systems"), "Managers": link("/redfish/v1/Managers"),
			"Chassis":        link("/redfish/v1/Chassis"),
			"AccountService": link("/redfish/v1/AccountService"), "UpdateService": link("/redfish/v1/UpdateService"),
			"Tasks": link("/redfish/v1/TaskService"), "Registries": link("/redfish/v1/Registries"),
			"Links": obj{"Sessions": link("/redfish/v1/SessionService/Sessions")},
		},
		"/redfish/v1/Chassis":  {"Members": links()},
		"/redfish/v1/Systems":  {"Members": links("/redfish/v1/Systems/S1")},
		"/redfish/v1/Managers": {"Members": links("/redfish/v1/Managers/BMC")},
		"/redfish/v1/Systems/S1": {
			"@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem",
			"Id":          "S1", "Name": "System", "PowerState": "Off", "SerialNumber": "SN123", "Manufacturer": "Contoso", "Model": "R1",
			"Boot": obj{
				"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None", "BootSourceOverrideMode": "UEFI",
				"BootSourceOverrideTarget@Redfish.AllowableValues": []any{"None", "Pxe", "Hdd", "Cd", "UefiHttp"},
				"BootOrder": []any{"Boot0001", "Boot0002"}, "HttpBootUri": "",
			},
			"BootProgress": obj{"LastState": "OSRunning"},
			"Bios":         link("/redfish/v1/Systems/S1/Bios"),
			"LogServices":  link("/redfish/v1/Systems/S1/LogServices"),
			"Links":        obj{"ManagedBy": links("/redfish/v1/Managers/BMC")},
			"Actions": obj{"#ComputerSystem.Reset": obj{"target": "/redfish/v1/Systems/S1/Actions/ComputerSystem.Reset",
				"ResetType@Redfish.AllowableValues": []any{"On", "ForceOff", "GracefulShutdown"}}},
		},
		"/redfish/v1/Managers/BMC": {
			"@odata.type": "#Manager.v1_19_0.Manager",
			"Id":          "BMC", "ManagerType": "BMC", "DateTime": "2026-01-01T00:00:00+02:00", "DateTimeLocalOffset": "+02:00",
			"NetworkProtocol":    link("/redfish/v1/Managers/BMC/NetworkProtocol"),
			"EthernetInterfaces": link("/redfish/v1/Managers/BMC/EthernetInterfaces"),
			"VirtualMedia":       link("/redfish/v1/Managers/BMC/VirtualMedia"),
			"Links":              obj{"ManagerForServers": links("/redfish/v1/Systems/S1")},
		},
		"/redfish/v1/Managers/BMC/NetworkProtocol": {
			"HostName": "bmc-old", "NTP": obj{"ProtocolEnabled": false, "NTPServers": []any{"", ""}},
		},
		"/redfish/v1/Managers/BMC/EthernetInterfaces": {"Members": links("/redfish/v1/Managers/BMC/EthernetInterfaces/host", "/redfish/v1/Managers/BMC/EthernetInterfaces/eth0")},
		"/redfish/v1/Managers/BMC/EthernetInterfaces/host": {
			"Id": "host", "InterfaceEnabled": false, "HostName": "wrong one", "StaticNameServers": []any{}},
		"/redfish/v1/Managers/BMC/EthernetInterfaces/eth0": {
			"Id": "eth0", "InterfaceEnabled": true, "LinkStatus": "LinkUp", "HostName": "bmc-old", "StaticNameServers": []any{"0.0.0.0", "::"}},
		"/redfish/v1/Managers/BMC/VirtualMedia": {"Members": links("/redfish/v1/Managers/BMC/VirtualMedia/USB", "/redfish/v1/Managers/BMC/VirtualMedia/CD")},
		"/redfish/v1/Managers/BMC/VirtualMedia/USB": {
			"Id": "USB", "MediaTypes": []any{"USBStick"}, "Inserted": true, "Image": "http://x/usb.img"},
		"/redfish/v1/Managers/BMC/VirtualMedia/CD": {
			"Id": "CD", "MediaTypes": []any{"CD", "DVD"}, "Inserted": false, "Image": nil,
			"Actions": obj{"#VirtualMedia.InsertMedia": obj{"target": "/redfish/v1/Managers/BMC/VirtualMedia/CD/Actions/VirtualMedia.InsertMedia"},
				"#VirtualMedia.EjectMedia": obj{"target": "/redfish/v1/Managers/BMC/VirtualMedia/CD/Actions/VirtualMedia.EjectMedia"}}},
		"/redfish/v1/AccountService":            {"Accounts": link("/redfish/v1/AccountService/Accounts")},
		"/redfish/v1/AccountService/Accounts":   {"Members": links("/redfish/v1/AccountService/Accounts/1", "/redfish/v1/AccountService/Accounts/2")},
		"/redfish/v1/AccountService/Accounts/1": {"Id": "1", "UserName": "", "Enabled": false},
		"/redfish/v1/AccountService/Accounts/2": {"Id": "2", "UserName": "admin", "Enabled": true, "RoleId": "Administrator"},
		"/redfish/v1/Systems/S1/Bios": {
			"AttributeRegistry": "BiosRegistry.v1",
			"Attributes":        obj{"BootMode": "Uefi", "Cores": 8, "Turbo": true, "Serial": "x", "SysProfile": "Perf"},
			"@Redfish.Settings": obj{"SettingsObject": link("/redfish/v1/Systems/S1/Bios/Settings"), "SupportedApplyTimes": []any{"OnReset"}}},
		"/redfish/v1/Systems/S1/Bios/Settings":     {"Attributes": obj{}},
		"/redfish/v1/Registries":                   {"Members": links("/redfish/v1/Registries/BiosRegistry.v1")},
		"/redfish/v1/Registries/BiosRegistry.v1":   {"Location": []any{obj{"Language": "en", "Uri": "/redfish/v1/Registries/bios.json"}}},
		"/redfish/v1/Registries/bios.json":         {"RegistryEntries": obj{"Attributes": []any{obj{"AttributeName": "Cores", "Type": "Integer"}, obj{"AttributeName": "Turbo", "Type": "Boolean"}, obj{"AttributeName": "Serial", "Type": "String", "ReadOnly": true}, obj{"AttributeName": "BootMode", "Type": "Enumeration", "Value": []any{obj{"ValueName": "Uefi"}, obj{"ValueName": "Bios"}}}, obj{"AttributeName": "SysProfile", "Type": "Enumeration", "Value": []any{obj{"ValueName": "Perf"}, obj{"ValueName": "Custom"}}}}}},
		"/redfish/v1/Systems/S1/LogServices":       {"Members": links("/redfish/v1/Systems/S1/LogServices/Audit", "/redfish/v1/Systems/S1/LogServices/SEL")},
		"/redfish/v1/Systems/S1/LogServices/Audit": {"Id": "Audit", "Entries": link("/nowhere")},
		"/redfish/v1/Systems/S1/LogServices/SEL":   {"Id": "SEL", "Entries": link("/redfish/v1/Systems/S1/LogServices/SEL/Entries")},
		"/redfish/v1/UpdateService": {"FirmwareInventory": link("/redfish/v1/UpdateService/FirmwareInventory"), "MultipartHttpPushUri": "/redfish/v1/UpdateService/push",
			"Actions": obj{"#UpdateService.SimpleUpdate": obj{"target": "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate",
				"TransferProtocol@Redfish.AllowableValues": []any{"HTTP", "HTTPS"},
				"@Redfish.OperationApplyTimeSupport":       obj{"SupportedValues": []any{"Immediate"}}}}},
		"/redfish/v1/UpdateService/FirmwareInventory":     {"Members": links("/redfish/v1/UpdateService/FirmwareInventory/BMC")},
		"/redfish/v1/UpdateService/FirmwareInventory/BMC": {"Id": "BMC", "Name": "BMC", "Version": "1.2", "Updateable": true},
		"/redfish/v1/TaskService":                         {"Tasks": link("/redfish/v1/TaskService/Tasks")},
		"/redfish/v1/TaskService/Tasks":                   {"Members": links("/redfish/v1/TaskService/Tasks/1")},
		"/redfish/v1/TaskService/Tasks/1":                 {"Id": "1", "Name": "Update", "TaskState": "Running", "TaskStatus": "OK", "PercentComplete": 40},
	}
	s.hooks["POST /redfish/v1/Systems/S1/Actions/ComputerSystem.Reset"] = func(w http.ResponseWriter, body obj) bool {
		s.tree["/redfish/v1/Systems/S1"]["PowerState"] = map[any]string{"On": "On", "ForceOff": "Off", "GracefulShutdown": "PoweringOff"}[body["ResetType"]]
		return false
	}
	cd := s.tree["/redfish/v1/Managers/BMC/VirtualMedia/CD"]
	s.hooks["POST /redfish/v1/Managers/BMC/VirtualMedia/CD/Actions/VirtualMedia.InsertMedia"] = func(w http.ResponseWriter, body obj) bool {
		cd["Image"], cd["Inserted"] = body["Image"], true
		return false
	}
	s.hooks["POST /redfish/v1/Managers/BMC/VirtualMedia/CD/Actions/VirtualMedia.EjectMedia"] = func(http.ResponseWriter, obj) bool {
		cd["Image"], cd["Inserted"] = nil, false
		return false
	}
	for path, o := range s.tree {
		o["@odata.id"] = path
	}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(r.URL.Path, "/")
	if strings.HasPrefix(path, "/redfish/v1/SessionService") {
		w.Header().Set("X-Auth-Token", "token-0")
		w.Header().Set("Location", "/redfish/v1/SessionService/Sessions/1")
		w.WriteHeader(http.StatusCreated)
		return
	}
	// Whoever sends it, bmclib too: every request comes through the broker, with its session.
	if r.Header.Get("X-Auth-Token") != "token-0" || r.Header.Get("Authorization") != "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.Method + " " + path
	if h := s.raw[key]; h != nil {
		if r.Method != http.MethodGet {
			s.wrote = append(s.wrote, key)
		}
		h(w, r)
		return
	}
	var body obj
	if r.Method != http.MethodGet {
		text, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(text, &body)
		s.wrote = append(s.wrote, key+" "+string(text))
	}
	if h := s.hooks[key]; h != nil && h(w, body) {
		return
	}
	o := s.tree[path]
	tag := fmt.Sprintf(`"%s-%d"`, path, s.tags[path])
	switch {
	case r.Method == http.MethodGet && o != nil:
		w.Header().Set("ETag", tag)
		_ = json.NewEncoder(w).Encode(o)
	case r.Method == http.MethodPatch && o != nil:
		if m := r.Header.Get("If-Match"); m != "" && m != tag {
			w.WriteHeader(http.StatusPreconditionFailed)
			return
		}
		s.tags[path]++
		merge(o, body)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPost && s.hooks[key] != nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func merge(o, by obj) {
	for k, v := range by {
		if m, ok := v.(obj); ok {
			if old, ok := o[k].(obj); ok {
				merge(old, m)
				continue
			}
		}
		o[k] = v
	}
}

// writes gives the requests that changed something, but for sessions, and forgets them.
func (s *service) writes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.wrote
	s.wrote = nil
	return w
}

func (s *service) edit(path string, by obj) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tree[path] == nil {
		s.tree[path] = obj{"@odata.id": path}
	}
	maps.Copy(s.tree[path], by)
}

// clock moves on only when somebody sleeps.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return ctx.Err()
}

func controller(t *testing.T, s *service) *redfish.Controller {
	t.Helper()
	return controllerOf(t, s, redfish.Options{})
}

func controllerOf(t *testing.T, s *service, o redfish.Options) *redfish.Controller {
	t.Helper()
	k := &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	conn, err := broker.Dial(t.Context(), broker.Config{
		Endpoint:    bmc.Endpoint{Address: strings.TrimPrefix(s.URL, "https://")},
		Credentials: bmc.Credentials{User: "admin", Password: "pa55word"},
		Allow:       []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Clock: k,
	})
	if err != nil {
		t.Fatal(err)
	}
	o.Clock = k
	c := redfish.New(conn, o)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}
