package wire

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cagenut/cagenut/internal/fault"
)

func TestEveryFaultHasAStatusAndAnExitCode(t *testing.T) {
	for _, c := range fault.Codes() {
		o, ok := outcomes[c]
		if !ok {
			t.Errorf("%s has no row", c)
			continue
		}
		if o.status < 400 || o.status > 599 || http.StatusText(o.status) == "" || o.exit < ExitFailure || o.exit > ExitAway {
			t.Errorf("%s: %+v", c, o)
		}
		if fault.ClassOf(c) == fault.Refuse && (o.status >= 500 || o.exit == ExitFailure) {
			t.Errorf("%s is a refusal, and the row is %+v", c, o)
		}
	}
	if len(outcomes) != len(fault.Codes()) {
		t.Errorf("%d rows for %d codes", len(outcomes), len(fault.Codes()))
	}
}

func TestAProblemKeepsTheFault(t *testing.T) {
	e := fault.New(fault.Locked, "srv-1 is held")
	e.Holder, e.Details = "op_X", []fault.Item{{Subject: "srv-1", Seen: "held"}}
	raw, err := json.Marshal(ProblemOf(e, "req"))
	if err != nil {
		t.Fatal(err)
	}
	var p Problem
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, p.Fault(), cmpopts.IgnoreUnexported(fault.Error{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	for _, v := range []any{Candidate{Source: "current", User: "root", Password: "hush"}, CreatedToken{Secret: "hush"}} {
		for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
			if s := fmt.Sprintf(form, v); strings.Contains(s, "hush") {
				t.Errorf("%T with %s: %s", v, form, s)
			}
		}
	}
}
