package issue

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// planSpent are the faults after which a retry meets the same: the plan itself no longer fits.
var planSpent = []fault.Code{fault.Drift, fault.OutsidePlan, fault.Aborted}

// Parked finds the steps that wait for a person. Machines of one operation that wait in the same step
// for the same reason are one issue.
func Parked(f Facts) []Issue {
	type key struct {
		op   operation.ID
		step string
		code fault.Code
	}
	groups := map[key][]operation.RunRow{}
	var order []key
	for _, r := range f.Waiting {
		k := key{r.Operation, r.Step, reason(r).Code}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], r)
	}
	out := make([]Issue, 0, len(order))
	for _, k := range order {
		out = append(out, parked(groups[k]))
	}
	return out
}

// reason gives why a run waits. A run without a fault is a work order or a pause of its own.
func reason(r operation.RunRow) *fault.Error {
	switch {
	case r.Error != nil:
		return r.Error
	case r.Current != nil && r.Current.Error != nil:
		return r.Current.Error
	case r.Current != nil && r.Current.Progress != nil:
		return &fault.Error{Message: r.Current.Progress.Text, Remedy: "do what the step asks for, then tell Cagenut"}
	}
	return &fault.Error{Message: "it waits for a person", Remedy: "look at the run, then retry, skip or abort"}
}

func parked(runs []operation.RunRow) Issue {
	first := runs[0]
	why := reason(first)
	i := Issue{Kind: KindParked, Severity: Act, Operation: first.Operation, Step: first.Step, Site: first.Asset.Site,
		Why: why.Message, Remedy: cmp.Or(why.Remedy, fault.Remedy(why.Code)), Fault: why, Count: len(runs), Since: first.Updated}
	refs := make([]asset.Ref, len(runs))
	for n, r := range runs {
		refs[n] = r.Asset
		if !r.Updated.IsZero() && r.Updated.Before(i.Since) {
			i.Since = r.Updated
		}
		if n < someShown {
			i.Machines = append(i.Machines, Machine{Ref: r.Asset, Says: reason(r).Message})
		}
	}
	i.Title = fmt.Sprintf("%s waits in %s", first.Asset.Name, cmp.Or(first.Step, "its first step"))
	if len(runs) > 1 {
		i.Title = fmt.Sprintf("%s wait in %s", machines(len(runs)), cmp.Or(first.Step, "their first step"))
	}
	i.Commands = Steering(first.Operation, first.Step, refs, why.Code, first.Current)
	return i
}

// Steering gives the commands with which a person goes on with parked machines of one operation, the
// one that mostly helps first.
func Steering(op operation.ID, step string, refs []asset.Ref, code fault.Code, current *operation.Step) []Command {
	which := Targets(refs, step)
	retry := Command{"try again", fmt.Sprintf("cagenut op retry %s %s", op, which)}
	abort := Command{"give up, and let go", fmt.Sprintf("cagenut op abort %s %s --reason \"...\"", op, which)}
	if code == fault.PinChanged && len(refs) == 1 {
		retry = Command{"try again with the new certificate, after proving that it is right",
			fmt.Sprintf("cagenut op retry %s %s --accept-pin FINGERPRINT", op, which)}
	}
	if slices.Contains(planSpent, code) {
		return []Command{abort}
	}
	out := []Command{retry}
	if current != nil && !current.Unskippable {
		out = append(out, Command{"leave this step out", fmt.Sprintf("cagenut op skip %s %s --reason \"...\"", op, which)})
	}
	return append(out, abort)
}

// Targets gives the flags that name machines: a few by name, many as all that are in the same step.
func Targets(refs []asset.Ref, step string) string {
	if len(refs) > fewMachine {
		if step == "" || word(step, "") == "" {
			return "--all"
		}
		return "--all --step " + step
	}
	names := make([]string, len(refs))
	for i, r := range refs {
		names[i] = word(r.Name, r.ID.String())
	}
	return "--asset " + strings.Join(names, ",")
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// word gives s where a shell and our own flags take it as it stands, else instead: names come from
// NetBox, and a command is pasted into an administrator's terminal.
func word(s, instead string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return instead
}
