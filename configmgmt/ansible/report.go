package ansible

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/configmgmt"
)

const (
	maxEvents = 100_000  // of one run
	maxEvent  = 1 << 20  // bytes; a larger one is left out
	maxOutput = 64 << 10 // bytes that are read of what Ansible printed
)

// event is one of ansible-runner's events.
type event struct {
	Counter int    `json:"counter"`
	Event   string `json:"event"`
	Data    struct {
		Task         string         `json:"task"`
		Path         string         `json:"task_path"`
		Host         string         `json:"host"`
		IgnoreErrors bool           `json:"ignore_errors"`
		Rescued      map[string]int `json:"rescued"`
		Result       struct {
			Changed bool `json:"changed"`
			Message any  `json:"msg"`
			Stderr  any  `json:"stderr"`
		} `json:"res"`
	} `json:"event_data"`
}

// defect is ansible-playbook's exit code for an exception that it did not expect.
const defect = 250

// The exit codes that ansible-runner and the kernel give to a run that did not end by itself.
func killed(code int) bool { return code < 0 || code == 254 || code >= 128+1 && code <= 128+31 }

// judge reads the artefacts of a run that is over.
func (f folder) judge(op string, h configmgmt.Handle, code int) (configmgmt.Report, error) {
	if status, _ := os.ReadFile(f.artefact("status")); killed(code) || strings.TrimSpace(string(status)) == "canceled" {
		return configmgmt.Report{State: configmgmt.Lost, Test: h.Test, Detail: fmt.Sprintf("it was ended before its time (code %d)", code)}, nil
	}
	events, err := f.events()
	if err != nil {
		return configmgmt.Report{}, program(op, h.Target, err)
	}
	over := func(kind error, words string) (configmgmt.Report, error) {
		return configmgmt.Report{}, &configmgmt.Error{Kind: kind, Op: op, Host: h.Target, Status: code, Detail: configmgmt.Words(words), Over: true}
	}
	out := configmgmt.Report{State: configmgmt.Succeeded, Test: h.Test}
	var failures []configmgmt.Failure
	rescued, tasks, unreachable := 0, 0, ""
	for _, e := range events {
		switch e.Event {
		case "runner_on_ok":
			out.Steps++
			if e.Data.Result.Changed {
				out.Changed++
				if len(out.Changes) < configmgmt.MaxChanges {
					out.Changes = append(out.Changes, f.named(e))
				}
			}
		case "runner_on_failed":
			out.Steps++
			if !e.Data.IgnoreErrors {
				failures = append(failures, configmgmt.Failure{Step: f.named(e), Words: e.words()})
			}
		case "runner_on_unreachable":
			unreachable = e.words()
			failures = append(failures, configmgmt.Failure{Step: f.named(e), Words: unreachable})
		case "playbook_on_stats":
			for _, n := range e.Data.Rescued {
				rescued += n
			}
		}
		if strings.HasPrefix(e.Event, "runner_on_") {
			tasks++
		}
	}
	matched := slices.ContainsFunc(events, func(e event) bool { return e.Event == "playbook_on_stats" })
	switch {
	case tasks == 0 && matched:
		return over(configmgmt.ErrNothing, "no play of the playbook has a task for this host: "+f.output())
	case tasks == 0 && code == defect:
		return over(configmgmt.ErrServer, f.output())
	case tasks == 0:
		return over(configmgmt.ErrRender, f.output())
	case unreachable != "" && out.Steps == 0:
		return over(refusedBy(unreachable), unreachable)
	case code == 0:
		return out, nil
	}
	out.State, out.Failed = configmgmt.Failed, max(1, len(failures)-rescued)
	switch {
	case len(failures) == 0:
		out.First = &configmgmt.Failure{Step: "ansible-playbook", Words: fmt.Sprintf("no task failed, and yet it ended with code %d: %s", code, f.output())}
	case rescued > 0: // the rescued ones come before the one that ended the play
		out.First = &failures[len(failures)-1]
	default:
		out.First = &failures[0]
	}
	return out, nil
}

// events reads the events, in their order.
func (f folder) events() ([]event, error) {
	dir := f.artefact("job_events")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var out []event
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), ".json") || info.Size() > maxEvent || len(out) >= maxEvents {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		var v event
		if json.Unmarshal(b, &v) == nil { // a part of one is left when the disk was full
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b event) int { return cmp.Compare(a.Counter, b.Counter) })
	return out, nil
}

// named gives a task the name by which people find it.
func (f folder) named(e event) string {
	place := e.Data.Path
	if project, err := filepath.EvalSymlinks(f.path("project")); err == nil {
		place = strings.TrimPrefix(place, project+string(filepath.Separator))
	}
	place = strings.TrimPrefix(place, f.path("project")+string(filepath.Separator))
	if place != "" {
		place = " (" + place + ")"
	}
	return configmgmt.Words(cmp.Or(e.Data.Task, "a task without a name") + place)
}

// words are the task's own: its message, and what a command wrote to its errors.
func (e event) words() string {
	var parts []string
	for _, v := range []any{e.Data.Result.Message, e.Data.Result.Stderr} {
		if v != nil && v != "" {
			parts = append(parts, strings.ReplaceAll(fmt.Sprint(v), "\r\n", "\n"))
		}
	}
	return configmgmt.Words(strings.Join(parts, "\n"))
}

// output gives what Ansible printed, or else what ansible-runner did.
func (f folder) output() string {
	for _, path := range []string{f.artefact("stdout"), f.artefact("stderr"), f.path("log")} {
		file, err := os.Open(path)
		if err != nil {
			continue
		}
		b, _ := io.ReadAll(io.LimitReader(file, maxOutput)) // as much as there is
		file.Close()
		if s := strings.TrimSpace(strings.ReplaceAll(string(b), "\r\n", "\n")); s != "" {
			return s
		}
	}
	return "Ansible said nothing"
}
