package reader

import (
	"slices"
	"strings"

	"github.com/cagenut/cagenut/bmc"
)

// valueClass says what kind of identifying value a property holds, by its name.
type valueClass uint8

const (
	classNone valueClass = iota
	classSerial
	classVersion
	classMAC
)

// notVersions are parts of names that end in "version" and are none of a firmware: of protocols,
// schemas and languages.
var notVersions = []string{"redfishversion", "protocolversion", "schemaversion", "registryversion", "languageversion",
	"tlsversion", "tslversion", "sslversion", "smbversion", "snmpversion", "nfsversion", "ipmiversion",
	"complianceversion", "uefiversion", "typeversion", "apiversion", "eventversion", "odataversion"}

// classify judges a property by its name.
func classify(name string) valueClass {
	if !promising(name) || strings.Contains(name, "@") {
		return classNone
	}
	lower := strings.ToLower(name)
	n := separators.Replace(lower)
	switch {
	case strings.Contains(n, "serialn") || strings.HasSuffix(n, "serial") || strings.Contains(n, "servicetag") || strings.HasPrefix(n, "sernum") || n == "s/n" || endsInWord(name, "SN"):
		return classSerial
	case strings.Contains(n, "macaddr") || n == "mac" || strings.HasSuffix(lower, "_mac") || strings.HasSuffix(lower, " mac") || endsInWord(name, "MAC"):
		return classMAC
	case strings.HasSuffix(n, "revision"), strings.HasSuffix(n, "fwrev"), strings.HasSuffix(n, "fwver"), strings.HasSuffix(n, "firmware"), n == "ver", n == "rev",
		endsInWord(name, "Ver"), endsInWord(name, "Rev"), strings.HasSuffix(lower, "_ver"), strings.HasSuffix(lower, "_rev"):
		return classVersion
	case n == "osversion", n == "ipversion", strings.HasSuffix(lower, "_ipversion"):
		return classNone
	case strings.HasSuffix(n, "versions"):
		if strings.Contains(n, "firmware") || strings.Contains(n, "bios") || strings.HasPrefix(n, "fw") {
			return classVersion
		}
		return classNone
	case strings.Contains(n, "version"):
		for _, not := range notVersions {
			if strings.HasSuffix(n, not) {
				return classNone
			}
		}
		return classVersion
	}
	return classNone
}

// separators are what some write between the words of a name.
var separators = strings.NewReplacer("_", "", " ", "", "-", "")

// endsInWord tells whether a name is a word or ends in it as written, as in BoardSN and BIOSVer: not
// "Driver" in "Ver", which begins with a small letter there.
func endsInWord(name, word string) bool { return strings.HasSuffix(name, word) }

// promising rules out nearly all names without work: those below need one of its letter pairs.
func promising(name string) bool {
	for i := 0; i+1 < len(name); i++ {
		switch [2]byte{name[i] | 0x20, name[i+1] | 0x20} {
		case [2]byte{'s', 'e'}, [2]byte{'v', 'e'}, [2]byte{'m', 'a'}, [2]byte{'r', 'e'}, [2]byte{'f', 'i'}, [2]byte{'s', 'n'}:
			return true
		}
	}
	return false
}

func (b *builder) classOf(name string) valueClass {
	c, ok := b.names[name]
	if !ok {
		c = classify(name)
		b.names[name] = c
	}
	return c
}

// identifying calls f for every serial, version and MAC in a resource, with the path of its
// property. MACs are known by their form, whatever the property's name, and are given in NetBox's.
func (b *builder) identifying(v value, f func(path, text string, class valueClass)) {
	b.scan(v, nil, "", f)
}

func (b *builder) scan(v value, path []string, name string, f func(path, text string, class valueClass)) {
	v.each(func(key string, child value) bool {
		n, p := key, path
		if key == "" {
			n = name // an element of an array is called as the array
		} else {
			p = append(p, key)
		}
		kind := child.node().kind
		switch kind {
		case kindObject, kindArray:
			if n != "Actions" && !strings.HasPrefix(n, "@Redfish") && (key != "Members" || len(path) > 0) {
				b.scan(child, p, n, f)
			}
			return true
		case kindString, kindNumber:
		default:
			return true
		}
		text := child.str()
		class := b.classOf(n)
		if class == classNone && valueNames[key] {
			class = b.classOf(v.first(nameNames...)) // {"Name": "Serial Number", "Value": "..."}
		}
		if mac, ok := macOf(text, class == classMAC); ok && kind == kindString {
			f(strings.Join(p, "."), mac, classMAC)
		} else if class != classNone && !placeholder(text) && len(text) <= 200 && (kind == kindString || class == classSerial || class == classVersion && aboutFirmware(n)) {
			if class != classMAC || strings.Count(text, ":")+strings.Count(text, "-") >= 5 { // longer addresses, lists of some
				f(strings.Join(p, "."), text, class)
			}
		}
		return true
	})
}

