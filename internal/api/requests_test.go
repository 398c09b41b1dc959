package api_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/internal/api"
	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/api/client"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

func TestWhatIsNotAskedRightIsSaidSo(t *testing.T) {
	a := apitest.Start(t, 1)
	token := a.Token(t, "op", operation.Operator)
	for name, tc := range map[string]struct {
		method, path, body string
		status             int
		says               string
	}{
		"no such endpoint": {"GET", "/v2/nothing", "", 404, "/openapi.json"},
		"wrong method":     {"DELETE", "/v1/operations", "", 404, "no endpoint DELETE"},
		"unknown field":    {"POST", "/v1/operations", `{"nmaes":["srv-01"]}`, 422, "nmaes"},
		"two values":       {"POST", "/v1/operations", `{} {}`, 422, "more than one"},
		"not JSON":         {"POST", "/v1/operations", `reason=x`, 422, "invalid character"},
		"too large":        {"POST", "/v1/operations", `{"reason":"` + strings.Repeat("x", 5<<20) + `"}`, 422, "larger than"},
		"bad ID":           {"GET", "/v1/operations/op_123", "", 422, "26 letters"},
		"bad state":        {"GET", "/v1/operations?state=odd", "", 422, "queued"},
		"bad limit":        {"GET", "/v1/operations?limit=100000", "", 422, "500"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tc.method, a.URL+tc.path, strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			req.Header.Set(wire.RequestID, "my-request")
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			raw, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != tc.status || !strings.Contains(string(raw), tc.says) || res.Header.Get("Content-Type") != wire.ContentProblem {
				t.Errorf("HTTP %d %s, want %d with %q", res.StatusCode, raw, tc.status, tc.says)
			}
			if res.Header.Get(wire.RequestID) != "my-request" {
				t.Errorf("request ID %q", res.Header.Get(wire.RequestID))
			}
		})
	}
}

func TestInternalFailuresKeepTheirCauseInside(t *testing.T) {
	a := apitest.Start(t, 1)
	viewer := a.As(t, operation.Viewer)
	a.Store.Break(errors.New("pq: password authentication failed for user root"))
	_, err := viewer.Operations(t.Context(), operation.Filter{})
	if code(err) != fault.Internal || strings.Contains(err.Error(), "password") || !strings.Contains(fault.From(err).Remedy, "request") {
		t.Errorf("got %v (%s)", err, fault.From(err).Remedy)
	}
}

func TestReadiness(t *testing.T) {
	a := apitest.Start(t, 1)
	status := func(path string) int {
		res, err := http.Get(a.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	if got := []int{status("/healthz"), status("/readyz")}; !slices.Equal(got, []int{200, 200}) {
		t.Errorf("all is well: %v", got)
	}
	a.Store.Break(errors.New("away"))
	if got := []int{status("/healthz"), status("/readyz")}; !slices.Equal(got, []int{200, 503}) {
		t.Errorf("no store: %v", got)
	}
}

func TestTheClientKeepsItsTokenToItself(t *testing.T) {
	for _, base := range []string{"http://cagenut.example", "ftp://x", "https://user:pw@x", "cagenut.example"} {
		if _, err := client.New(base, "cagenut_x", "test", nil); code(err) != fault.Invalid {
			t.Errorf("%s: got %v", base, err)
		}
	}
	if _, err := client.New("https://cagenut.example", "cagenut_x", "test", nil); err != nil {
		t.Errorf("https: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c, err := client.New("http://127.0.0.1:1", "cagenut_x", "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Whoami(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	if _, err := api.New(api.Options{}); err == nil || !strings.Contains(err.Error(), "Store") {
		t.Errorf("got %v", err)
	}
}
