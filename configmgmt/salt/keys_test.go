package salt

import (
	"errors"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/configmgmt"
)

func TestJudgeKeys(t *testing.T) {
	for _, test := range []struct {
		name string
		keys map[string]string
		done bool
		want error
		says string
	}{
		{"nothing", nil, false, configmgmt.ErrNotEnrolled, "no key"},
		{"the right one waits", map[string]string{pending: "right"}, false, nil, ""},
		{"the right one is in", map[string]string{accepted: "right"}, true, nil, ""},
		{"the right one is in, and another host tries", map[string]string{accepted: "right", denied: "wrong"}, true, nil, ""},
		{"another one waits", map[string]string{pending: "wrong"}, false, configmgmt.ErrFingerprint, "pending wrong"},
		{"another one waits, the right one was denied", map[string]string{pending: "wrong", denied: "right"}, false, configmgmt.ErrFingerprint, "pending wrong, denied right"},
		{"another one is in", map[string]string{accepted: "wrong"}, false, configmgmt.ErrFingerprint, "revoke its old key"},
		{"another one is in, the right one was denied", map[string]string{accepted: "wrong", denied: "right"}, false, configmgmt.ErrFingerprint, "revoke its old key"},
		{"another one is in, the right one waits", map[string]string{accepted: "wrong", pending: "right"}, false, configmgmt.ErrFingerprint, "revoke its old key"},
		{"only denied", map[string]string{denied: "right"}, false, configmgmt.ErrFingerprint, "denied right"},
		{"another one was rejected", map[string]string{rejected: "wrong"}, false, configmgmt.ErrFingerprint, "rejected wrong"},
		{"the right one was rejected", map[string]string{rejected: "right"}, false, configmgmt.ErrRejected, "rejected this very key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			done, err := judgeKeys("enroll", "web1", test.keys, "right")
			if done != test.done || !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("judgeKeys = %t, %v; want %t, %v that says %q", done, err, test.done, test.want, test.says)
			}
		})
	}
}
