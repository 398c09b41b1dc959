// Package issue tells what is wrong, why, and what a person does about it. The pages show it, and
// nothing else decides what is worth a person's attention.
//
// Words
//
//   - Facts: what is known at one moment: sites with their workers, live runs, parked runs, what this
//     server has not done yet. Facts are gathered elsewhere and bounded in number.
//   - Evaluator: a function of Facts that knows one way in which things go wrong. It gives an Issue for
//     each case, or none. Evaluators know nothing of each other.
//   - Issue: one thing that is wrong, with its severity, the reason, a remedy, and commands to copy. A
//     command is safe to paste: what comes from outside stands in it only when it needs no quoting.
//
// The package is pure: no I/O, no clock of its own. All functions may be called from anywhere.
package issue

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// Severity says how soon a person should act.
type Severity string

// The severities, worst first.
const (
	Act  Severity = "act"  // something stands still until a person acts
	Warn Severity = "warn" // it works, and will not for long or not for all
	Note Severity = "note" // worth knowing
)

func (s Severity) rank() int { return slices.Index([]Severity{Act, Warn, Note}, s) }

// The kinds of issues.
const (
	KindParked     = "parked"      // a step waits for a person
	KindSiteAway   = "site-away"   // no worker of a site, or no central one, answers
	KindClockSkew  = "clock-skew"  // a worker's clock is off
	KindVersionMix = "version-mix" // workers and server are of different versions
	KindPaused     = "paused-long" // an operation was paused and maybe forgotten
	KindNotRelayed = "not-relayed" // Temporal was not told of what was asked for
	KindNotBegun   = "not-begun"   // Temporal was told, and nobody begins
	KindNotSealed  = "not-sealed"  // the audit chain is not kept up
)

// Bounds, each with its reason.
const (
	MaxSkew    = 2 * time.Second      // more, and evidence of two sites cannot be put in order
	PausedLong = time.Hour            // whoever paused for a look has looked
	Unrelayed  = 30 * time.Second     // the relay looks every second; Temporal's own failover takes some 10 s
	NotBegun   = 2 * time.Minute      // a busy central worker takes seconds
	Unsealed   = time.Minute          // the sealer works every second
	FreshFor   = config.SiteAwayAfter // three heartbeats were lost
	fewMachine = 20                   // up to so many are named in a command
	someShown  = 8                    // and so many with their own words
)

// Facts are what is known at Now.
type Facts struct {
	Now        time.Time
	Version    string              // of this server
	Sites      []operation.Site    // the central workers stand under the empty slug
	Live       []operation.Live    // counts of live runs
	Waiting    []operation.RunRow  // parked runs, maybe not all
	Operations []operation.Summary // live ones, maybe not all
	Backlog    operation.Backlog
}

// Issue is one thing that is wrong.
type Issue struct {
	Kind      string
	Severity  Severity
	Title     string       // what is wrong, in a sentence
	Why       string       // what was seen
	Remedy    string       // what to do
	Fault     *fault.Error // for parked steps: the first machine's, with its details
	Commands  []Command
	Since     time.Time // zero: not known
	Site      string
	Operation operation.ID
	Step      string
	Machines  []Machine // at most 8, of Count
	Count     int
}

// Command is something to copy.
type Command struct {
	About string // what it does
	Text  string
}

// Machine is a machine that an issue is about.
type Machine struct {
	Ref  asset.Ref
	Says string
}

// Evaluator knows one way in which things go wrong.
type Evaluator func(Facts) []Issue

// Evaluators lists all evaluators.
func Evaluators() []Evaluator {
	return []Evaluator{Parked, SitesAway, ClockSkew, VersionMix, PausedForLong, NotRelayed, NotBegunYet, NotSealed}
}

// Find runs all evaluators and gives what they found: worst first, and of equal severity the oldest
// first.
func Find(f Facts) []Issue {
	var out []Issue
	for _, e := range Evaluators() {
		out = append(out, e(f)...)
	}
	slices.SortStableFunc(out, func(a, b Issue) int {
		return cmp.Or(cmp.Compare(a.Severity.rank(), b.Severity.rank()), a.Since.Compare(b.Since))
	})
	return out
}

