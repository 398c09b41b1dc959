// Package readertest serves recorded Redfish trees over HTTP, to measure and test readers against.
//
// A Tree is the bodies of a BMC by path. Service answers GET for them as a BMC would, slowly and
// few at once where asked, with sessions, ETags and $expand. It knows nothing of what it serves.
// Both are safe for concurrent use once made.
package readertest

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Tree is the bodies of a BMC by path without a trailing slash.
type Tree map[string][]byte

// Load reads a tree from a .tar.gz or a folder with redfish/v1/**/index.json in it.
func Load(name string) (Tree, error) {
	t := Tree{}
	var err error
	if strings.HasSuffix(name, ".tar.gz") {
		err = t.unpack(name)
	} else {
		err = t.walk(name)
	}
	if err != nil {
		return nil, fmt.Errorf("load the Redfish tree %s: %w", name, err)
	}
	if t["/redfish/v1"] == nil {
		return nil, fmt.Errorf("load the Redfish tree %s: no redfish/v1/index.json in it", name)
	}
	return t, nil
}

// keyOf gives the path that a file is the body of.
func keyOf(file string) (string, bool) {
	file = filepath.ToSlash(file)
	i := strings.Index(file, "redfish/v1/")
	if i < 0 || path.Base(file) != "index.json" {
		return "", false
	}
	return "/" + path.Dir(file[i:]), true
}

func (t Tree) walk(dir string) error {
	files := os.DirFS(dir)
	return fs.WalkDir(files, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if key, ok := keyOf(filepath.Join(dir, p)); ok {
			t[key], err = fs.ReadFile(files, p)
		}
		return err
	})
}

func (t Tree) unpack(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if key, ok := keyOf(h.Name); ok {
			if t[key], err = io.ReadAll(r); err != nil {
				return err
			}
		}
	}
}

