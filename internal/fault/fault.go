// Package fault is the vocabulary of what goes wrong: every failure that leaves a room carries one
// code from the table below, a sentence for people, and a remedy. What may be done about a failure
// (its class) follows from the code alone, so the executor, the API, the exit codes of the CLI and
// the pages all decide the same.
//
// Adapters return the errors of their ports; activities/errors.go translates those once. The
// package is pure.
package fault

import (
	"errors"
	"fmt"
)

// Class says what may be done about a failure.
type Class string

// The classes.
const (
	Retry  Class = "retry"  // passes by itself: try again within the step's policy
	Wait   Class = "wait"   // a person must act; the operation parks
	Refuse Class = "refuse" // what was asked for may not be done; nothing was changed
	Lost   Class = "lost"   // the effect is unknown: observe before doing anything
)

// Code names a failure. Codes are part of the API: they are never renamed or reused.
type Code string

// The codes.
const (
	Invalid          Code = "invalid"           // bad input: names field, value and remedy
	NotFound         Code = "not_found"         // no such thing
	Locked           Code = "locked"            // held by another operation
	Denied           Code = "denied"            // the caller's role or site does not allow it
	Unauthenticated  Code = "unauthenticated"   // no valid token
	Conflict         Code = "conflict"          // changed since it was read
	Incomplete       Code = "record_incomplete" // the NetBox record lacks something
	InService        Code = "in_service"        // the machine is or may be in service
	IllegalMove      Code = "illegal_move"      // the lifecycle forbids it
	NoProfile        Code = "no_profile"        // no profile, or several, match
	IdentityMismatch Code = "identity_mismatch" // the BMC's serial is not NetBox's
	DuplicateSerial  Code = "duplicate_serial"  // several NetBox devices carry this serial
	PinChanged       Code = "pin_changed"       // the BMC's certificate is not the pinned one
	Untrusted        Code = "untrusted"         // the certificate's chain is not from the given CA
	BadCredentials   Code = "bad_credentials"   // the BMC refused every password we have
	NoSecret         Code = "no_secret"         // there is no password for this BMC
	Unreachable      Code = "unreachable"       // no answer from a BMC
	Busy             Code = "busy"              // it answers, but not now
	Unsupported      Code = "unsupported"       // this hardware cannot do that
	Rejected         Code = "rejected"          // the other side refused the request, in its own words
	NotApplied       Code = "not_applied"       // accepted, but the value read back is another
	ServerError      Code = "server_error"      // the other side failed by itself (HTTP 5xx)
	OutsidePrefixes  Code = "outside_prefixes"  // an address that may not be dialled
	InventoryDenied  Code = "inventory_denied"  // NetBox refuses our token or a permission
	Malformed        Code = "malformed"         // an answer that makes no sense
	Downgrade        Code = "downgrade"         // newer firmware is installed than the profile wants
	BadImage         Code = "bad_image"         // a firmware file is missing or its SHA-256 differs
	TaskFailed       Code = "task_failed"       // the BMC says that its own task failed
	NotConverged     Code = "not_converged"     // still different after the allowed rounds
	Differs          Code = "hardware_differs"  // hardware is not what profile and NetBox say
	Deadline         Code = "deadline"          // the step's time is up
	SiteAway         Code = "site_away"         // no worker of the site answers
	InventoryAway    Code = "inventory_away"    // NetBox does not answer
	StoreAway        Code = "store_away"        // PostgreSQL does not answer
	WorkerLost       Code = "worker_lost"       // a worker took the call and gave no answer
	EngineAway       Code = "engine_away"       // Temporal, or every central worker, does not answer
	UnknownStep      Code = "unknown_step"      // this worker lacks the step's kind or version
	OutsidePlan      Code = "outside_plan"      // a write that the plan does not allow
	Drift            Code = "drift"             // the world is not what the plan read
	Aborted          Code = "aborted"           // an operator ended it
	WrongMachine     Code = "wrong_machine"     // a booting machine is not the one that is meant
	BootUsed         Code = "boot_used"         // a boot record, and with it its token, was closed
	BootExpired      Code = "boot_expired"      // a boot record's time is over
	BootClaimed      Code = "boot_claimed"      // another machine has claimed the boot record
	ForeignSite      Code = "foreign_site"      // the machine belongs to a site that the worker does not serve
	NoDHCP           Code = "no_dhcp"           // a machine was switched on and asked for nothing over the network
	NoPhoneHome      Code = "no_phone_home"     // it was told what to boot, and its kernel said nothing
	InstallerHangs   Code = "installer_hangs"   // an installer, or what it installed, stopped reporting
	InstallerFailed  Code = "installer_failed"  // an installer gave up, in its own words
	WrongOS          Code = "wrong_os"          // another system came up than was asked for
	AgentFailed      Code = "agent_failed"      // the agent could not do what it was told, or fell silent
	BurnInFailed     Code = "burn_in_failed"    // the machine does not hold under load
	NoRootDisk       Code = "no_root_disk"      // the hints do not choose the disks
	ConfigAway       Code = "config_away"       // configuration management does not answer, or fails by itself
	ConfigDenied     Code = "config_denied"     // it refuses our login or a permission
	HostAway         Code = "host_away"         // it answers, and the host does not answer it
	NotEnrolled      Code = "not_enrolled"      // it has seen no key of the host
	KeyMismatch      Code = "key_mismatch"      // the host's key is not the one that it phoned home
	RenderFailed     Code = "render_failed"     // its files do not render or compile: nothing was run
	ConfigFailed     Code = "config_failed"     // a state or task failed, or none applies
	ConfigLost       Code = "config_lost"       // nobody knows how far a run came
	CheckFailed      Code = "check_failed"      // a check of the profile does not hold
	Internal         Code = "internal"          // a defect of Cagenut
)

