package salt

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/configmgmt"
)

// TestJudge reads what minions return; the forms are those of Salt 3008.3.
func TestJudge(t *testing.T) {
	for _, test := range []struct {
		name    string
		test    bool
		ret     string
		retcode int
		want    configmgmt.Report
		err     error
	}{
		{name: "the one that failed, not the one that it took down", retcode: 2,
			ret: `{"test_|-dep_|-dep_|-nop": {"result": false, "changes": {}, "comment": "One or more requisite failed: bad.root", "__state_ran__": false, "__run_num__": 0, "__sls__": "bad", "__id__": "dep", "name": "dep"},
				"file_|-there_|-/x_|-managed": {"result": true, "changes": {"diff": "New file"}, "comment": "updated", "__run_num__": 1, "__sls__": "bad", "__id__": "there", "name": "/x"},
				"pkg_|-late_|-late_|-installed": {"result": false, "changes": {}, "comment": "later", "__run_num__": 3, "__sls__": "bad", "__id__": "late", "name": "late"},
				"pkg_|-root_|-nginx_|-installed": {"result": false, "changes": {}, "comment": ["the disk", "is full"], "__run_num__": 2, "__sls__": "bad", "__id__": "root", "name": "nginx"}}`,
			want: configmgmt.Report{State: configmgmt.Failed, Steps: 4, Changed: 1, Failed: 3, Changes: []string{"there (file.managed in bad, /x)"},
				First: &configmgmt.Failure{Step: "root (pkg.installed in bad, nginx)", Words: "the disk\nis full"}}},
		{name: "only ones that were taken down", retcode: 2,
			ret:  `{"test_|-dep_|-dep_|-nop": {"result": false, "changes": {}, "comment": "One or more requisite failed: x", "__run_num__": 0, "__sls__": "bad", "__id__": "dep", "name": "dep"}}`,
			want: configmgmt.Report{State: configmgmt.Failed, Steps: 1, Failed: 1, First: &configmgmt.Failure{Step: "dep (test.nop in bad)", Words: "One or more requisite failed: x"}}},
		{name: "a test run", test: true,
			ret:  `{"file_|-a_|-a_|-managed": {"result": null, "changes": {}, "__run_num__": 0, "__sls__": "s", "__id__": "a", "name": "a"}, "file_|-b_|-b_|-managed": {"result": true, "changes": {}, "__run_num__": 1, "__sls__": "s", "__id__": "b", "name": "b"}}`,
			want: configmgmt.Report{State: configmgmt.Succeeded, Test: true, Steps: 2, Changed: 1, Changes: []string{"a (file.managed in s)"}}},
		{name: "a test run where a real one was asked for", err: configmgmt.ErrMode,
			ret: `{"file_|-a_|-a_|-managed": {"result": null, "changes": {}, "__run_num__": 0, "__sls__": "s", "__id__": "a", "name": "a"}}`},
		{name: "every state is well, the code is not", retcode: 3,
			ret: `{"file_|-a_|-a_|-managed": {"result": true, "changes": {}, "__run_num__": 0, "__sls__": "s", "__id__": "a", "name": "a"}}`,
			want: configmgmt.Report{State: configmgmt.Failed, Steps: 1,
				First: &configmgmt.Failure{Step: "state.apply", Words: "every state is well, and yet Salt ended with code 3"}}},
		{name: "nothing in the top file", ret: `{"no_|-states_|-states_|-None": {"result": false, "comment": "No Top file or master_tops data matches found.", "__run_num__": 0}}`, retcode: 2, err: configmgmt.ErrNothing},
		{name: "no states", ret: `{}`, err: configmgmt.ErrNothing},
		{name: "no texts", ret: `[]`, retcode: 1, err: configmgmt.ErrNothing},
		{name: "does not render", ret: `["Rendering SLS 'base:x' failed"]`, retcode: 1, err: configmgmt.ErrRender},
		{name: "pillar failed", ret: `["Pillar failed to render with the following messages:", "x"]`, retcode: 5, err: configmgmt.ErrRender},
		{name: "busy", ret: `["The function \"state.apply\" is running as PID 22155 and was started at 2026, Nov 26 00:00:00.000000 with jid 2026"]`, retcode: 1, err: configmgmt.ErrBusy},
		{name: "a text", ret: `"The minion function caused an exception: Traceback"`, retcode: 1, err: configmgmt.ErrRejected},
		{name: "false", ret: `false`, retcode: 1, err: configmgmt.ErrMalformed},
		{name: "nothing", ret: ``, err: configmgmt.ErrMalformed},
		{name: "states of another form", ret: `{"a": "b"}`, err: configmgmt.ErrMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := judge("poll", configmgmt.Handle{Target: "web1", Test: test.test}, result{Return: json.RawMessage(test.ret), Retcode: test.retcode})
			if !errors.Is(err, test.err) || configmgmt.Over(err) != (test.err != nil) {
				t.Fatalf("error %v, want one that is over and %v", err, test.err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFingerprint hashes the lines between the dashes, as the minion does.
func TestFingerprint(t *testing.T) {
	const key = "-----BEGIN PUBLIC KEY-----\nMIIB\nFm/o\n-----END PUBLIC KEY-----"
	// printf 'MIIB\nFm/o\n' | sha256sum
	const want = "3b28a2e348b26b31fd91788f0ba955beb65b9c40cac01fceabb5dda6b4783d66"
	for _, k := range []string{key, key + "\n", "-----BEGIN PUBLIC KEY-----\r\nMIIB\r\nFm/o\r\n-----END PUBLIC KEY-----\r\n"} {
		if got := Fingerprint(k); got != want {
			t.Errorf("Fingerprint(%q) = %s, want %s", k, got, want)
		}
	}
}
