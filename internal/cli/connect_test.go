package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/internal/operation"
)

func TestWhatIsNoTokenIsNotSent(t *testing.T) {
	for _, tc := range []struct{ text, says string }{
		{"cagenut_first\ncagenut_second\n", "holds more than one line"},
		{"cagenut_first\rcagenut_second", "holds more than one line"},
		{"cagenut_first cagenut_second", "does not hold a token"},
		{"cagenut_f\u00efrst", "does not hold a token"},
	} {
		a := loggedIn(t, 1, operation.Viewer)
		if err := os.WriteFile("token", []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		check := func(source string, r result) {
			if r.code != ExitUsage || !strings.Contains(r.err, source+" "+tc.says) || strings.Contains(r.err, "cagenut_") {
				t.Errorf("%q from %s: exit %d, %s", tc.text, source, r.code, r.err)
			}
		}
		check("--token-file token", run(t, "", "op", "list", "--token-file", "token"))
		check("--token-file token", run(t, "", "login", a.URL, "--token-file", "token"))
		t.Setenv("CAGENUT_TOKEN", tc.text)
		check("CAGENUT_TOKEN", run(t, "", "op", "list"))
	}
	a := loggedIn(t, 1, operation.Viewer)
	t.Setenv("CAGENUT_TOKEN", a.Token(t, "bob", operation.Viewer)+"\n") // as $(cat) would not leave it, but an env file may
	if r := run(t, "", "op", "list"); r.code != 0 {
		t.Errorf("a token with its line's end: exit %d, %s", r.code, r.err)
	}
}