// Synthetic makes the tree of a plausible server, for measuring where there is no recorded one:
// 2 processors, 16 DIMMs, 8 drives, 4 NICs, 25 firmware components, about 100 resources.
func Synthetic() Tree {
	t := Tree{}
	type object = map[string]any
	put := func(p, kind string, o object) {
		o["@odata.id"] = p
		o["@odata.type"] = "#" + kind + ".v1_9_0." + kind
		if o["Id"] == nil {
			o["Id"] = path.Base(p)
		}
		if o["Name"] == nil {
			o["Name"] = kind + " " + path.Base(p)
		}
		body, err := json.Marshal(o)
		if err != nil {
			panic(err) // maps of strings, numbers and such always marshal
		}
		t[p] = body
	}
	ref := func(p string) object { return object{"@odata.id": p} }
	collection := func(p, kind string, n int, make func(i int) object) {
		members := []any{}
		for i := range n {
			m := fmt.Sprintf("%s/%d", p, i+1)
			members = append(members, ref(m))
			o := make(i)
			o["Status"] = object{"State": "Enabled", "Health": "OK"}
			o["Description"] = "A resource of about the size that BMCs answer with " + strings.Repeat("x", 400)
			put(m, kind, o)
		}
		put(p, kind+"Collection", object{"Members": members, "Members@odata.count": n})
	}
	const root, system, chassis = "/redfish/v1", "/redfish/v1/Systems/1", "/redfish/v1/Chassis/1"
	put(root, "ServiceRoot", object{"RedfishVersion": "1.15.0", "Vendor": "Contoso", "UUID": "6f4c3c3e-0000-4000-8000-000000000001",
		"Systems": ref(root + "/Systems"), "Chassis": ref(root + "/Chassis"), "Managers": ref(root + "/Managers"),
		"UpdateService": ref(root + "/UpdateService"), "SessionService": ref(root + "/SessionService"),
		"Links": object{"Sessions": ref(root + "/SessionService/Sessions")},
		"ProtocolFeaturesSupported": object{"ExpandQuery": object{"NoLinks": true, "Levels": true, "MaxLevels": 2,
			"ExpandAll": true, "Links": true}}})
	collection(root+"/Systems", "ComputerSystem", 1, func(int) object {
		return object{"SerialNumber": "SN0001", "Manufacturer": "Contoso", "Model": "3500", "BiosVersion": "2.1.0", "PowerState": "On",
			"SystemType": "Physical", "Processors": ref(system + "/Processors"), "Memory": ref(system + "/Memory"),
			"Storage": ref(system + "/Storage"), "EthernetInterfaces": ref(system + "/EthernetInterfaces"),
			"NetworkInterfaces": ref(system + "/NetworkInterfaces"), "Bios": ref(system + "/Bios"), "SecureBoot": ref(system + "/SecureBoot"),
			"Links": object{"Chassis": []any{ref(chassis)}, "ManagedBy": []any{ref(root + "/Managers/1")}}}
	})
	put(system+"/Bios", "Bios", object{"Attributes": object{"BootMode": "Uefi"}})
	put(system+"/SecureBoot", "SecureBoot", object{"SecureBootEnable": true})
	collection(system+"/Processors", "Processor", 2, func(int) object {
		return object{"ProcessorType": "CPU", "Model": "Contoso 9000", "TotalCores": 32, "TotalThreads": 64}
	})
	collection(system+"/Memory", "Memory", 16, func(i int) object {
		return object{"CapacityMiB": 32768, "MemoryDeviceType": "DDR5", "SerialNumber": fmt.Sprintf("D%06d", i), "OperatingSpeedMhz": 4800}
	})
	collection(system+"/Storage", "Storage", 1, func(int) object {
		drives := []any{}
		for i := range 8 {
			p := fmt.Sprintf("%s/Storage/1/Drives/%d", system, i+1)
			drives = append(drives, ref(p))
			put(p, "Drive", object{"SerialNumber": fmt.Sprintf("S%06d", i), "Model": "SSD", "Revision": "1.0", "CapacityBytes": 1920383410176,
				"MediaType": "SSD", "Protocol": "NVMe", "Status": object{"State": "Enabled", "Health": "OK"}})
		}
		return object{"Drives": drives, "Volumes": ref(system + "/Storage/1/Volumes"),
			"StorageControllers": []any{object{"MemberId": "0", "Name": "RAID", "FirmwareVersion": "5.1", "SerialNumber": "RC01"}}}
	})
	collection(system+"/Storage/1/Volumes", "Volume", 2, func(int) object { return object{"CapacityBytes": 1920383410176, "RAIDType": "RAID1"} })
	mac := func(i int) string { return fmt.Sprintf("02:00:00:00:00:%02X", i) }
	collection(system+"/EthernetInterfaces", "EthernetInterface", 4, func(i int) object {
		return object{"MACAddress": mac(i), "PermanentMACAddress": mac(i)}
	})
	collection(system+"/NetworkInterfaces", "NetworkInterface", 4, func(i int) object {
		return object{"Links": object{"NetworkAdapter": ref(fmt.Sprintf("%s/NetworkAdapters/%d", chassis, i+1))}}
	})
	collection(root+"/Chassis", "Chassis", 1, func(int) object {
		return object{"SerialNumber": "SN0001", "ChassisType": "RackMount", "Manufacturer": "Contoso", "Model": "3500",
			"Power": ref(chassis + "/Power"), "Thermal": ref(chassis + "/Thermal"), "NetworkAdapters": ref(chassis + "/NetworkAdapters"),
			"Links": object{"ComputerSystems": []any{ref(system)}, "ManagedBy": []any{ref(root + "/Managers/1")}}}
	})
	collection(chassis+"/NetworkAdapters", "NetworkAdapter", 4, func(i int) object {
		p := fmt.Sprintf("%s/NetworkAdapters/%d", chassis, i+1)
		collection(p+"/NetworkPorts", "NetworkPort", 1, func(int) object {
			return object{"AssociatedNetworkAddresses": []string{mac(i)}, "LinkStatus": "Up"}
		})
		return object{"Manufacturer": "Contoso", "Model": "25G", "SerialNumber": fmt.Sprintf("N%04d", i), "NetworkPorts": ref(p + "/NetworkPorts"),
			"Controllers": []any{object{"FirmwarePackageVersion": "22.1"}}}
	})
	put(chassis+"/Power", "Power", object{"PowerSupplies": []any{
		object{"MemberId": "0", "Name": "PSU1", "SerialNumber": "P1", "FirmwareVersion": "1.2", "PowerCapacityWatts": 1400},
		object{"MemberId": "1", "Name": "PSU2", "SerialNumber": "P2", "FirmwareVersion": "1.2", "PowerCapacityWatts": 1400}}})
	put(chassis+"/Thermal", "Thermal", object{"Fans": []any{object{"MemberId": "0", "Name": "Fan 1", "Reading": 4200, "ReadingUnits": "RPM"}}})
	collection(root+"/Managers", "Manager", 1, func(int) object {
		return object{"ManagerType": "BMC", "FirmwareVersion": "7.0.1", "Model": "CBMC", "EthernetInterfaces": ref(root + "/Managers/1/EthernetInterfaces")}
	})
	collection(root+"/Managers/1/EthernetInterfaces", "EthernetInterface", 1, func(int) object { return object{"MACAddress": mac(99)} })
	put(root+"/UpdateService", "UpdateService", object{"FirmwareInventory": ref(root + "/UpdateService/FirmwareInventory")})
	collection(root+"/UpdateService/FirmwareInventory", "SoftwareInventory", 25, func(i int) object {
		return object{"Version": fmt.Sprintf("1.%d.0", i), "Updateable": true}
	})
	put(root+"/SessionService", "SessionService", object{"Sessions": ref(root + "/SessionService/Sessions")})
	return t
}
