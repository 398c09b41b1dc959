package reader

import (
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/bmc"
)

// builder turns the resources of one walk into an inventory.
type builder struct {
	w   *walker
	inv *bmc.Inventory
	// keys are the resources in the order of their paths, so that the same machine always gives
	// the same inventory.
	keys   []string
	kinds  map[string]string   // by key, after the quirks' types
	byKind map[string][]string // keys, in order

	systems        []string            // Ids
	chassisSystems map[string][]string // Ids of systems, by Id of chassis
	driveOwner     map[string]string   // Id of the Storage, by key of the drive
	names          map[string]valueClass
	nics           nicTable
}

// build never fails: what is missing or of a wrong type is left empty.
func build(w *walker, readAt time.Time) *bmc.Inventory {
	b := &builder{w: w, inv: newInventory(), kinds: map[string]string{}, byKind: map[string][]string{}, chassisSystems: map[string][]string{},
		driveOwner: map[string]string{}, names: map[string]valueClass{}}
	b.inv.URL, b.inv.ReadAt, b.inv.Scope = w.opt.URL, readAt, w.opt.Scope
	for key, r := range w.resources {
		if w.isPending(key) {
			continue
		}
		b.keys = append(b.keys, key)
		kind := r.kind
		if standard := w.profile.Types[kind]; standard != "" {
			kind = standard
		}
		b.kinds[key] = kind
	}
	slices.Sort(b.keys)
	for _, key := range b.keys {
		b.byKind[b.kinds[key]] = append(b.byKind[b.kinds[key]], key)
	}

	b.relations()
	b.service()
	b.machines()
	b.parts()
	b.storage()
	b.network()
	b.powerAndCooling()
	b.administration()
	b.identity()
	b.leftover()
	b.finish()
	return b.inv
}

func newInventory() *bmc.Inventory {
	return &bmc.Inventory{
		Schema: bmc.InventorySchema, Protocol: bmc.Redfish,
		Service: bmc.Service{Quirks: []string{}},
		Systems: []bmc.System{}, Chassis: []bmc.Chassis{}, Managers: []bmc.Manager{}, Processors: []bmc.Processor{},
		Memory: []bmc.Memory{}, Storage: []bmc.StorageController{}, Drives: []bmc.Drive{}, Volumes: []bmc.Volume{},
		NetworkInterfaces: []bmc.NetworkInterface{}, PCIeDevices: []bmc.PCIeDevice{}, PowerSupplies: []bmc.PowerSupply{},
		Fans: []bmc.Fan{}, Temperatures: []bmc.Temperature{}, Firmware: []bmc.FirmwareComponent{}, Accounts: []bmc.Account{},
		Protocols: []bmc.NetworkProtocol{}, Certificates: []bmc.Certificate{}, Events: []bmc.Event{},
		Components: []bmc.Component{}, Unread: []bmc.Unread{},
	}
}

// of calls f for every resource of one of the kinds, kind by kind in the order of
// their paths.
func (b *builder) of(f func(key string, v value), kinds ...string) {
	for _, kind := range kinds {
		for _, key := range b.byKind[kind] {
			f(key, b.w.resources[key].v)
		}
	}
}

// targets gives the keys that the links at a path lead to: one object or an array of them.
func (b *builder) targets(v value) []string {
	var keys []string
	add := func(ref value) {
		if path, reason := resolve(ref.first("@odata.id", "href"), b.w.host); reason == "" {
			keys = append(keys, keyOf(path))
		}
	}
	if v.isObject() {
		add(v)
	}
	if v.isArray() {
		v.each(func(_ string, ref value) bool { add(ref); return true })
	}
	return keys
}

func ids(keys []string) []string {
	var out []string
	for _, k := range keys {
		out = append(out, lastSegment(k))
	}
	return out
}

// relations finds what belongs to what where paths do not tell.
func (b *builder) relations() {
	b.of(func(key string, v value) {
		b.systems = append(b.systems, lastSegment(key))
		for _, chassis := range ids(b.targets(v.get("Links", "Chassis"))) {
			b.relate(chassis, lastSegment(key))
		}
	}, "ComputerSystem")
	b.of(func(key string, v value) {
		for _, system := range ids(b.targets(v.get("Links", "ComputerSystems"))) {
			b.relate(lastSegment(key), system)
		}
	}, "Chassis")
	b.of(func(key string, v value) {
		for _, drive := range b.targets(v.get("Drives")) {
			b.driveOwner[drive] = lastSegment(key)
		}
		for _, drive := range b.targets(v.get("Links", "Drives")) {
			b.driveOwner[drive] = lastSegment(key)
		}
	}, "Storage")
}

