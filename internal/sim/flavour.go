package sim

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// flavour is how a vendor's BMC differs, as data. All machines of a flavour share one, and the
// routes that are built from it once.
type flavour struct {
	name         string
	vendor       string // ServiceRoot.Vendor
	product      string // ServiceRoot.Product
	manufacturer string // of the system
	model        string // of the system
	managerModel string
	server       string // the Server header
	latency      time.Duration
	serial       func(seed string) string
	mgmtPort     string // name of the BMC's interface in the source of truth

	// Names of resources.
	systemID, managerID, chassisID string
	biosPath                       string // below the system
	biosSettings                   string // below the system
	registryID                     string
	managerNIC                     string
	logID                          string // of the system event log
	logInManager                   bool   // it hangs on the manager, not on the system

	// Accounts.
	user           string // of the factory
	accountID      string // of that account
	accountSlots   int    // 0: accounts are made with POST
	accountsByName bool
	passwordMax    int
	passwordChange bool // the factory password must be changed first

	// Habits.
	skuIsSerial     bool // SKU is the serial that people know, SerialNumber the board's
	certFollowsName bool // another host name brings another certificate
	mediaInSystem   bool // today's places: VirtualMedia on the system too, Location instead of DeviceLocator
	needsIfMatch    bool // PATCH without If-Match is refused
	strictQuery     bool // unknown $queries are refused, not ignored
	quietPatch      bool // PATCH is answered with 204
	refuseSame      bool // a reset to the state that already is, is refused
	hidesTransition bool // tells On and Off only
	expand          expandSupport
	pageSize        int // of log pages; 0: all in one
	resets          []string
	syslog          syslogStyle
	ntpInProtocol   bool
	power           powerStyle
	ports           portStyle

	// Tasks and updates.
	jobPrefix      string // of task IDs
	jobsPath       string // where tasks stand once more, as jobs
	taskMonitors   bool
	bareAccepted   bool // 202 without a body
	jobWaits       bool // an update that waits for a reboot is a task that waits
	biosJobs       bool // pending settings make a job
	needsApplyTime bool // settings stay pending until an apply time or a job is given
	pendingOnly    bool // the settings object shows only what waits
	simpleUpdate   bool
	pushMultipart  bool
	pushBare       bool

	components     []component
	bios           []biosAttr
	bootModeAttr   string
	bootModeUEFI   string
	bootModeLegacy string
	hw             hardware
	raidVolume     string // RAID type of the volume that the factory made

	routes map[string]*route
}

type syslogStyle int

const (
	syslogNone syslogStyle = iota
	syslogDestination
	syslogDell
	syslogHPE
	syslogSupermicro
)

type powerStyle int

const (
	powerSubsystem powerStyle = 1 << iota // PowerSubsystem, ThermalSubsystem, Sensors
	powerLegacy                           // Power, Thermal
)

type portStyle int

const (
	portsModern portStyle = iota // NetworkAdapters/*/Ports
	portsLegacy                  // NetworkAdapters/*/NetworkPorts
	portsNone                    // EthernetInterfaces only
)

func serialer(prefix string, n int) func(string) string {
	return func(seed string) string { return prefix + word(seed, "serial", n) }
}

func flavourOf(name string) *flavour {
	f, ok := flavours[name]
	if !ok {
		panic(fmt.Sprintf("sim: unknown flavour %q", name))
	}
	return f
}

func (f *flavour) hostPorts() int { return f.hw.ports }

// hostName is the BMC's of the factory.
func (f *flavour) hostName(serial string) string { return strings.ToLower(f.mgmtPort) + "-" + serial }

func (f *flavour) systemPath() string  { return "/redfish/v1/Systems/" + f.systemID }
func (f *flavour) managerPath() string { return "/redfish/v1/Managers/" + f.managerID }
func (f *flavour) chassisPath() string { return "/redfish/v1/Chassis/" + f.chassisID }
func (f *flavour) storagePath() string { return f.systemPath() + "/Storage" }
func (f *flavour) taskPath(id string) string {
	return "/redfish/v1/TaskService/Tasks/" + id
}

func (f *flavour) taskID(n int) string {
	if f.jobPrefix != "" {
		return fmt.Sprintf("%s%012d", f.jobPrefix, 700000000000+n)
	}
	return fmt.Sprint(n)
}

func (f *flavour) sessionID(n int) string { return fmt.Sprint(n) }

func (f *flavour) volumeID(n int) string {
	if f.skuIsSerial {
		return fmt.Sprintf("Disk.Virtual.%d:%s", n, f.hw.raid.id)
	}
	return fmt.Sprint(n)
}

func (f *flavour) firstVolume() volume {
	drives := []string{f.hw.raidDrives[0].id, f.hw.raidDrives[1].id}
	return volume{ID: f.volumeID(0), Name: "OS", RAID: f.raidVolume, Bytes: f.hw.raidDrives[0].bytes, Drives: drives}
}

// raidDrive finds a drive of the RAID controller by its path.
func (f *flavour) raidDrive(path string) (drive, bool) {
	for _, d := range f.hw.raidDrives {
		if f.drivePath(f.hw.raid.id, d.id) == path {
			return d, true
		}
	}
	return drive{}, false
}

func (f *flavour) drivePath(storage, id string) string {
	return f.storagePath() + "/" + storage + "/Drives/" + id
}

// alreadyOn answers a reset to the state that already is.
func (f *flavour) alreadyOn() *answer {
	if f.refuseSame {
		return failure(http.StatusConflict, "NoOperation", "The system is already in the requested power state.")
	}
	return noContent()
}

// patched answers a PATCH that was carried out.
func (f *flavour) patched(c *call) *answer {
	if f.quietPatch {
		return noContent()
	}
	if r, _ := f.find(c.path); r != nil && r.get != nil {
		if body := r.get(c); body != nil {
			return ok(body)
		}
	}
	return success()
}

// hardware is what is in a machine of a flavour.
type hardware struct {
	cpus       []processor
	dimmSlots  []string
	populated  int // of dimmSlots, every n-th, so that both CPUs have some
	dimmGiB    int
	dimmMaker  string
	dimmPart   string
	raid       controller
	raidDrives []drive
	nvme       controller
	nvmeDrives []drive
	nic        controller
	ports      int // of the NIC
	psus       []string
	psuModel   string
	psuWatts   int
	fans       []string
	temps      []temperature
	tpm        string
}

type processor struct {
	id, model, maker string
	kind             string // ProcessorType
	cores, threads   int
	mhz              int
}

type controller struct{ id, name, maker, model string }

type drive struct {
	id, model, maker string
	bytes            int64
	media, protocol  string
}

type temperature struct {
	id      string
	celsius float64
	upper   float64
}

// drives makes n equal drives; id gets their number.
func drives(n int, id string, d drive) []drive {
	out := make([]drive, n)
	for i := range out {
		out[i] = d
		out[i].id = fmt.Sprintf(id, i)
	}
	return out
}

func numbered(n, first int, id string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(id, first+i)
	}
	return out
}
