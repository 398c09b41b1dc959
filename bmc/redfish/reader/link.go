package reader

import (
	"cmp"
	"net/url"
	"strings"
)

// A link is a reference from one resource to another.
type link struct {
	path string // as given, without host and fragment
	key  string // path without the trailing slash: the resource's identity
	via  string // the property that held it; for a member of a collection, "Members"
	// aside is set in Links and the like: it leads to what also has a place of its own in the tree.
	aside bool
	// guess is set where a string only looks like a link.
	guess bool
}

// badLink is a reference that is not followed, with the reason code.
type badLink struct {
	uri    string
	reason string
	detail string
}

const maxPath = 2048

// resolve turns what a BMC gave as a link into a path on the same BMC. host is the BMC's own
// host[:port], which absolute links may name.
func resolve(ref, host string) (path, reason string) {
	if len(ref) > maxPath {
		return "", ReasonTooLarge
	}
	if i := strings.IndexByte(ref, '#'); i >= 0 {
		ref = ref[:i]
	}
	if strings.HasPrefix(ref, "/redfish/") && !strings.ContainsAny(ref, "%\\ \t\r\n") && !strings.Contains(ref, "..") {
		return ref, "" // what nearly every link is
	}
	u, err := url.Parse(ref)
	if err != nil || strings.ContainsAny(ref, "\\\r\n\t\x00") {
		return "", ReasonMalformed
	}
	if u.Host != "" && !sameHost(u.Host, host) {
		return "", ReasonOffHost
	}
	if u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return "", ReasonOffHost
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == ".." || segment == "." {
			return "", ReasonOffHost
		}
	}
	if u.Path != "/redfish" && !strings.HasPrefix(u.Path, "/redfish/") && !strings.HasPrefix(u.Path, "/rest/v1") {
		return "", ReasonMalformed
	}
	p := u.EscapedPath()
	if u.RawQuery != "" {
		p += "?" + u.RawQuery
	}
	return p, ""
}

// sameHost compares host[:port] without regard to case and to the port that https implies.
func sameHost(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, ":443"), strings.TrimSuffix(b, ":443"))
}

