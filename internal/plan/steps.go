package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/profile"
)

// The step kinds. A kind's desired values have the struct of the same name below.
const (
	KindPreflight   = "preflight"
	KindIdentity    = "identity"
	KindStage       = "stage"
	KindCredentials = "bmc-credentials"
	KindSettings    = "bmc-settings"
	KindFirmware    = "firmware"
	KindBIOS        = "bios"
	KindHardware    = "hardware"
	KindAddresses   = "addresses"
	KindInstalled   = "installed"
	KindAgent       = "agent"
	KindBurnIn      = "burn-in"
	KindDisks       = "disk-layout"
	KindOS          = "os-install"
	KindConfigure   = "configure"
	KindValidate    = "validate"
	KindInService   = "in-service"

	// KindDiagnose stands in no plan: the executor runs it when a step at a site parks, so that the
	// event log's tail and the boot progress are among the evidence. It changes nothing.
	KindDiagnose = "diagnose"
	// KindStop stands in no plan either: the executor runs it when a configure step is aborted, so that its run
	// on the host ends too. It has the desired values and the handles of that step.
	KindStop = "stop"
)

// WantPreflight says that NetBox must still say what the plan was made from.
type WantPreflight struct {
	Reads []Read `json:"reads"` // see Reads
}

// WantIdentity says that the BMC must prove this serial.
type WantIdentity struct {
	Serial string `json:"serial"`
}

// WantStage moves the NetBox status From one of these To that.
type WantStage struct {
	From []string `json:"from"`
	To   string   `json:"to"`
}

// WantCredentials gives the account a password of its own machine.
type WantCredentials struct {
	Account string `json:"account"`
	Length  int    `json:"length"` // characters, 16 to 20: IPMI 2.0 stores at most 20
}

// WantSettings are the BMC's own settings. Empty fields are not written.
type WantSettings struct {
	Hostname     string   `json:"hostname,omitempty"`
	NTP          []string `json:"ntp,omitempty"`
	DNS          []string `json:"dns,omitempty"`
	Syslog       string   `json:"syslog,omitempty"`
	MaxClockSkew int      `json:"max_clock_skew_seconds,omitempty"`
}

// WantFirmware lists the components, in the order of installing.
type WantFirmware struct {
	Components []Image `json:"components"`
}

// Image is one firmware image with the version that it must show.
type Image struct {
	Component      string  `json:"component"`
	Version        string  `json:"version"`
	File           string  `json:"file"`
	SHA256         string  `json:"sha256"`
	Size           int64   `json:"size"`
	Reboot         string  `json:"reboot"` // none, host
	Push           string  `json:"push"`   // auto, pull, multipart
	AllowDowngrade bool    `json:"allow_downgrade,omitempty"`
	Via            []Image `json:"via,omitempty"`
}

// WantBIOS are the attributes to set, and no others.
type WantBIOS struct {
	BootMode   string         `json:"boot_mode,omitempty"`
	Attributes map[string]any `json:"attributes,omitempty"`
}

// WantHardware is what must be in the machine, and the MACs that NetBox names.
type WantHardware struct {
	Hardware profile.Hardware `json:"hardware"`
	MACs     []WantMAC        `json:"macs,omitempty"`
	// NotJudged names what the profile and NetBox ask for and the BMC's protocol cannot tell.
	NotJudged []string `json:"not_judged,omitempty"`
}

// Named lists in words what is asked for.
func (w WantHardware) Named() []string {
	h := w.Hardware
	var out []string
	for _, n := range []struct {
		what  string
		asked bool
	}{
		{"CPUs", h.CPUs > 0 || h.CPUModel != ""}, {"GPUs", h.GPUs > 0}, {"memory", h.MemoryGiB > 0 || h.DIMMs > 0},
		{"drives", len(h.Drives) > 0}, {"volumes", len(h.Volumes) > 0}, {"NIC ports", h.NICPorts > 0},
		{"power supplies", h.PowerSupplies > 0}, {"health", h.Health != ""}, {"Secure Boot", h.SecureBoot != nil},
		{"TPM", h.TPM != ""}, {"MACs", len(w.MACs) > 0},
	} {
		if n.asked {
			out = append(out, n.what)
		}
	}
	return out
}

// WantAddresses gives the machine a primary address of each pool, on an interface, with a DNS name. A
// primary address that it has is kept.
type WantAddresses struct {
	Interface string   `json:"interface"`
	Pools     []string `json:"pools"` // prefixes; of each address family one address, from the first that has one left
	DNSName   string   `json:"dns_name,omitempty"`
	// Network is what the site's configuration adds to NetBox's for the machine's network; nil: none is
	// derived.
	Network *WantNetwork `json:"network,omitempty"`
}

