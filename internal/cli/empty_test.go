package cli

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cagenut/cagenut/internal/operation"
)

func TestAnEmptyFlagIsNeverAll(t *testing.T) {
	a := loggedIn(t, 3, operation.Admin)
	before, err := a.Store.ListTokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := []string{"install", "srv-01", "--until", "hardware", "--reason", "rack r12", "--ticket", "DC-42"}
	for _, tc := range []struct {
		flag string
		args []string
	}{
		{"site", []string{"token", "create", "ops", "--role", "operator", "--site", ""}},
		{"site", []string{"token", "create", "ops", "--role", "operator", "--site", "ams01,"}},
		{"site", []string{"token", "create", "ops", "--role", "operator", "--site", "ams01", "--site", " "}},
		{"plan-hash", append(ask[:len(ask):len(ask)], "--plan-hash", "")},
		{"idempotency-key", append(ask[:len(ask):len(ask)], "--idempotency-key=")},
		{"site", append(ask[:len(ask):len(ask)], "--site", "")},
		{"site", []string{"asset", "list", "--rack", "r12", "--site", ""}},
		{"by", []string{"op", "list", "--by", ""}},
		{"output", []string{"op", "list", "-o", ""}},
		{"token-file", []string{"op", "list", "--token-file", ""}},
		{"set", []string{"config", "check", "--set", ""}},
	} {
		r := run(t, "", tc.args...)
		if want := "--" + tc.flag + " is empty: leave it out"; r.code != ExitUsage || r.out != "" || !strings.Contains(r.err, want) {
			t.Errorf("%q: exit %d, want %d with %q\n%s%s", tc.args, r.code, ExitUsage, want, r.out, r.err)
		}
	}
	after, err := a.Store.ListTokens(t.Context())
	if err != nil || len(after) != len(before) {
		t.Errorf("%d tokens, %d before (%v)", len(after), len(before), err)
	}
}

// Cobra asks only the nearest PersistentPreRun, so one further down would switch the check off; and a
// flag of another kind of text would go past it.
func TestNoVerbEscapesTheCheckOfEmptyFlags(t *testing.T) {
	known := []string{"bool", "string", "stringSlice", "stringArray", "int", "duration", "uint", "int64", "float64"}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.HasParent() && (c.PersistentPreRun != nil || c.PersistentPreRunE != nil) {
			t.Errorf("%s has a PersistentPreRun of its own", c.CommandPath())
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !strings.Contains(" "+strings.Join(known, " ")+" ", " "+f.Value.Type()+" ") {
				t.Errorf("%s --%s is a %s: does holdsEmpty know it?", c.CommandPath(), f.Name, f.Value.Type())
			}
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(New(Streams{}))
}