// keyOf is a path's identity: without query and trailing slash.
func keyOf(path string) string {
	if i := strings.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	for len(path) > 1 && path[len(path)-1] == '/' {
		path = path[:len(path)-1]
	}
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// links gives every reference in a resource but those in its actions and annotations. Old services
// write {"href": "..."} for {"@odata.id": "..."}. A resource's own @odata.id is not a reference.
func links(v value, host string) (found []link, bad []badLink) {
	var walk func(v value, via string, aside, root bool)
	add := func(ref, via string, aside bool) {
		if ref == "" {
			return
		}
		path, reason := resolve(ref, host)
		switch {
		case reason != "":
			bad = append(bad, badLink{uri: clip(ref, 300), reason: reason, detail: "link in " + via})
		default:
			found = append(found, link{path: path, key: keyOf(path), via: via, aside: aside})
		}
	}
	walk = func(v value, via string, aside, root bool) {
		v.each(func(name string, child value) bool {
			switch child.node().kind {
			case kindString:
				switch {
				case name == "@odata.id" || name == "href":
					if !root {
						add(child.str(), via, aside)
					}
				case looksLikeLink(name, via, child.str()):
					if path, reason := resolve(child.str(), host); reason == "" {
						found = append(found, link{path: path, key: keyOf(path), via: cmp.Or(name, via), aside: true, guess: true})
					}
				}
			case kindObject:
				if name == "Actions" || strings.HasPrefix(name, "@") || name == "self" { // for settings see settings
					break
				}
				switch name {
				case "":
					walk(child, via, aside, false)
				case "Links", "links":
					walk(child, via, true, false)
				default:
					walk(child, name, aside || name == "RelatedItem", false)
				}
			case kindArray:
				if name == "Actions" || strings.HasPrefix(name, "@") {
					break
				}
				next := via
				if name != "" {
					next = name
				}
				if name == "Member" || name == "Items" {
					next = "Members"
				}
				walk(child, next, aside || name == "RelatedItem", false)
			}
			return true
		})
	}
	walk(v, "", false, true)
	return found, bad
}

// looksLikeLink tells whether a plain string leads to a resource: OEM parts write links so. What ends in
// Uri does not: that is where one pushes, downloads or waits for events. Nor does a message's argument.
func looksLikeLink(name, via, text string) bool {
	if !strings.HasPrefix(text, rootPath) || len(text) == len(rootPath) || strings.ContainsAny(text, " {}<>?$") || strings.Contains(text, "/Actions/") {
		return false
	}
	n := strings.ToLower(cmp.Or(name, via))
	for _, not := range []string{"uri", "url", "target", "image", "message", "destination", "context", "@", "schema"} {
		if strings.Contains(n, not) {
			return false
		}
	}
	return true
}

// settings gives the path of the resource that holds v's settings for the next boot, if it has one.
func settings(v value, host string) string {
	ref := v.get("@Redfish.Settings", "SettingsObject").first("@odata.id", "href")
	if ref == "" {
		return ""
	}
	path, reason := resolve(ref, host)
	if reason != "" {
		return ""
	}
	return path
}

// typeName is the name in an @odata.type without namespace and version: "#Drive.v1_4_0.Drive" and
// "#Drive.1.0.0.Drive" are "Drive".
func typeName(v value) string {
	t := strings.TrimPrefix(v.get("@odata.type").str(), "#")
	if t == "" {
		t = v.get("Type").str() // before Redfish 1.0: "ComputerSystem.1.0.0"
		if !strings.Contains(t, ".") {
			return ""
		}
	}
	t, _, _ = strings.Cut(t, ".")
	return t
}

// collectionTypes are the types of members by the last name of their collection's path: for
// resources that do not say their type.
var collectionTypes = map[string]string{
	"Systems": "ComputerSystem", "Chassis": "Chassis", "Managers": "Manager", "Processors": "Processor",
	"Memory": "Memory", "Storage": "Storage", "SimpleStorage": "SimpleStorage", "Drives": "Drive",
	"Volumes": "Volume", "Controllers": "StorageController", "EthernetInterfaces": "EthernetInterface",
	"NetworkInterfaces": "NetworkInterface", "NetworkAdapters": "NetworkAdapter", "NetworkPorts": "NetworkPort",
	"Ports": "Port", "NetworkDeviceFunctions": "NetworkDeviceFunction", "PCIeDevices": "PCIeDevice",
	"PCIeFunctions": "PCIeFunction", "PowerSupplies": "PowerSupply", "Fans": "Fan", "Sensors": "Sensor",
	"FirmwareInventory": "SoftwareInventory", "SoftwareInventory": "SoftwareInventory", "Accounts": "ManagerAccount",
	"Certificates": "Certificate", "Entries": "LogEntry", "BootOptions": "BootOption", "Switches": "Switch",
	"TrustedComponents": "TrustedComponent", "LogServices": "LogService",
}

// singleTypes are the types of resources that are no members, by the last name of their path.
var singleTypes = map[string]string{
	"Power": "Power", "Thermal": "Thermal", "Bios": "Bios", "SecureBoot": "SecureBoot", "Assembly": "Assembly",
	"NetworkProtocol": "ManagerNetworkProtocol", "ThermalMetrics": "ThermalMetrics",
}

// resourceType is a resource's type: what it says, else what its place says.
func resourceType(v value, key string) string {
	if t := typeName(v); t != "" {
		return t
	}
	if v.get("Members").isArray() {
		return lastSegment(key) + "Collection"
	}
	if t := collectionTypes[lastSegment(parentOf(key))]; t != "" {
		return t
	}
	return singleTypes[lastSegment(key)]
}

func lastSegment(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

func parentOf(key string) string {
	if i := strings.LastIndexByte(key, '/'); i > 0 {
		return key[:i]
	}
	return ""
}

// under gives the path segment after the named one: under("/redfish/v1/Systems/1/Bios", "Systems")
// is "1".
func under(key, name string) string {
	key, _, _ = strings.Cut(key, "#")
	segments := strings.Split(key, "/")
	for i, s := range segments[:len(segments)-1] {
		if s == name {
			return segments[i+1]
		}
	}
	return ""
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}
