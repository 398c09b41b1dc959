package salt

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/configmgmt"
)

// state is one state of a run as Salt returns it.
type state struct {
	ID      string          `json:"__id__"`
	SLS     string          `json:"__sls__"`
	Name    any             `json:"name"` // a text, mostly
	Number  int             `json:"__run_num__"`
	Ran     *bool           `json:"__state_ran__"` // false: left out, because of another
	Result  *bool           `json:"result"`        // null: would change (test run)
	Changes json.RawMessage `json:"changes"`
	Comment any             `json:"comment"`
	key     string          // module_|-id_|-name_|-function
}

// The ways in which Salt says in words what it has no code for.
const (
	requisiteFailed = "One or more requisite failed"
	isRunning       = "is running as PID"
	noTop           = "No Top file or master_tops data matches found"
	noStates        = "No states found for this minion"
)

// judge reads what a minion returned for state.apply.
func judge(op string, h configmgmt.Handle, r result) (configmgmt.Report, error) {
	over := func(kind error, words string) (configmgmt.Report, error) {
		return configmgmt.Report{}, &configmgmt.Error{Kind: kind, Op: op, Host: h.Target, Status: r.Retcode, Detail: configmgmt.Words(words), Over: true}
	}
	raw := bytes.TrimSpace(r.Return)
	if len(raw) == 0 {
		return over(configmgmt.ErrMalformed, "a result without a return")
	}
	switch raw[0] {
	case '[': // it never came to the states
		var list []any
		if err := json.Unmarshal(raw, &list); err != nil {
			return over(configmgmt.ErrMalformed, brief(string(raw)))
		}
		texts := make([]string, 0, len(list))
		for _, v := range list {
			texts = append(texts, fmt.Sprint(v))
		}
		all := strings.Join(texts, "\n")
		switch {
		case strings.Contains(all, isRunning):
			return over(configmgmt.ErrBusy, all)
		case strings.Contains(all, noTop), strings.Contains(all, noStates), all == "":
			return over(configmgmt.ErrNothing, all)
		}
		return over(configmgmt.ErrRender, all)
	case '"':
		var text string
		_ = json.Unmarshal(raw, &text) // it is what the minion said, in whatever form
		return over(configmgmt.ErrRejected, text)
	case '{':
	default:
		return over(configmgmt.ErrMalformed, brief(string(raw)))
	}
	var byKey map[string]state
	if err := json.Unmarshal(raw, &byKey); err != nil {
		return over(configmgmt.ErrMalformed, brief(string(raw)))
	}
	states := make([]state, 0, len(byKey))
	for k, s := range byKey {
		s.key = k
		states = append(states, s)
	}
	slices.SortFunc(states, func(a, b state) int { return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.key, b.key)) })
	if len(states) == 0 {
		return over(configmgmt.ErrNothing, "no state was run: the SLS files are empty for this minion")
	}
	if len(states) == 1 && strings.HasPrefix(states[0].key, "no_|-") {
		return over(configmgmt.ErrNothing, text(states[0].Comment))
	}
	out := tally(h, states)
	if !h.Test && slices.ContainsFunc(states, func(s state) bool { return s.Result == nil }) {
		return over(configmgmt.ErrMode, "the minion made a test run of it: nothing was changed")
	}
	if out.Failed == 0 && r.Retcode != 0 {
		out.State = configmgmt.Failed
		out.First = &configmgmt.Failure{Step: "state.apply", Words: fmt.Sprintf("every state is well, and yet Salt ended with code %d", r.Retcode)}
	}
	return out, nil
}

// tally counts states, which are in the order in which they ran.
func tally(h configmgmt.Handle, states []state) configmgmt.Report {
	out := configmgmt.Report{State: configmgmt.Succeeded, Test: h.Test, Steps: len(states)}
	var first, taken *state // taken: left out because of another
	for i := range states {
		s := &states[i]
		switch {
		case s.Result != nil && !*s.Result:
			out.Failed++
			if s.Ran != nil && !*s.Ran || strings.HasPrefix(text(s.Comment), requisiteFailed) {
				taken = cmp.Or(taken, s)
			} else {
				first = cmp.Or(first, s)
			}
		case s.changed(h.Test):
			out.Changed++
			if len(out.Changes) < configmgmt.MaxChanges {
				out.Changes = append(out.Changes, s.name())
			}
		}
	}
	if s := cmp.Or(first, taken); s != nil {
		out.State = configmgmt.Failed
		out.First = &configmgmt.Failure{Step: s.name(), Words: configmgmt.Words(text(s.Comment))}
	}
	return out
}

func (s *state) changed(test bool) bool {
	if test && s.Result == nil {
		return true
	}
	c := bytes.TrimSpace(s.Changes)
	return len(c) > 0 && !slices.Contains([]string{"{}", "[]", "null", `""`}, string(c))
}

// name gives a state the name by which people find it: ID, function and SLS file.
func (s *state) name() string {
	fun := "state"
	if p := strings.Split(s.key, "_|-"); len(p) >= 4 {
		fun = p[0] + "." + p[len(p)-1]
	}
	n := fmt.Sprintf("%s (%s in %s", s.ID, fun, s.SLS)
	if name, ok := s.Name.(string); ok && name != "" && name != s.ID {
		n += ", " + name
	}
	return configmgmt.Words(n + ")")
}

// text is a comment: a text, or a list of them.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []any:
		parts := make([]string, 0, len(v))
		for _, p := range v {
			parts = append(parts, text(p))
		}
		return strings.Join(parts, "\n")
	}
	return fmt.Sprint(v)
}
