package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// settingsHandle remembers what this step is about to write, before it writes: a call whose answer
// was lost then still tells its writes, and a certificate that changes is expected only once a write
// that may change it was begun.
type settingsHandle struct {
	Intent []plan.Write `json:"intent,omitempty"`
	Told   []string     `json:"told,omitempty"` // fields whose write is recorded
	Asked  time.Time    `json:"asked,omitzero"`
	Lost   int          `json:"lost,omitempty"` // writes so far whose answer was lost
}

// tell takes writes into what is recorded and gives those that were not.
func (h *settingsHandle) tell(writes []plan.Write) []plan.Write {
	fresh := untold(writes, h.Told)
	h.Told = append(h.Told, names(fresh)...)
	return fresh
}

// settingsSettle is how long a BMC may take to show a new setting: some restart their network stack
// or web server for a new host name.
const settingsSettle = 2 * time.Minute

// settingsLost is how many writes without an answer are made. A connection that broke may have
// carried the new host name to a BMC that now restarts its network, or may have broken before; so
// after a fifth of the settling time what still differs is written again.
const settingsLost = 3

// settings brings the BMC's own settings to the profile's baseline, and writes only what differs.
func (a *Site) settings(ctx context.Context, c Call) (Result, error) {
	want, h, err := begin[plan.WantSettings, settingsHandle](c)
	if err != nil {
		return Result{}, err
	}
	ctrl, learned, err := a.reopen(ctx, c, slices.ContainsFunc(h.Intent, func(w plan.Write) bool { return w.Field == "hostname" }))
	if err != nil {
		if !h.Asked.IsZero() && errors.Is(err, bmc.ErrUnreachable) && a.Clock().Sub(h.Asked) < a.patience(settingsSettle) {
			return again(a.Poll, h, "the BMC takes its new settings")
		}
		return Result{}, err
	}
	defer func() { _ = ctrl.Close(ctx) }()
	if learned != nil {
		return relearned(h, learned)
	}
	now, unsupported, err := ctrl.ManagerSettings(ctx)
	if err != nil {
		return Result{}, err
	}
	write, diff := settingsDiff(want, now, unsupported, a.Clock())
	if len(diff) == 0 {
		return settingsDone(h, want, now, unsupported)
	}
	waited := a.Clock().Sub(h.Asked)
	if lost := h.Lost > 0 && h.Lost < settingsLost && waited > a.patience(settingsSettle)/5; !h.Asked.IsZero() && !lost {
		if waited < a.patience(settingsSettle) {
			return again(a.Poll, h, "waiting for the BMC to show %s", fields(diff))
		}
		return Result{}, fault.New(fault.NotApplied, "the BMC accepted %s and still shows the old value after %s", fields(diff), a.patience(settingsSettle))
	}
	if len(h.Intent) == 0 {
		h.Intent = diff
		return again(0, h, "writing %s", fields(diff))
	}
	return a.writeSettings(ctx, ctrl, want, write, diff, h)
}

// writeSettings writes what differs. When that ends badly, it tells first what arrived of it, and
// fails with the next call.
func (a *Site) writeSettings(ctx context.Context, ctrl bmc.Controller, want plan.WantSettings, write bmc.ManagerSettings, diff []plan.Write, h settingsHandle) (Result, error) {
	err := ctrl.SetManagerSettings(ctx, write)
	switch {
	case err == nil:
		h.Lost, h.Asked = 0, a.Clock()
		return wrote(h, h.tell(diff), "wrote %s", fields(diff))
	// The write's own read-back may meet the certificate that goes with the new host name, or a BMC
	// that restarts its network: the next call proves the serial again and reads back.
	case write.Hostname != "" && errors.Is(err, bmc.ErrPinChanged):
		h.Lost, h.Asked = 0, a.Clock()
		return again(0, h, "wrote %s", fields(diff))
	case write.Hostname != "" && errors.Is(err, bmc.ErrUnreachable):
		h.Lost, h.Asked = h.Lost+1, a.Clock()
		return again(0, h, "wrote %s, and the BMC gave no answer", fields(diff))
	}
	now, unsupported, readErr := ctrl.ManagerSettings(ctx)
	if readErr != nil {
		return Result{}, err
	}
	_, rest := settingsDiff(want, now, unsupported, a.Clock())
	arrived := untold(diff, names(rest))
	if fresh := h.tell(arrived); len(fresh) > 0 {
		return wrote(h, fresh, "wrote %s, then: %v", fields(fresh), err)
	}
	return Result{}, err
}

