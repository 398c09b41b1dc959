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

// settingsHandle remembers what this step is about to write, before it writes: the evidence then
// shows before and after although a crash came in between, and a certificate that changes is
// expected only once a write that may change it was begun.
type settingsHandle struct {
	Wrote   []plan.Write     `json:"wrote,omitempty"`
	Asked   time.Time        `json:"asked,omitzero"`
	Lost    int              `json:"lost,omitempty"` // writes so far whose answer was lost
	Learned *operation.Known `json:"learned,omitempty"`
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
	want, err := plan.Decode[plan.WantSettings](c.Step)
	if err != nil {
		return Result{}, err
	}
	h, err := resume[settingsHandle](c)
	if err != nil {
		return Result{}, err
	}
	if h.Learned != nil {
		c.Known.Pin = h.Learned.Pin
	}
	ctrl, learned, err := a.reopen(ctx, c, slices.ContainsFunc(h.Wrote, func(w plan.Write) bool { return w.Field == "hostname" }))
	if err != nil {
		if !h.Asked.IsZero() && errors.Is(err, bmc.ErrUnreachable) && a.Clock().Sub(h.Asked) < a.patience(settingsSettle) {
			return again(a.Poll, h, "the BMC takes its new settings")
		}
		return Result{}, err
	}
	defer func() { _ = ctrl.Close(ctx) }()
	if learned != nil {
		h.Learned = learned
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
	if len(h.Wrote) == 0 {
		h.Wrote = diff
		return again(0, h, "writing %s", fields(diff))
	}
	err = ctrl.SetManagerSettings(ctx, write)
	// The write's own read-back may meet the certificate that goes with the new host name, or a BMC
	// that restarts its network: the next call proves the serial again and reads back.
	passing := write.Hostname != "" && (errors.Is(err, bmc.ErrPinChanged) || errors.Is(err, bmc.ErrUnreachable))
	if err != nil && !passing {
		return Result{}, err
	}
	if errors.Is(err, bmc.ErrUnreachable) {
		h.Lost++
	} else {
		h.Lost = 0
	}
	h.Asked = a.Clock()
	return again(0, h, "wrote %s", fields(diff))
}

func settingsDone(h settingsHandle, want plan.WantSettings, now bmc.ManagerSettings, unsupported []string) (Result, error) {
	done := &Done{Changed: len(h.Wrote) > 0, Writes: h.Wrote, Learned: h.Learned, Summary: "the BMC's settings are the baseline's"}
	if missing := wanted(want, unsupported); len(missing) > 0 {
		done.Summary += "; not offered by this BMC: " + strings.Join(missing, ", ")
	}
	data, err := json.Marshal(map[string]any{"settings": now, "not_offered": unsupported})
	if err != nil {
		return Result{}, fmt.Errorf("bmc-settings: encode: %w", err)
	}
	done.Evidence = []operation.Evidence{{Kind: "bmc-settings", Title: "The BMC's settings, read back", Data: data}}
	return Result{Done: done}, nil
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

// wanted gives the unsupported fields that the baseline asks for.
func wanted(want plan.WantSettings, unsupported []string) []string {
	asked := map[string]bool{
		"hostname": want.Hostname != "", "ntp_servers": len(want.NTP) > 0, "dns_servers": len(want.DNS) > 0,
		"syslog": want.Syslog != "", "clock": want.MaxClockSkew > 0,
	}
	var out []string
	for _, field := range unsupported {
		if asked[field] {
			out = append(out, field)
		}
	}
	return out
}

func list(values []string) string { return strings.Join(values, ", ") }

func fields(writes []plan.Write) string {
	names := make([]string, len(writes))
	for i, w := range writes {
		names[i] = w.Field
	}
	return list(names)
}