// WantNetwork is what NetBox does not know of a machine's network.
type WantNetwork struct {
	Domain   string              `json:"domain,omitempty"`
	Gateways []netip.Addr        `json:"gateways,omitempty"` // candidates: the one inside a primary address's prefix is taken
	DNS      []netip.Addr        `json:"dns,omitempty"`
	Search   []string            `json:"search,omitempty"`
	Bond     netconf.BondOptions `json:"bond,omitzero"`
}

// System is an installed system, as it can be told from another.
type System struct {
	// Digest is the SHA-256 of all that it is made from: the profile's OS part, the site's sources, an
	// image's own digest. The same digest is the same system.
	Digest string `json:"digest"`
	Host   string `json:"host"`   // the name that configuration management knows it by
	Driver string `json:"driver"` // salt, ansible; empty: nobody can prove what runs there
}

// WantInstalled asks whether the machine already runs this system. It changes nothing: the steps that
// follow leave alone what is proved.
type WantInstalled struct {
	System System `json:"system"`
}

// WantAgent boots the agent in RAM, learns what the machine itself sees, and chooses the disks.
type WantAgent struct {
	System  System           `json:"system"`
	Boot    WantBoot         `json:"boot"`
	Root    profile.RootDisk `json:"root"`
	Disks   int              `json:"disks"` // how many the hints must match: 2 are mirrored
	MACs    []WantMAC        `json:"macs,omitempty"`
	Machine json.RawMessage  `json:"machine"` // a templates.Machine without network, disks and URL
}

// WantBoot is how a machine boots over the network, once.
type WantBoot struct {
	Way      string `json:"way"`           // pxe, http, vmedia
	Firmware string `json:"firmware"`      // uefi, bios
	MAC      string `json:"mac"`           // of the port that it boots from
	URL      string `json:"url,omitempty"` // for http and vmedia: what the BMC is pointed at
}

// WantBurnIn loads the machine through the agent. Boot brings back an agent that fell silent, on a retry.
type WantBurnIn struct {
	System System         `json:"system"`
	Boot   WantBoot       `json:"boot"`
	BurnIn profile.BurnIn `json:"burn_in"`
}

// WantDisks erases, through the agent, the disks that the agent step chose. Boot is as for WantBurnIn.
type WantDisks struct {
	System System   `json:"system"`
	Boot   WantBoot `json:"boot"`
}

// WantOS installs the operating system: by the installer that Boot starts, or, for an image, through the
// agent.
type WantOS struct {
	System  System          `json:"system"`
	Boot    WantBoot        `json:"boot"`
	OS      profile.OS      `json:"os"`
	Machine json.RawMessage `json:"machine"` // a templates.Machine without network, disks and URL
	// ImageURL and ImageSHA256 are the image's, where the method is to write one.
	ImageURL    string `json:"image_url,omitempty"`
	ImageSHA256 string `json:"image_sha256,omitempty"`
}

// WantConfigure hands the machine to configuration management.
type WantConfigure struct {
	System System                   `json:"system"`
	Config profile.ConfigManagement `json:"config"`
}

// WantValidate are the checks that must hold before the machine goes in service.
type WantValidate struct {
	System System         `json:"system"`
	Checks profile.Checks `json:"checks"`
}

// WantInService moves the NetBox status From one of these To that, and tells people.
type WantInService struct {
	From []string `json:"from"`
	To   string   `json:"to"`
}

// WantMAC is a MAC address that NetBox expects, with the interface that it is entered on.
type WantMAC struct {
	Interface string `json:"interface"`
	MAC       string `json:"mac"`
}

// Encode puts desired values into a step. It panics on a value that has no JSON form, which only a
// defect in a runbook can cause.
func Encode(want any) json.RawMessage {
	raw, err := json.Marshal(want)
	if err != nil {
		panic(fmt.Sprintf("plan: encode %T: %v", want, err))
	}
	return raw
}

// Decode reads a step's desired values. An unknown field is an error: a plan made by a newer
// version is not half understood.
func Decode[T any](s Step) (T, error) {
	var want T
	dec := json.NewDecoder(bytes.NewReader(s.Want))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&want); err != nil {
		return want, fmt.Errorf("step %s/%d: desired values: %w", s.Kind, s.Version, err)
	}
	return want, nil
}
