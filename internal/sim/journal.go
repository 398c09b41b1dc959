package sim

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Kinds of journal entries.
const (
	KindRequest = "request" // a mutating request, whatever became of it
	KindEffect  = "effect"  // something that happened to a machine
)

// Effects.
const (
	EffectPowerOn         = "power-on"         // off -> on
	EffectPowerOff        = "power-off"        // on -> off
	EffectHostReboot      = "host-reboot"      // restart without a power cycle
	EffectPowerLoss       = "power-loss"       // the cord was pulled
	EffectBoot            = "boot"             // the host booted from something; Detail says from what
	EffectFlash           = "flash"            // an image was written; Detail is component=version
	EffectFirmwareActive  = "firmware-active"  // a version runs now; Detail is component=version
	EffectBMCReboot       = "bmc-reboot"       //
	EffectBIOSPending     = "bios-pending"     // attributes were asked for
	EffectBIOSApplied     = "bios-applied"     // attributes took effect
	EffectPasswordChanged = "password-changed" // Detail is the user
	EffectAccountChanged  = "account-changed"  // made, removed, renamed, another role
	EffectAccountLocked   = "account-locked"   // after too many wrong passwords
	EffectSessionOpened   = "session-opened"   // Detail is the session's ID
	EffectSessionClosed   = "session-closed"   //
	EffectSessionExpired  = "session-expired"  //
	EffectSettings        = "settings-changed" // of the BMC; Detail names what
	EffectCertificate     = "certificate-changed"
	EffectBootOverride    = "boot-override"
	EffectMedia           = "media" // inserted or ejected
	EffectSecureBoot      = "secure-boot"
	EffectVolumeCreated   = "volume-created"
	EffectVolumeDeleted   = "volume-deleted"
	EffectLogCleared      = "log-cleared"
	EffectAssetTag        = "asset-tag"
	// Of hosts.
	EffectNetBoot     = "network-boot"  // Detail: agent, installer, local, or what went wrong
	EffectErase       = "erase"         // Detail names the disks
	EffectWrite       = "write"         // a system was put on the disk; Detail is os=, and sha256= of an image
	EffectOSUp        = "os-up"         // the system on the disk came up, and its first boot was heard
	EffectAgent       = "agent-command" // the agent took a command; Detail is its kind and ID
	EffectHostStopped = "host-stopped"  // it hangs, or gave up; Detail says why
)

// Entry is one line of the journal. It never holds a password or a token.
type Entry struct {
	Seq     int64     `json:"seq"` // counts up over all machines, and over restarts
	Time    time.Time `json:"time"`
	Machine string    `json:"machine"`
	Kind    string    `json:"kind"`
	// Of requests.
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`
	User   string `json:"user,omitempty"`
	Status int    `json:"status,omitempty"` // 0: the client was gone before an answer, or got none
	Fault  string `json:"fault,omitempty"`  // ID of the rule that touched it
	// Of effects.
	Effect string `json:"effect,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Query selects journal entries; empty fields select everything.
type Query struct {
	Machine string
	Kind    string
	Effect  string
	Since   int64 // entries after this Seq
}

func (q Query) selects(e Entry) bool {
	return e.Seq > q.Since &&
		(q.Machine == "" || q.Machine == e.Machine) &&
		(q.Kind == "" || q.Kind == e.Kind) &&
		(q.Effect == "" || q.Effect == e.Effect)
}

// journal keeps all entries in memory; the store keeps them on disk.
type journal struct {
	mu      sync.Mutex
	last    int64
	entries []Entry
}

// load takes over what an earlier run wrote. Kills may leave gaps in the numbers.
func (j *journal) load(entries []Entry) {
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	j.entries = entries
	if n := len(entries); n > 0 {
		j.last = entries[n-1].Seq
	}
}

// add numbers the entries in place and keeps them.
func (j *journal) add(entries []Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range entries {
		j.last++
		entries[i].Seq = j.last
		j.entries = append(j.entries, entries[i])
	}
}

func (j *journal) query(q Query) []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := []Entry{}
	for _, e := range j.entries {
		if q.selects(e) {
			out = append(out, e)
		}
	}
	return out
}
