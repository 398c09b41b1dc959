package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// state is all of a machine that changes. It is written whole to the store after each change, so
// what is not exported here is lost when the box dies, and everything in it must be plain data.
type state struct {
	Seq      int       `json:"seq"` // last number given to a session, task, event or volume
	Power    string    `json:"power"`
	Boot     string    `json:"boot"`      // BootProgress.LastState
	PostCode int       `json:"post_code"` // as a port-80 card would show it
	Boots    int       `json:"boots"`
	Reset    time.Time `json:"reset,omitzero"` // last start of the BMC
	Later    []later   `json:"later,omitempty"`

	Accounts    []account `json:"accounts"`
	Sessions    []session `json:"sessions,omitempty"`
	MaxSessions int       `json:"max_sessions"` // most that were ever open at once
	Timeout     int       `json:"session_timeout"`

	Firmware map[string]string `json:"firmware"`           // component -> version that runs
	Staged   map[string]string `json:"staged,omitempty"`   // component -> version after the next reboot
	Previous map[string]string `json:"previous,omitempty"` // component -> version before the last flash

	BIOS      map[string]any `json:"bios"`
	Pending   map[string]any `json:"bios_pending,omitempty"`
	Scheduled bool           `json:"bios_scheduled,omitempty"` // Pending applies at the next reboot
	Override  override       `json:"override"`

	SecureBoot    bool          `json:"secure_boot"`     // as asked for
	SecureBootNow bool          `json:"secure_boot_now"` // as this boot used it
	Media         string        `json:"media,omitempty"` // image URL, empty when nothing is inserted
	AssetTag      string        `json:"asset_tag"`       //
	LED           bool          `json:"led"`             // the locator lamp
	CertGen       int           `json:"cert_generation"` // which certificate the BMC shows
	DownUntil     time.Time     `json:"down_until,omitzero"`
	Manager       manager       `json:"manager"`
	Log           []event       `json:"log,omitempty"`
	Tasks         []task        `json:"tasks,omitempty"`
	Volumes       []volume      `json:"volumes,omitempty"`
	Destinations  []destination `json:"destinations,omitempty"`
	Host          host          `json:"host,omitzero"`
}

// later is something that will happen to a machine at a time.
type later struct {
	At  time.Time `json:"at"`
	Do  string    `json:"do"`
	Arg string    `json:"arg,omitempty"`
}

type account struct {
	ID             string    `json:"id"`
	User           string    `json:"user"` // empty: a free slot
	Salt           string    `json:"salt"`
	Hash           string    `json:"hash"`
	Role           string    `json:"role"`
	Enabled        bool      `json:"enabled"`
	ChangeRequired bool      `json:"change_required,omitempty"`
	Failures       int       `json:"failures,omitempty"`
	LockedUntil    time.Time `json:"locked_until,omitzero"`
}

// setPassword keeps a salted hash: the state folder of a demo is no place for passwords.
func (a *account) setPassword(salt, password string) {
	a.Salt, a.Hash = salt, hashPassword(salt, password)
}

func (a *account) accepts(password string) bool {
	return a.Hash != "" && a.Hash == hashPassword(a.Salt, password)
}

func hashPassword(salt, password string) string {
	h := sha256.Sum256([]byte(salt + "\x00" + password))
	return hex.EncodeToString(h[:])
}

type session struct {
	ID      string    `json:"id"`
	Hash    string    `json:"hash"` // of the token
	User    string    `json:"user"`
	From    string    `json:"from"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used"` // exact in memory, on disk as of the last change
}

type override struct {
	Target  string `json:"target"`
	Enabled string `json:"enabled"` // Disabled, Once, Continuous
	Mode    string `json:"mode"`    // UEFI, Legacy
	URI     string `json:"uri,omitempty"`
}

type manager struct {
	HostName string        `json:"hostname"`
	NTP      []string      `json:"ntp,omitempty"`
	NTPOn    bool          `json:"ntp_on"`
	DNS      []string      `json:"dns,omitempty"`
	Syslog   string        `json:"syslog,omitempty"` // host
	Port     int           `json:"syslog_port"`
	SyslogOn bool          `json:"syslog_on"`
	Offset   string        `json:"offset"` // of the local time, +00:00
	Skew     time.Duration `json:"skew"`   // how far the BMC's clock is ahead
}

type event struct {
	ID       int       `json:"id"`
	Time     time.Time `json:"time"` // by the BMC's own clock
	Severity string    `json:"severity"`
	Message  string    `json:"message"`
	Code     string    `json:"code"`
}

// Kinds of tasks.
const (
	taskUpdate = "update"
	taskBIOS   = "bios"
	taskVolume = "volume"
)

type task struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Name    string    `json:"name"`
	State   string    `json:"state"` // DSP2046 TaskState
	Start   time.Time `json:"start"`
	Flash   time.Time `json:"flash,omitzero"` // when writing began; progress is counted from here
	End     time.Time `json:"end,omitzero"`
	Message string    `json:"message"`
	URI     string    `json:"image_uri,omitempty"` // still to be downloaded
	Image   Image     `json:"image,omitzero"`
	Stuck   bool      `json:"stuck,omitempty"`
	Volume  volume    `json:"volume,omitzero"`
}

func (t task) done() bool {
	switch t.State {
	case "Completed", "Exception", "Killed", "Cancelled":
		return true
	}
	return false
}

type volume struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	RAID   string   `json:"raid"`
	Bytes  int64    `json:"bytes"`
	Drives []string `json:"drives"`
}

type destination struct {
	ID       string `json:"id"`
	URL      string `json:"url"`
	Context  string `json:"context"`
	Protocol string `json:"protocol"`
	Kind     string `json:"kind"`
}

// accountOf finds an account in use; letter case counts, as on most BMCs.
func (s *state) accountOf(user string) *account {
	if user == "" {
		return nil
	}
	for i := range s.Accounts {
		if s.Accounts[i].User == user {
			return &s.Accounts[i]
		}
	}
	return nil
}

func (s *state) taskOf(id string) *task {
	for i := range s.Tasks {
		if s.Tasks[i].ID == id {
			return &s.Tasks[i]
		}
	}
	return nil
}

// next gives a number that this machine has not given before.
func (s *state) next() int { s.Seq++; return s.Seq }

// cancel drops what was to happen later of the given kinds.
func (s *state) cancel(kinds ...string) {
	kept := s.Later[:0]
	for _, l := range s.Later {
		if !slices.Contains(kinds, l.Do) {
			kept = append(kept, l)
		}
	}
	s.Later = kept
}

// on tells whether the host has power, whatever it is about to do.
func (s *state) on() bool { return s.Power == "On" || s.Power == "PoweringOff" }

func trimURL(p string) string {
	if p = strings.TrimRight(p, "/"); p == "" {
		return "/"
	}
	return p
}
