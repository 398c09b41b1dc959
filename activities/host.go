package activities

import (
	"strings"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/plan"
)

// How long a host may take to be there for configuration management. Looks that nobody made count for
// nothing; see watch.
const (
	// hostLook is the pause between two looks at a host.
	hostLook = 5 * time.Second
	// hostKey is until its key is there: a minion starts, finds its master and asks once in ten seconds.
	hostKey = 10 * time.Minute
	// hostAnswers is until it answers: a host that was just enrolled takes seconds, one that boots minutes.
	hostAnswers = 5 * time.Minute
	// hostSilent is how long it may be away in the middle of a run: a state may restart its network.
	hostSilent = 10 * time.Minute
	// hostBusy is how long another run may keep it.
	hostBusy = 30 * time.Minute
	// hostSettles is how long checks may take to hold: a service may still be starting.
	hostSettles = 5 * time.Minute
	// runLook is the pause between two looks at a run.
	runLook = 2 * time.Second
)

// hostOf gives the driver of a system, and how it knows the host.
func (a *Site) hostOf(c Call, s plan.System) (configmgmt.Driver, configmgmt.Target, error) {
	t := configmgmt.Target{Name: s.Host}
	if n := c.Known.Network; n != nil && n.Address().IsValid() {
		t.Address = n.Address().String()
	}
	d, err := a.Configs.Driver(s.Driver)
	return d, t, err
}

// hostWrite is a write to what configuration management has of a host, or to the host through it.
func hostWrite(s plan.System, field, after string) plan.Write {
	return plan.Write{System: s.Driver, Object: "host " + s.Host, Field: field, Before: plan.Unknown, After: after}
}

// sameKey compares fingerprints, whichever way they are written.
func sameKey(x, y string) bool {
	plain := strings.NewReplacer(":", "", "=", "", " ", "")
	if strings.HasPrefix(x, "SHA256:") { // OpenSSH's, where letter case counts
		return plain.Replace(x) == plain.Replace(y)
	}
	return x != "" && strings.EqualFold(plain.Replace(x), plain.Replace(y))
}

// wait asks for another look while a host has not been waited for too long since stage; then it is err.
func (a *Site) wait(w *watch, handle any, stage string, most time.Duration, err error) (Result, error) {
	waited := w.look(stage, a.Clock(), 3*a.patience(hostLook))
	if waited <= a.patience(most) {
		return again(a.patience(hostLook), handle, "%s", stage)
	}
	f := translate(err)
	f.Message += " (waited for " + waited.Round(time.Second).String() + ")"
	return Result{}, f
}
