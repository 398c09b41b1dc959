package sim

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// How long things take at Speed 1. Real machines take a hundred times longer; what matters is that
// a client has to look more than once.
const (
	timeOn       = 300 * time.Millisecond
	timeOff      = 200 * time.Millisecond
	timeShutdown = 500 * time.Millisecond
	timeStage    = 150 * time.Millisecond
	timeFlash    = 800 * time.Millisecond
	timeNTP      = 300 * time.Millisecond
	timeVolume   = 500 * time.Millisecond
)

// stages is a boot, as BootProgress.LastState and the POST code that goes with it. Settings and
// firmware that wait for a reboot take effect at stageApply.
var stages = []struct {
	name string
	post int
}{
	{"PrimaryProcessorInitializationStarted", 0x02},
	{"MemoryInitializationStarted", 0x15},
	{"PCIResourceConfigStarted", 0x92},
	{"SystemHardwareInitializationComplete", 0x9A},
	{"OSBootStarted", 0xAD},
	{"OSRunning", postDone},
}

const (
	stageApply = 2
	stageOS    = 4
	postDone   = 0xB0
)

func (m *Machine) startPowerOn(t time.Time) {
	m.st.Power = "PoweringOn"
	m.later(t, timeOn, doPowerOn, "")
}

func (m *Machine) startPowerOff(t time.Time, d time.Duration, do string) {
	m.st.cancel(doBoot, doPowerOn)
	m.st.Power = "PoweringOff"
	m.later(t, d, do, "")
}

func (m *Machine) powerIsOn(t time.Time) {
	m.st.Power = "On"
	m.effect(t, EffectPowerOn, "")
	m.log(&m.st, t, "OK", "SystemPowerOn", "The system was powered on.")
	m.startBoot(t)
}

func (m *Machine) powerIsOff(t time.Time) {
	m.stopHost()
	m.st.Power, m.st.Boot, m.st.PostCode = "Off", "None", 0
	m.effect(t, EffectPowerOff, "")
	m.log(&m.st, t, "OK", "SystemPowerOff", "The system was powered off.")
}

func (m *Machine) startBoot(t time.Time) {
	m.stopHost()
	m.st.cancel(doBoot)
	m.st.Boots++
	m.later(t, timeStage, doBoot, "0")
}

func (m *Machine) bootStage(t time.Time, arg string) {
	st := &m.st
	n, err := strconv.Atoi(arg)
	if err != nil || n < 0 || n >= len(stages) {
		return // written by another version of the box
	}
	st.Boot, st.PostCode = stages[n].name, stages[n].post
	switch n {
	case stageApply:
		m.applyFirmware(t)
		m.applyBIOS(t)
		if st.SecureBootNow != st.SecureBoot {
			st.SecureBootNow = st.SecureBoot
			m.effect(t, EffectSecureBoot, strconv.FormatBool(st.SecureBoot))
		}
	case stageOS:
		m.effect(t, EffectBoot, m.bootSource())
		source, _, _ := strings.Cut(m.bootSource(), " ")
		m.startHost(source, st.Override.URI)
		if st.Override.Enabled == "Once" && !m.box.faults.takeHost(m.spec.Name, ActKeepsBoot, "override") {
			st.Override = override{Target: "None", Enabled: "Disabled", Mode: m.f.bootMode(st.BIOS)}
		}
	}
	if n+1 < len(stages) {
		m.later(t, timeStage, doBoot, strconv.Itoa(n+1))
	}
}

// bootSource is what the host boots from now.
func (m *Machine) bootSource() string {
	o := m.st.Override
	if o.Enabled == "Disabled" || o.Target == "None" {
		return "Hdd"
	}
	switch {
	case o.Target == "Cd" && m.st.Media != "":
		return "Cd " + bareURL(m.st.Media)
	case o.Target == "UefiHttp" && o.URI != "":
		return "UefiHttp " + bareURL(o.URI)
	}
	return o.Target
}

// resetHost is ComputerSystem.Reset.
func resetHost(c *call) *answer {
	kind, isText := c.body["ResetType"].(string)
	if !isText {
		if c.body["ResetType"] != nil {
			return badValue("ResetType", c.body["ResetType"], "it must be text")
		}
		return failure(http.StatusBadRequest, "ActionParameterMissing", "The action %s requires the parameter %s to be present.", "ComputerSystem.Reset", "ResetType")
	}
	if !slices.Contains(c.f.resets, kind) {
		return failure(http.StatusBadRequest, "ActionParameterNotSupported",
			"The value %s for the parameter ResetType of the action ComputerSystem.Reset is not supported.", short(kind))
	}
	m, st := c.m, &c.m.st
	if c.powerIgnored {
		return noContent()
	}
	on := st.Power == "On" || st.Power == "PoweringOn"
	if moving := st.Power == "PoweringOff"; moving && kind != "ForceOff" {
		return failure(http.StatusConflict, "ResourceInStandby", "The system is powering off.")
	}
	switch kind {
	case "On", "ForceOn":
		if on {
			return c.f.alreadyOn()
		}
		m.startPowerOn(c.now)
	case "ForceOff":
		if st.Power == "Off" {
			return c.f.alreadyOn()
		}
		m.st.cancel(doPowerOff, doCycle)
		m.startPowerOff(c.now, timeOff, doPowerOff)
	case "GracefulShutdown":
		if !on {
			return c.f.alreadyOn()
		}
		m.startPowerOff(c.now, timeShutdown, doPowerOff)
	case "PowerCycle":
		if !on {
			return notWhileOff(kind)
		}
		m.startPowerOff(c.now, timeOff, doCycle)
	case "ForceRestart", "GracefulRestart":
		if !on {
			return notWhileOff(kind)
		}
		if st.Power == "On" {
			m.effect(c.now, EffectHostReboot, kind)
			m.startBoot(c.now)
			st.Boot, st.PostCode = "None", 0
		}
	case "PushPowerButton":
		if on {
			m.startPowerOff(c.now, timeShutdown, doPowerOff)
		} else {
			m.startPowerOn(c.now)
		}
	case "Nmi":
		if !on {
			return notWhileOff(kind)
		}
		m.log(st, c.now, "Warning", "Nmi", "A diagnostic interrupt was sent.")
	}
	m.dirty = true
	return noContent()
}

func notWhileOff(kind string) *answer {
	return failure(http.StatusConflict, "ResetRequired", "%s needs a system that is powered on.", kind)
}