// entry is a row of the table.
type entry struct {
	class  Class
	remedy string // what to do when nothing better is known
}

// replan ends the remedies of what stands in a plan: a plan is frozen, so a retry sees nothing of what
// was corrected in NetBox or the profile since.
const replan = "`cagenut op abort` and install again"

var table = map[Code]entry{
	Invalid:          {Refuse, "correct the value and ask again"},
	NotFound:         {Refuse, "check the spelling: NetBox has the names of devices and racks and the slugs of sites, `cagenut op list` the operations"},
	Locked:           {Refuse, "wait for the operation that holds the machine, or abort it"},
	Denied:           {Refuse, "ask an administrator for the role or the site"},
	Unauthenticated:  {Refuse, "run `cagenut login`, or set CAGENUT_TOKEN"},
	Conflict:         {Wait, "look at what changed in NetBox: set it back and retry, or " + replan},
	Incomplete:       {Wait, "complete the record in NetBox, then install again; an operation that waits for it is aborted first (`cagenut op abort`)"},
	InService:        {Refuse, "this machine may carry production; it is not touched"},
	IllegalMove:      {Refuse, "set the status that the lifecycle allows in NetBox"},
	NoProfile:        {Wait, "add or narrow a profile (`cagenut profile check`), then install again; an operation that waits for it is aborted first (`cagenut op abort`)"},
	IdentityMismatch: {Wait, "find out which machine is behind this BMC address before anything else; a wrong cable: correct it and retry; a wrong serial or oob_ip in NetBox: correct it, " + replan},
	DuplicateSerial:  {Wait, "correct the serial in NetBox: the other device's, then retry; this one's, then " + replan},
	PinChanged:       {Wait, "if the BMC was replaced or reset on purpose, retry with --accept-pin; otherwise treat it as an intrusion"},
	Untrusted:        {Wait, "give the right CA for this site, or have the certificate replaced"},
	BadCredentials:   {Wait, "import the password (`cagenut bmc import`) or reset it on the machine, then retry; passwords go by serial, so when the serial in NetBox is wrong, correct it, " + replan},
	NoSecret:         {Wait, "import the factory password (`cagenut bmc import manifest.csv`), then retry; it goes by serial, so when the serial in NetBox is wrong, correct it, " + replan},
	Unreachable:      {Retry, "check the cable, the address and the out-of-band network, then retry"},
	Busy:             {Retry, "wait; close stale sessions on the BMC if it lasts"},
	Unsupported:      {Wait, "skip the step, or change the profile for this hardware, " + replan},
	Rejected:         {Wait, "read what was refused and why; something on the machine: mend it and retry; something in the profile: correct it, " + replan},
	NotApplied:       {Wait, "look at the BMC's own log; a BMC reset often helps; then retry"},
	ServerError:      {Retry, "look at the BMC's own log; a BMC reset often helps; then retry"},
	OutsidePrefixes:  {Wait, "add the prefix to the configuration of the site's worker and retry; a wrong oob_ip in NetBox: correct it, " + replan},
	InventoryDenied:  {Wait, "run `cagenut netbox setup` with an administrator's token, then retry"},
	Malformed:        {Retry, "a BMC reset or firmware update often helps; then retry"},
	Downgrade:        {Wait, "skip the step, or raise the profile's baseline or allow the downgrade in it, " + replan},
	BadImage:         {Wait, "add the file again (`cagenut firmware add`), then retry"},
	TaskFailed:       {Wait, "read the task's messages, then retry"},
	NotConverged:     {Wait, "look at the remaining differences; a machine that only did not take them: retry; a profile that asks for what it refuses: change it, " + replan},
	Differs:          {Wait, "mend the machine and retry; where NetBox or the profile is wrong: correct it, " + replan},
	Deadline:         {Wait, "look at the last progress, then retry"},
	SiteAway:         {Retry, "start the site's worker (`cagenut worker --site`); it goes on by itself"},
	InventoryAway:    {Retry, "check NetBox; it goes on by itself"},
	StoreAway:        {Retry, "check PostgreSQL; it goes on by itself"},
	WorkerLost:       {Retry, "look at the worker's log; then retry"},
	EngineAway:       {Retry, "check Temporal and the central workers (`cagenut doctor`)"},
	UnknownStep:      {Wait, "update the worker to a version that knows this step, then retry"},
	OutsidePlan:      {Wait, "make a new plan: " + replan},
	Drift:            {Wait, "make a new plan from what is now in NetBox: " + replan},
	Aborted:          {Wait, "install again"},
	WrongMachine:     {Wait, "compare MAC and serial of the machine with NetBox, and where its cables go, then retry"},
	BootUsed:         {Refuse, "boot the machine from its disk; an operator's retry makes a new one-time URL"},
	BootExpired:      {Refuse, "`cagenut op retry` makes a new one-time URL"},
	BootClaimed:      {Wait, "find out which two machines booted with the same MAC, then retry"},
	ForeignSite:      {Refuse, "look in NetBox at which site the device is, and which worker serves that network"},
	NoDHCP:           {Wait, "check the port's cable and VLAN, the DHCP server's answer for this MAC and the boot order, then retry"},
	NoPhoneHome:      {Wait, "look at the machine's console: its kernel may lack the port's driver, or not reach the boot service; then retry"},
	InstallerHangs:   {Wait, "look at the machine's console, then retry; a retry installs anew"},
	InstallerFailed:  {Wait, "read the machine's reason; mend it and retry; where the profile is wrong: correct it, " + replan},
	WrongOS:          {Wait, "look at what the mirror or the image really holds; correct it and retry; where the profile is wrong: correct it, " + replan},
	AgentFailed:      {Wait, "read what the agent said and look at the machine's console, then retry"},
	BurnInFailed:     {Wait, "replace the parts that failed, then retry"},
	NoRootDisk:       {Wait, "mend the machine's disks and retry; where the hints of os.root_disk are wrong: correct the profile, " + replan},
	ConfigAway:       {Retry, "check salt-api, or Ansible's programs on the site's worker (`cagenut config check`); it goes on by itself, or retry"},
	ConfigDenied:     {Wait, "give our user of configuration management the login and the permissions that it lacks (`cagenut config check`), then retry"},
	HostAway:         {Wait, "look at the machine's console: its minion or sshd must run, and its network reach configuration management; then retry"},
	NotEnrolled:      {Wait, "look at the machine's console: its minion must run, and reach the master; then retry"},
	KeyMismatch:      {Wait, "nothing was accepted: find out which machine shows the other key; where it is an old key of this one, have configuration management forget it, then retry"},
	RenderFailed:     {Wait, "read configuration management's words; correct its files and retry; where the profile is wrong: correct it, " + replan},
	ConfigFailed:     {Wait, "read configuration management's words; mend the machine or its files and retry; where the profile is wrong: correct it, " + replan},
	ConfigLost:       {Lost, "look at the machine, then retry: it begins with a test run, which tells what is left to do"},
	CheckFailed:      {Wait, "mend what does not hold and retry; where a check of the profile is wrong: correct it, " + replan},
	Internal:         {Wait, "report it with the operation's ID"},
}

