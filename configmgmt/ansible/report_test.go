package ansible

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/configmgmt"
)

// TestJudge reads artefacts in the form of ansible-runner 2.4.
func TestJudge(t *testing.T) {
	task := func(event, name, more string) string {
		return fmt.Sprintf(`"event": %q, "event_data": {"task": %q, "task_path": "%%F%%/project/site.yml:7", "host": "a"%s}`, event, name, more)
	}
	const stats = `"event": "playbook_on_stats", "event_data": {"processed": {"a": 1}, "rescued": {}}`
	for _, test := range []struct {
		name   string
		code   int
		status string
		stdout string
		events []string
		want   configmgmt.Report
		err    error
	}{
		{name: "changes", events: []string{task("runner_on_ok", "one", `, "res": {"changed": true}`), task("runner_on_ok", "two", `, "res": {"changed": false}`), task("runner_on_skipped", "three", ""), stats},
			want: configmgmt.Report{State: configmgmt.Succeeded, Steps: 2, Changed: 1, Changes: []string{"one (site.yml:7)"}}},
		{name: "an ignored failure is none", events: []string{task("runner_on_failed", "one", `, "ignore_errors": true, "res": {"msg": "x"}`), stats},
			want: configmgmt.Report{State: configmgmt.Succeeded, Steps: 1}},
		{name: "a failure", code: 2, events: []string{
			task("runner_on_failed", "ignored", `, "ignore_errors": true, "res": {"msg": "x"}`),
			task("runner_on_failed", "root", `, "res": {"msg": "non-zero return code", "stderr": "the disk is full\r\ntoken=abc"}`), stats},
			want: configmgmt.Report{State: configmgmt.Failed, Steps: 2, Failed: 1, First: &configmgmt.Failure{Step: "root (site.yml:7)", Words: "non-zero return code\nthe disk is full\ntoken=***"}}},
		{name: "a failure behind a rescued one", code: 2, events: []string{
			task("runner_on_failed", "rescued", `, "res": {"msg": "x"}`), task("runner_on_failed", "root", `, "res": {"msg": "y"}`),
			strings.Replace(stats, `"rescued": {}`, `"rescued": {"a": 1}`, 1)},
			want: configmgmt.Report{State: configmgmt.Failed, Steps: 2, Failed: 1, First: &configmgmt.Failure{Step: "root (site.yml:7)", Words: "y"}}},
		{name: "the code alone", code: 2, stdout: "hm", events: []string{task("runner_on_ok", "one", ""), stats},
			want: configmgmt.Report{State: configmgmt.Failed, Steps: 1, Failed: 1, First: &configmgmt.Failure{Step: "ansible-playbook", Words: "no task failed, and yet it ended with code 2: hm"}}},
		{name: "the host went away in the middle", code: 4, events: []string{
			task("runner_on_ok", "one", `, "res": {"changed": true}`), task("runner_on_unreachable", "two", `, "res": {"msg": "Connection timed out"}`), stats},
			want: configmgmt.Report{State: configmgmt.Failed, Steps: 1, Changed: 1, Failed: 1, Changes: []string{"one (site.yml:7)"},
				First: &configmgmt.Failure{Step: "two (site.yml:7)", Words: "Connection timed out"}}},
		{name: "the host is away", code: 4, events: []string{task("runner_on_unreachable", "one", `, "res": {"msg": "Connection refused"}`), stats}, err: configmgmt.ErrHostAway},
		{name: "the key is refused", code: 4, events: []string{task("runner_on_unreachable", "one", `, "res": {"msg": "u@h: Permission denied (publickey)."}`), stats}, err: configmgmt.ErrDenied},
		{name: "another host answers", code: 4, events: []string{task("runner_on_unreachable", "one", `, "res": {"msg": "Host key verification failed."}`), stats}, err: configmgmt.ErrFingerprint},
		{name: "bad YAML has the code of an unreachable host", code: 4, stdout: "[ERROR]: YAML parsing failed", events: []string{`"event": "verbose"`}, err: configmgmt.ErrRender},
		{name: "no such playbook", code: 1, stdout: "[ERROR]: the playbook could not be found", err: configmgmt.ErrRender},
		{name: "a defect of Ansible", code: 250, stdout: "Unexpected Exception, this is probably a bug", err: configmgmt.ErrServer},
		{name: "no host matched, and all is well", stdout: "skipping: no hosts matched", events: []string{`"event": "playbook_on_no_hosts_matched"`, stats}, err: configmgmt.ErrNothing},
		{name: "cancelled", code: 254, want: configmgmt.Report{State: configmgmt.Lost, Detail: "it was ended before its time (code 254)"}},
		{name: "cancelled, by its status", code: 1, status: "canceled", want: configmgmt.Report{State: configmgmt.Lost, Detail: "it was ended before its time (code 1)"}},
		{name: "killed", code: -9, want: configmgmt.Report{State: configmgmt.Lost, Detail: "it was ended before its time (code -9)"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := folder(t.TempDir())
			put := func(name, text string) {
				if err := errors.Join(os.MkdirAll(filepath.Dir(f.artefact(name)), 0o700), os.WriteFile(f.artefact(name), []byte(text), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			for i, e := range test.events { // written in no order of names
				put(fmt.Sprintf("job_events/%d-x.json", (i*7)%10), strings.ReplaceAll(fmt.Sprintf(`{"counter": %d, %s}`, i+1, e), "%F%", string(f)))
			}
			put("job_events/cut.json", `{"counter": 1, "event": "runner_on_fai`)
			put("stdout", test.stdout)
			put("status", test.status)
			got, err := f.judge("poll", configmgmt.Handle{Target: "a"}, test.code)
			if !errors.Is(err, test.err) || configmgmt.Over(err) != (test.err != nil) {
				t.Fatalf("error %v, want one that is over and %v", err, test.err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
		})
	}
}
