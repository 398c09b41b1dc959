//go:build e2e

package kills

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/test/e2e/stack"
)

// point is one mutating call of an install, to a BMC or through the gate, as it comes in a run that nothing
// disturbs.
type point struct {
	Method string // or the way through the gate
	Path   string // regular expression; the names that a BMC gives to new things are left open. Of the gate: the call
	Nth    int    // of the calls with this method and path, from 0
	Brings string // what goes with it on some flavours only: another certificate
	at     time.Time
}

// gated tells that the gate holds it, not the box.
func (p point) gated() bool { return p.Method == toAPI || p.Method == toSalt }

// impatient tells that firmware asks once more because it got no answer within seconds. There are two boots that
// ask: the agent's and the installer's.
func (p point) impatient() bool {
	return p.Method == toAPI && p.Nth > 1 && (p.Path == "boot/lookup" || p.Path == "boot/event asked")
}

func (p point) String() string {
	return fmt.Sprintf("%s %s #%d%s", p.Method, strings.TrimPrefix(p.plain(), "/redfish/v1/"), p.Nth+1, p.Brings)
}

// pointsOf lists the calls of a machine's journal in the order in which they came.
func pointsOf(journal []sim.Entry) []point {
	var out []point
	seen := map[string]int{}
	for _, e := range journal {
		if e.Effect == sim.EffectCertificate && len(out) > 0 {
			out[len(out)-1].Brings = " with " + e.Effect
		}
		if e.Kind != sim.KindRequest {
			continue
		}
		path := "^" + regexp.QuoteMeta(e.Path) + "$"
		if e.Method == toAPI || e.Method == toSalt {
			path = e.Path
		}
		if at := strings.LastIndexByte(e.Path, '/'); e.Method == http.MethodDelete && strings.HasSuffix(e.Path[:at], "/Sessions") {
			path = "^" + regexp.QuoteMeta(e.Path[:at]) + "/[^/]+$"
		}
		key := e.Method + " " + path
		out = append(out, point{Method: e.Method, Path: path, Nth: seen[key], at: e.Time})
		seen[key]++
	}
	return out
}

// members are the collections whose members each vendor names differently.
var members = regexp.MustCompile(`(?i)/(systems|managers|chassis|accounts|networkadapters|ethernetinterfaces|storage|volumes|certificates|jobs)/[^/]+`)

// pattern is the point's call as it is known across vendors: without names, numbers and case,
// and with what it brings.
func (p point) pattern() string {
	return p.Method + " " + strings.ToLower(members.ReplaceAllString(p.plain(), "/$1/*")) + p.Brings
}

// plain is the path as one types it.
func (p point) plain() string { return strings.ReplaceAll(strings.Trim(p.Path, "^$"), `\`, "") }

// hold keeps back the point's answer on a machine.
func (p point) hold(machine, phase string) sim.Fault {
	return sim.Fault{Machine: machine, Method: p.Method, Path: p.Path, Skip: p.Nth, Phase: phase, Action: sim.ActHold}
}

// counted are the effects that hurt when they are done twice.
var counted = []string{
	sim.EffectPowerOn, sim.EffectPowerOff, sim.EffectHostReboot, sim.EffectBoot, sim.EffectFlash, sim.EffectFirmwareActive,
	sim.EffectBMCReboot, sim.EffectBIOSApplied, sim.EffectPasswordChanged, sim.EffectAccountChanged, sim.EffectCertificate,
	sim.EffectVolumeCreated, sim.EffectVolumeDeleted,
	sim.EffectNetBoot, sim.EffectErase, sim.EffectWrite, sim.EffectOSUp,
}

// ofHosts are effects that tell that a host goes on.
var ofHosts = []string{sim.EffectNetBoot, sim.EffectAgent, sim.EffectErase, sim.EffectWrite, sim.EffectOSUp}

// done counts what was done to a machine by its BMC and by Salt, see effects.
func done(s *stack.Stack, machine string, beganOff bool) map[string]int {
	out := effects(s.Journal(machine), beganOff)
	for _, what := range s.Salt(machine) {
		out["salt "+what]++
	}
	return out
}

// server is the address of a site's worker, which each stack has its own of.
var server = regexp.MustCompile(`//127\.0\.0\.1:\d+`)

// effects counts what was done to a machine, by effect and detail. A machine that was off at first
// was spared the first of its power-offs: it is counted here, so that all machines compare.
func effects(journal []sim.Entry, beganOff bool) map[string]int {
	out := map[string]int{}
	for _, e := range journal {
		if e.Kind == sim.KindEffect && slices.Contains(counted, e.Effect) {
			detail := e.Detail
			if e.Effect == sim.EffectErase { // it names the machine's own disks
				detail = fmt.Sprintf("of %d disks", len(strings.Fields(detail)))
			}
			out[strings.TrimSpace(e.Effect+" "+server.ReplaceAllString(detail, "//"))]++
		}
	}
	if beganOff {
		out[sim.EffectPowerOff]++
	}
	return out
}