// Codes returns every code, for the documentation and for tests.
func Codes() []Code {
	out := make([]Code, 0, len(table))
	for c := range table {
		out = append(out, c)
	}
	return out
}

// ClassOf gives the class of a code. An unknown code waits for a person.
func ClassOf(c Code) Class {
	if e, ok := table[c]; ok {
		return e.class
	}
	return Wait
}

// Remedy gives the general remedy for a code.
func Remedy(c Code) string { return table[c].remedy }

// Error is a failure with its code. It holds no secret and nothing that only a developer
// understands.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`           // what happened: the call, what was expected, what was seen
	Remedy  string `json:"remedy,omitempty"`  // what to do next
	Holder  string `json:"holder,omitempty"`  // for Locked: the operation that holds it
	Details []Item `json:"details,omitempty"` // all gaps or differences at once
	cause   error
}

// Item is one gap or difference.
type Item struct {
	Subject  string `json:"subject"` // what it is about, e.g. "oob_ip" or "drive 3"
	Expected string `json:"expected,omitempty"`
	Seen     string `json:"seen,omitempty"`
	Remedy   string `json:"remedy,omitempty"`
}

// New makes an Error with the code's general remedy.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Remedy: Remedy(code)}
}

// Wrap is New with a cause for errors.Is and logs; the cause's text is not shown to people.
func Wrap(cause error, code Code, format string, args ...any) *Error {
	e := New(code, format, args...)
	e.cause = cause
	return e
}

// Error gives the message; the remedy stands beside it where there is room.
func (e *Error) Error() string { return e.Message }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// Class is the class of the error's code.
func (e *Error) Class() Class { return ClassOf(e.Code) }

// From finds the Error in a chain. An error without one is a defect of Cagenut: Internal.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return Wrap(err, Internal, "%v", err)
}
