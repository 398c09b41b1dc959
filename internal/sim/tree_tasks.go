package sim

import (
	"net/http"
	"strings"
	"time"
)

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func (t tree) tasks() {
	f, service := t.f, "/redfish/v1/TaskService"
	t.get(service, func(c *call) obj {
		r := resource(service, "TaskService.v1_2_0.TaskService", "TaskService", "Task Service")
		r["ServiceEnabled"], r["Status"], r["Tasks"] = true, status("OK"), ref(service+"/Tasks")
		r["DateTime"] = c.clock()
		return r
	})
	list := func(path, typ, name string) *route {
		return t.get(path, func(c *call) obj {
			var ids []string
			for _, k := range c.m.st.Tasks {
				ids = append(ids, k.ID)
			}
			return collection(path, typ, name, children(path, ids))
		})
	}
	list(service+"/Tasks", "TaskCollection", "Tasks").members = &route{get: func(c *call) obj {
		if k := c.m.st.taskOf(c.id); k != nil {
			return c.taskBody(k, c.path)
		}
		return nil
	}}
	if f.taskMonitors {
		t.at(service + "/TaskMonitors").members = &route{answer: func(c *call) *answer {
			k := c.m.st.taskOf(c.id)
			switch {
			case k == nil:
				return notFound(c.path)
			case !k.done():
				return c.accepted(k)
			case k.State == "Completed":
				return noContent()
			}
			return failure(http.StatusBadRequest, "OperationFailed", "%s", k.Message)
		}}
	}
	if f.jobsPath != "" {
		jobs := list(f.jobsPath, "JobCollection", "Jobs")
		jobs.members = &route{get: dellJob}
		jobs.post = func(c *call) *answer {
			if target, _ := c.body["TargetSettingsURI"].(string); !strings.EqualFold(trimURL(target), f.systemPath()+"/"+f.biosSettings) {
				return badValue("TargetSettingsURI", target, "use the BIOS settings object")
			}
			if len(c.m.st.Pending) == 0 {
				return failure(http.StatusBadRequest, "NoOperation", "There are no pending settings.")
			}
			return c.scheduleBIOS()
		}
	}
}

func (c *call) taskBody(k *task, path string) obj {
	r := resource(path, "Task.v1_7_1.Task", k.ID, k.Name)
	r["TaskState"], r["TaskStatus"], r["StartTime"] = k.State, "OK", stamp(k.Start)
	r["PercentComplete"] = c.m.percent(k, c.now)
	if k.done() {
		r["EndTime"] = stamp(k.End)
	}
	severity := "OK"
	if k.State == "Exception" {
		r["TaskStatus"], severity = "Critical", "Critical"
	}
	m := message("TaskProgressChanged", severity, "%s", k.Message)
	m["MessageArgs"] = []string{}
	r["Messages"] = []obj{m}
	if c.f.taskMonitors {
		r["TaskMonitor"] = "/redfish/v1/TaskService/TaskMonitors/" + k.ID
	}
	return r
}

// dellJob is a task as iDRAC's job queue shows it.
func dellJob(c *call) obj {
	k := c.m.st.taskOf(c.id)
	if k == nil {
		return nil
	}
	state := map[string]string{"Pending": "Scheduled", "Exception": "Failed"}[k.State]
	if state == "" {
		state = k.State
	}
	r := resource(c.path, "DellJob.v1_5_0.DellJob", k.ID, k.Name)
	r["JobState"], r["Message"], r["PercentComplete"] = state, k.Message, c.m.percent(k, c.now)
	r["StartTime"] = stamp(k.Start)
	r["JobType"] = map[string]string{taskUpdate: "FirmwareUpdate", taskBIOS: "BIOSConfiguration", taskVolume: "RAIDConfiguration"}[k.Kind]
	if k.done() {
		r["CompletionTime"] = stamp(k.End)
	} else {
		r["CompletionTime"] = nil
	}
	return r
}

func (t tree) updates() {
	f, service := t.f, "/redfish/v1/UpdateService"
	action := service + "/Actions/UpdateService.SimpleUpdate"
	push, bare := service+"/MultipartUpload", service+"/update"
	t.get(service, func(c *call) obj {
		r := resource(service, "UpdateService.v1_11_3.UpdateService", "UpdateService", "Update Service")
		r["ServiceEnabled"], r["Status"], r["MaxImageSizeBytes"] = true, status("OK"), maxImage
		r["FirmwareInventory"] = ref(service + "/FirmwareInventory")
		if f.simpleUpdate {
			r["Actions"] = obj{"#UpdateService.SimpleUpdate": obj{
				"target": action, "TransferProtocol@Redfish.AllowableValues": []string{"HTTP", "HTTPS"},
			}}
		}
		if f.pushMultipart {
			r["MultipartHttpPushUri"] = push
		}
		if f.pushBare {
			r["HttpPushUri"] = bare
		}
		return r
	})
	if f.simpleUpdate {
		t.at(action).post = simpleUpdate
	}
	if f.pushMultipart {
		p := t.at(push)
		p.post, p.raw = pushUpdate, true
	}
	if f.pushBare {
		p := t.at(bare)
		p.post, p.raw = pushUpdate, true
	}
	inventory := service + "/FirmwareInventory"
	r := t.get(inventory, func(c *call) obj {
		var ids []string
		for _, s := range c.m.software() {
			ids = append(ids, s.id)
		}
		return collection(inventory, "SoftwareInventoryCollection", "Firmware Inventory", children(inventory, ids))
	})
	r.members = &route{get: func(c *call) obj {
		for _, s := range c.m.software() {
			if s.id != c.id {
				continue
			}
			r := resource(c.path, "SoftwareInventory.v1_9_0.SoftwareInventory", s.id, s.name)
			r["Version"], r["Updateable"], r["SoftwareId"] = s.version, s.current, c.f.name+"-"+s.key
			r["Status"] = obj{"State": "Enabled", "Health": "OK"}
			if !s.current {
				r["Status"] = obj{"State": "Disabled", "Health": "OK"}
			}
			r["ReleaseDate"] = "2025-11-04T00:00:00Z"
			r["RelatedItem"] = refs(c.f.relatedTo(s.key)...)
			r["RelatedItem@odata.count"] = 1
			return r
		}
		return nil
	}}
}

// software is an entry of the firmware inventory.
type software struct {
	key, id, name, version string
	current                bool
}

// software lists what the inventory shows. An iDRAC puts the version into the Id, and lists the
// version before the last update too.
func (m *Machine) software() []software {
	var out []software
	for _, comp := range m.f.components {
		s := software{comp.key, comp.id, comp.name, m.st.Firmware[comp.key], true}
		if m.f.skuIsSerial {
			s.id = "Installed-" + comp.release + "-" + s.version + "__" + comp.id
			if old := m.st.Previous[comp.key]; old != "" {
				p := s
				p.id, p.version, p.current = "Previous-"+comp.release+"-"+old+"__"+comp.id, old, false
				out = append(out, p)
			}
		}
		out = append(out, s)
	}
	return out
}

// relatedTo is what a component's firmware runs on.
func (f *flavour) relatedTo(key string) []string {
	switch key {
	case ComponentBMC:
		return []string{f.managerPath()}
	case ComponentRAID:
		return []string{f.storagePath() + "/" + f.hw.raid.id}
	case ComponentNIC:
		if f.ports != portsNone {
			return []string{f.chassisPath() + "/NetworkAdapters/" + f.hw.nic.id}
		}
	case ComponentPSU, ComponentCPLD:
		return []string{f.chassisPath()}
	}
	return []string{f.systemPath()}
}