// settingsDone ends the step when nothing differs any more. What the profile asks for and the BMC does
// not have stops it then: everything else is set, and a person decides with the list before them.
func settingsDone(h settingsHandle, want plan.WantSettings, now bmc.ManagerSettings, unsupported []string) (Result, error) {
	changed := len(h.Intent) > 0
	fresh := h.tell(h.Intent)
	if missing := wanted(want, unsupported); len(missing) > 0 {
		if len(fresh) > 0 {
			return wrote(h, fresh, "the other settings are the baseline's")
		}
		f := fault.New(fault.Unsupported, "this BMC does not offer %s, which the profile sets; its other settings are the baseline's", list(missing))
		for _, field := range missing {
			f.Details = append(f.Details, fault.Item{Subject: field, Expected: asked(want)[field], Seen: "not offered by this BMC"})
		}
		return Result{}, f
	}
	data, err := json.Marshal(map[string]any{"settings": now, "not_offered": unsupported})
	if err != nil {
		return Result{}, fmt.Errorf("bmc-settings: encode: %w", err)
	}
	return Result{Done: &Done{
		Changed: changed, Writes: fresh, Summary: "the BMC's settings are the baseline's",
		Evidence: []operation.Evidence{{Kind: "bmc-settings", Title: "The BMC's settings, read back", Data: data}},
	}}, nil
}

// settingsDiff compares and returns what to write: only fields of the baseline, only those that
// differ, only those that this BMC has. The clock is written when NTP alone would leave it wrong now.
func settingsDiff(want plan.WantSettings, now bmc.ManagerSettings, unsupported []string, clock time.Time) (bmc.ManagerSettings, []plan.Write) {
	var write bmc.ManagerSettings
	var diff []plan.Write
	differs := func(field, before, after string, set func()) {
		if after == "" || sameSetting(field, before, after) || slices.Contains(unsupported, field) {
			return
		}
		set()
		diff = append(diff, plan.Write{System: "bmc", Object: "manager", Field: field, Before: before, After: after})
	}
	differs("hostname", now.Hostname, want.Hostname, func() { write.Hostname = want.Hostname })
	differs("ntp_servers", list(now.NTPServers), list(want.NTP), func() { write.NTPServers = want.NTP })
	if len(want.NTP) > 0 && now.NTPEnabled != nil && !*now.NTPEnabled {
		differs("ntp_enabled", "false", "true", func() {
			on := true
			write.NTPEnabled = &on
		})
	}
	differs("dns_servers", list(now.DNSServers), list(want.DNS), func() { write.DNSServers = want.DNS })
	if !now.SendsTo(want.Syslog) {
		differs("syslog", now.Syslog, want.Syslog, func() { write.Syslog = want.Syslog })
	}
	if skew := now.Clock.Sub(clock); want.MaxClockSkew > 0 && !now.Clock.IsZero() &&
		skew.Abs() > time.Duration(want.MaxClockSkew)*time.Second {
		differs("clock", now.Clock.UTC().Format(time.RFC3339), "the time of writing", func() { write.Clock = clock })
	}
	return write, diff
}

// sameSetting compares what a value means: a BMC may write an address otherwise than the profile.
func sameSetting(field, a, b string) bool {
	if field == "ntp_servers" || field == "dns_servers" {
		return bmc.SameAddresses(strings.Split(a, ", "), strings.Split(b, ", "))
	}
	return strings.EqualFold(a, b)
}

// asked gives what the baseline asks for, by field.
func asked(want plan.WantSettings) map[string]string {
	all := map[string]string{
		"hostname": want.Hostname, "ntp_servers": list(want.NTP), "dns_servers": list(want.DNS), "syslog": want.Syslog,
	}
	if want.MaxClockSkew > 0 {
		all["clock"] = fmt.Sprintf("off by at most %d s", want.MaxClockSkew)
	}
	return all
}

// wanted gives the unsupported fields that the baseline asks for.
func wanted(want plan.WantSettings, unsupported []string) []string {
	all := asked(want)
	var out []string
	for _, field := range unsupported {
		if all[field] != "" {
			out = append(out, field)
		}
	}
	return out
}

func list(values []string) string { return strings.Join(values, ", ") }

func fields(writes []plan.Write) string { return list(names(writes)) }

func names(writes []plan.Write) []string {
	out := make([]string, len(writes))
	for i, w := range writes {
		out[i] = w.Field
	}
	return out
}