func (b *builder) relate(chassis, system string) {
	if !slices.Contains(b.chassisSystems[chassis], system) {
		b.chassisSystems[chassis] = append(b.chassisSystems[chassis], system)
	}
}

// systemOf gives the Id of the system that a path belongs to, "" when that cannot be known.
func (b *builder) systemOf(key string) string {
	if id := under(key, "Systems"); id != "" {
		return id
	}
	if s := b.chassisSystems[under(key, "Chassis")]; len(s) == 1 {
		return s[0]
	}
	if len(b.systems) == 1 {
		return b.systems[0]
	}
	return ""
}

// part reads what every physical thing has. key is its own path, with #/... for a thing inside
// another resource.
func (b *builder) part(v value, key string) bmc.Part {
	p := bmc.Part{
		ID:           v.first("Id", "MemberId"),
		Name:         v.first("Name", "DeviceName"),
		Manufacturer: v.first("Manufacturer", "VendorName", "Vendor"),
		Model:        v.first("Model", "ProductName", "Product"),
		PartNumber:   v.first("PartNumber", "ProductPartNumber", "SparePartNumber"),
		Serial:       v.first("SerialNumber", "ProductSerialNumber"),
		Location:     location(v),
		Health:       v.get("Status", "Health").str(),
		State:        v.get("Status", "State").str(),
		URI:          key,
	}
	if p.ID == "" {
		p.ID = lastSegment(key)
	}
	return p
}

func location(v value) string {
	if s := v.first("PhysicalLocation.PartLocation.ServiceLabel", "Location.PartLocation.ServiceLabel",
		"PartLocation.ServiceLabel", "DeviceLocator", "Socket", "Location.Info", "PhysicalLocation.Info"); s != "" {
		return s
	}
	loc := v.get("Location")
	if loc.isString() {
		return loc.str()
	}
	out := ""
	loc.each(func(_ string, l value) bool {
		out = l.first("Info", "PartLocation.ServiceLabel")
		return out == ""
	})
	return out
}

func absent(v value) bool { return strings.EqualFold(v.get("Status", "State").str(), "Absent") }

// placeholder tells whether a BMC's text only says that there is no value.
func placeholder(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "", "n/a", "na", "none", "null", "unknown", "not available", "not specified", "not present", "notavailable",
		"default string", "to be filled by o.e.m.", "to be filled by oem", "undefined", "empty", "no dimm", "not set",
		"unspecified", "not applicable", "invalid", "-":
		return true
	}
	return false
}

// blank tells whether a BMC's text names nothing: a placeholder, or all zeros and the like.
func blank(s string) bool {
	if placeholder(s) {
		return true
	}
	s = strings.ToLower(strings.TrimSpace(s))
	return strings.Trim(s, "0") == "" || strings.Trim(s, ".") == "" || strings.Trim(s, "f") == "" && len(s) >= 8
}

// anyText tells whether one of the strings says something.
func anyText(texts ...string) bool {
	return slices.ContainsFunc(texts, func(s string) bool { return !blank(s) })
}

// firmwareOf reads a version where standards and vendors put it.
func (b *builder) firmwareOf(v value) string {
	return v.first("FirmwareVersion", "FirmwareVersion.Current.VersionString", "Firmware.Current.VersionString",
		"FirmwarePackageVersion", "Revision", "FirmwareRevision")
}

// finish counts and orders.
func (b *builder) finish() {
	w := b.w
	b.inv.Unread = append(b.inv.Unread, w.unread...)
	b.inv.Complete = len(b.inv.Unread) == 0
	b.inv.Service.Quirks = append(b.inv.Service.Quirks, w.profile.Names...)
	b.inv.Requests = requestStats(w)
}

func requestStats(w *walker) bmc.RequestStats {
	s := bmc.RequestStats{Count: w.requests, NotModified: w.notModified, Bytes: w.bytes, InFlight: w.maxInFlight,
		WallMS: float64(w.wall.Microseconds()) / 1000}
	if len(w.latencies) == 0 {
		return s
	}
	slices.SortFunc(w.latencies, func(a, b bmc.SlowRequest) int {
		switch {
		case a.MS < b.MS:
			return -1
		case a.MS > b.MS:
			return 1
		}
		return strings.Compare(a.URI, b.URI)
	})
	n := len(w.latencies)
	s.LatencyMS = bmc.LatencyMS{Median: w.latencies[n/2].MS, P95: w.latencies[min(n-1, n*95/100)].MS, Max: w.latencies[n-1].MS}
	for i := n - 1; i >= max(0, n-5); i-- {
		s.Slowest = append(s.Slowest, w.latencies[i])
	}
	return s
}