// SitesAway finds sites whose workers are silent.
func SitesAway(f Facts) []Issue {
	var out []Issue
	for _, s := range f.Sites {
		if s.State == "up" {
			continue
		}
		i := Issue{Kind: KindSiteAway, Severity: Warn, Site: s.Slug, Title: fmt.Sprintf("Site %s is away", s.Slug),
			Remedy:   "start the worker beside the site's BMCs, or repair its way to Temporal and to the API; what waits goes on by itself",
			Commands: []Command{{"start the site's worker, on its machine", "cagenut worker --site " + word(s.Slug, "SITE")}}}
		if s.Slug == "" {
			i.Title, i.Severity = "No central worker answers", Act
			i.Remedy = "start a central worker; without one no operation moves"
			i.Commands = []Command{{"start a central worker", "cagenut worker"}}
		}
		for _, w := range s.Workers {
			if w.At.After(i.Since) {
				i.Since = w.At
			}
		}
		i.Why = "No worker has ever spoken for it"
		if !i.Since.IsZero() {
			i.Why = fmt.Sprintf("Its last worker was silent for %s; after %s it counts as away", round(f.Now.Sub(i.Since)), round(FreshFor))
		}
		for _, l := range f.Live {
			if l.Site == s.Slug || s.Slug == "" {
				i.Count += l.Runs
			}
		}
		if i.Count > 0 {
			i.Severity = Act
			i.Why += fmt.Sprintf("; %s cannot go on", machines(i.Count))
		}
		out = append(out, i)
	}
	return out
}

// fresh calls do for every worker that answers.
func (f Facts) fresh(do func(operation.Site, operation.Heartbeat)) {
	for _, s := range f.Sites {
		for _, w := range s.Workers {
			if f.Now.Sub(w.At) <= FreshFor {
				do(s, w)
			}
		}
	}
}

// ClockSkew finds workers whose clock is off.
func ClockSkew(f Facts) []Issue {
	var out []Issue
	f.fresh(func(s operation.Site, w operation.Heartbeat) {
		skew := time.Duration(w.SkewMS) * time.Millisecond
		if skew.Abs() <= MaxSkew {
			return
		}
		way := "ahead"
		if skew < 0 {
			way = "behind"
		}
		out = append(out, Issue{Kind: KindClockSkew, Severity: Warn, Site: s.Slug,
			Title:  fmt.Sprintf("The clock of %s is %.1f s %s", w.Worker, skew.Abs().Seconds(), way),
			Why:    fmt.Sprintf("It is more than %s off, so that the times in its evidence mislead, and certificates may seem invalid", round(MaxSkew)),
			Remedy: "repair NTP on that machine", Commands: []Command{{"look at the clock, on its machine", "timedatectl status"}}})
	})
	return out
}

// VersionMix finds workers of another version than this server's.
func VersionMix(f Facts) []Issue {
	by := map[string][]string{}
	f.fresh(func(_ operation.Site, w operation.Heartbeat) {
		if w.Version != f.Version {
			by[w.Version] = append(by[w.Version], w.Worker)
		}
	})
	var out []Issue
	for _, version := range slices.Sorted(maps.Keys(by)) {
		workers := slices.Sorted(slices.Values(by[version]))
		out = append(out, Issue{Kind: KindVersionMix, Severity: Note, Count: len(workers),
			Title:  fmt.Sprintf("Version %s runs beside this server's %s", orUnknown(version), f.Version),
			Why:    "Workers: " + list(workers) + ". One that lacks a step parks it",
			Remedy: "finish the upgrade: `cagenut migrate`, then restart serve, workers and sites in any order"})
	}
	return out
}