// valueNames and nameNames are how vendors call the halves of a property that stands in a list.
var (
	valueNames = map[string]bool{"Value": true, "value": true, "CurrentValue": true, "Val": true, "Data": true}
	nameNames  = []string{"Name", "name", "Key", "key", "AttributeName", "PropertyName", "DisplayName", "Property", "Id"}
)

// aboutFirmware tells whether a number is a version by its name: others, such as a schema's, are not.
func aboutFirmware(name string) bool {
	n := strings.ToLower(name)
	return strings.Contains(n, "firmware") || strings.Contains(n, "bios") || strings.HasPrefix(n, "fw")
}

// leftover makes components of what the typed arrays have no place for: every resource with a
// serial, MAC or version that does not stand in the inventory yet.
func (b *builder) leftover() {
	known := b.known()
	var last []string // they repeat what the resources themselves tell
	for _, key := range b.keys {
		kind := b.kinds[key]
		if kind == summaryKind {
			last = append(last, key)
			continue
		}
		v := b.w.resources[key].v
		if kind == "Assembly" {
			b.assembly(key, v, known) // then what stands beside the list
		}
		b.component(key, kind, v, known)
	}
	for _, key := range last {
		b.component(key, "", b.w.resources[key].v, known)
	}
}

// assembly lists the boards and cables of a resource's FRU.
func (b *builder) assembly(key string, v value, known map[string]bool) {
	b.inside(key, v, "Assemblies", func(own string, a value) { b.component(own, "Assembly", a, known) })
}

// component adds a component if v tells something that is not known. Values that do not fit its
// fields stand under their property paths.
func (b *builder) component(key, kind string, v value, known map[string]bool) {
	var values []bmc.NamedValue
	var macs []string
	serial, firmware := v.first("SerialNumber", "ProductSerialNumber"), b.firmwareOf(v)
	if serial == "" {
		serial = v.get("SerialNumber").str()
	}
	b.identifying(v, func(path, text string, class valueClass) {
		if known[text] || kind == "LogEntry" && class == classVersion {
			return
		}
		known[text] = true
		switch {
		case class == classMAC && len(text) == len("00:00:00:00:00:00"):
			macs = append(macs, text)
		case text != serial && text != firmware:
			values = append(values, bmc.NamedValue{Name: path, Value: text})
		default:
			values = append(values, bmc.NamedValue{}) // it is in the component's own fields
		}
	})
	if len(values)+len(macs) == 0 {
		return
	}
	values = slices.DeleteFunc(values, func(n bmc.NamedValue) bool { return n.Name == "" })
	if kind == "" {
		kind = "Unknown"
	}
	c := bmc.Component{Part: b.part(v, key), Type: kind, Firmware: firmware, MACs: macs, Values: values}
	if kind == "Assembly" {
		fill(&c.Manufacturer, v.get("Vendor").str())
	}
	b.inv.Components = append(b.inv.Components, c)
}

// known gives the values that stand in the inventory's typed arrays.
func (b *builder) known() map[string]bool {
	k := map[string]bool{}
	part := func(p bmc.Part) { k[p.Serial] = true }
	inv := b.inv
	for _, s := range inv.Systems {
		part(s.Part)
		k[s.BIOSVersion], k[s.SKU] = true, true
		for _, t := range s.TPMs {
			k[t.Firmware] = true
		}
		for _, a := range s.BIOS {
			if text, ok := a.(string); ok {
				k[text] = true
			}
		}
		for _, o := range s.OtherSerials {
			k[o.Value] = true
		}
	}
	for _, c := range inv.Chassis {
		part(c.Part)
		k[c.SKU] = true
		for _, o := range c.OtherSerials {
			k[o.Value] = true
		}
	}
	for _, x := range inv.Managers {
		part(x.Part)
		k[x.Firmware] = true
	}
	for _, x := range inv.Processors {
		part(x.Part)
		k[x.Firmware] = true
	}
	for _, x := range inv.Memory {
		part(x.Part)
		k[x.Firmware] = true
	}
	for _, x := range inv.Storage {
		part(x.Part)
		k[x.Firmware] = true
	}
	for _, x := range inv.Drives {
		part(x.Part)
		k[x.Firmware] = true
	}
	for _, x := range inv.Volumes {
		part(x.Part)
	}
	for _, x := range inv.NetworkInterfaces {
		part(x.Part)
		k[x.Firmware] = true
		for _, mac := range x.MACs {
			k[mac] = true
		}
		if x.Neighbor != nil {
			if mac, ok := macOf(x.Neighbor.Chassis, false); ok {
				k[mac] = true // the switch's, not the machine's
			}
		}
	}
	for _, x := range inv.PCIeDevices {
		part(x.Part)
		k[x.Firmware] = true
	}
	for _, x := range inv.PowerSupplies {
		part(x.Part)
		k[x.Firmware] = true
	}
	for _, x := range inv.Fans {
		part(x.Part)
	}
	for _, x := range inv.Firmware {
		k[x.Version] = true
	}
	for _, x := range inv.Certificates {
		k[x.Serial] = true
	}
	return k
}