// PausedForLong finds operations that were paused and have not moved since.
func PausedForLong(f Facts) []Issue {
	since := map[operation.ID]time.Time{}
	for _, l := range f.Live {
		if at, ok := since[l.Operation]; l.State == operation.Paused && !l.Since.IsZero() && (!ok || l.Since.Before(at)) {
			since[l.Operation] = l.Since
		}
	}
	var out []Issue
	for _, o := range f.Operations {
		at, known := since[o.ID]
		if o.State != operation.Paused || !known || f.Now.Sub(at) < PausedLong {
			continue
		}
		n := o.Counts[operation.Paused] + o.Counts[operation.Queued]
		out = append(out, Issue{Kind: KindPaused, Severity: Warn, Operation: o.ID, Since: at, Count: n,
			Title:  fmt.Sprintf("Paused for %s: %s of %s", round(f.Now.Sub(at)), o.Kind, machines(o.Assets)),
			Why:    fmt.Sprintf("%s %s held by it, so that nobody else can work there; %s asked for it", machines(n), plural(n, "is", "are"), o.Actor),
			Remedy: "resume it, or abort it to let the machines go",
			Commands: []Command{
				{"go on", fmt.Sprintf("cagenut op resume %s --all", o.ID)},
				{"give up", fmt.Sprintf("cagenut op abort %s --all --reason \"...\"", o.ID)},
			}})
	}
	return out
}

// NotRelayed finds that Temporal has not been told of what was asked for.
func NotRelayed(f Facts) []Issue {
	b := f.Backlog
	if b.Unsent == 0 || f.Now.Sub(b.OldestUnsent) < Unrelayed {
		return nil
	}
	why := "No try has failed: maybe no `cagenut serve` relays, or it has just begun"
	if b.LastError != "" {
		why = "The last try said: " + b.LastError
	}
	return []Issue{{Kind: KindNotRelayed, Severity: Act, Since: b.OldestUnsent, Count: b.Unsent,
		Title: fmt.Sprintf("%d accepted %s not started for %s", b.Unsent, plural(b.Unsent, "request is", "requests are"), round(f.Now.Sub(b.OldestUnsent))),
		Why:   why, Remedy: fault.Remedy(fault.EngineAway) + "; what was accepted starts by itself when Temporal is back",
		Commands: []Command{{"see what does not answer", "cagenut doctor"}}}}
}

// NotBegunYet finds operations that Temporal knows and that no central worker has begun.
func NotBegunYet(f Facts) []Issue {
	var out []Issue
	for _, o := range f.Operations {
		if o.State != operation.Queued || f.Now.Sub(o.Created) < NotBegun ||
			(f.Backlog.Unsent > 0 && !o.Created.Before(f.Backlog.OldestUnsent)) { // NotRelayed tells of those
			continue
		}
		out = append(out, Issue{Kind: KindNotBegun, Severity: Warn, Operation: o.ID, Since: o.Created, Count: o.Assets,
			Title:  fmt.Sprintf("Queued for %s: %s of %s", round(f.Now.Sub(o.Created)), o.Kind, machines(o.Assets)),
			Why:    "Temporal was told of it, and no central worker has begun",
			Remedy: fault.Remedy(fault.EngineAway), Commands: []Command{{"see what does not answer", "cagenut doctor"}}})
	}
	return out
}

// NotSealed finds that the audit chain is not kept up.
func NotSealed(f Facts) []Issue {
	b := f.Backlog
	if b.Unsealed == 0 || f.Now.Sub(b.OldestRow) < Unsealed {
		return nil
	}
	return []Issue{{Kind: KindNotSealed, Severity: Warn, Since: b.OldestRow, Count: b.Unsealed,
		Title:    fmt.Sprintf("The audit chain is %s behind", round(f.Now.Sub(b.OldestRow))),
		Why:      fmt.Sprintf("%d %s not sealed: the sealer of `cagenut serve` stands still, or its key or head file cannot be used", b.Unsealed, plural(b.Unsealed, "row is", "rows are")),
		Remedy:   "look for the sealer in the log of `cagenut serve`; then verify the chain",
		Commands: []Command{{"recompute the chain and compare it with its signed head", "cagenut audit-log verify"}}}}
}

func machines(n int) string { return fmt.Sprintf("%d %s", n, plural(n, "machine", "machines")) }

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// round gives a duration as people say it.
func round(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}

func list(names []string) string {
	if len(names) > someShown {
		return strings.Join(names[:someShown], ", ") + fmt.Sprintf(" and %d more", len(names)-someShown)
	}
	return strings.Join(names, ", ")
}

func orUnknown(s string) string { return cmp.Or(s, "unknown") }
