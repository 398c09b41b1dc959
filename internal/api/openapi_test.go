package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/operation"
)

type document struct {
	OpenAPI string `json:"openapi"`
	Paths   map[string]map[string]struct {
		Summary     string         `json:"summary"`
		OperationID string         `json:"operationId"`
		Security    []any          `json:"security"`
		Responses   map[string]any `json:"responses"`
	} `json:"paths"`
}

func fetch(t *testing.T, method, url, token string, body any, key string) (*http.Response, []byte) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set(wire.IdempotencyKey, key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, out
}

// TestEveryDocumentedEndpointIsServed asks each path of the document without a token: what is not
// served answers 404 there, and what is protected must answer 401.
func TestEveryDocumentedEndpointIsServed(t *testing.T) {
	a := apitest.Start(t, 1)
	_, raw := fetch(t, "GET", a.URL+"/openapi.json", "", nil, "")
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" || len(doc.Paths) < 20 {
		t.Fatalf("version %q, %d paths", doc.OpenAPI, len(doc.Paths))
	}
	ids := map[string]bool{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			if op.Summary == "" || ids[op.OperationID] || op.Responses["default"] == nil {
				t.Errorf("%s %s: summary %q, ID %q", method, path, op.Summary, op.OperationID)
			}
			ids[op.OperationID] = true
			res, _ := fetch(t, strings.ToUpper(method), a.URL+regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "x"), "", nil, "")
			want := http.StatusUnauthorized
			if op.Security == nil && path != "/v1/netbox/webhook" { // that one is signed instead
				want = http.StatusOK
			}
			if res.StatusCode != want {
				t.Errorf("%s %s: HTTP %d, want %d", method, path, res.StatusCode, want)
			}
		}
	}
}

// TestAnswersAreWhatTheDocumentSays validates real answers against the document's schemas.
func TestAnswersAreWhatTheDocumentSays(t *testing.T) {
	a := apitest.Start(t, 2)
	_, raw := fetch(t, "GET", a.URL+"/openapi.json", "", nil, "")
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("urn:openapi", doc); err != nil {
		t.Fatal(err)
	}
	token := a.Token(t, "admin", operation.Admin)
	install := wire.Install{Targets: wire.Targets{Names: []string{"srv-01"}}, Until: "hardware", Reason: "r", Ticket: "t"}
	res, accepted := fetch(t, "POST", a.URL+"/v1/operations", token, install, "key-0001")
	if res.StatusCode != http.StatusAccepted {
		t.Fatalf("HTTP %d %s", res.StatusCode, accepted)
	}
	id := strings.TrimPrefix(res.Header.Get("Location"), "/v1/operations/")
	for _, tc := range []struct {
		method, path, pattern, status, media string
		body                                 any
	}{
		{"POST", "/v1/operations", "/v1/operations", "202", "application/json", install},
		{"GET", "/v1/operations", "", "200", "application/json", nil},
		{"GET", "/v1/operations/" + id, "/v1/operations/{id}", "200", "application/json", nil},
		{"GET", "/v1/operations/" + id + "/plan", "/v1/operations/{id}/plan", "200", "application/json", nil},
		{"POST", "/v1/operations/" + id + "/commands", "/v1/operations/{id}/commands", "200", "application/json",
			wire.Command{ID: "command-1", Action: operation.Abort, All: true}},
		{"GET", "/v1/assets/srv-01", "/v1/assets/{asset}", "200", "application/json", nil},
		{"GET", "/v1/assets/srv-01/history", "/v1/assets/{asset}/history", "200", "application/json", nil},
		{"GET", "/v1/profiles", "", "200", "application/json", nil},
		{"GET", "/v1/sites", "", "200", "application/json", nil},
		{"GET", "/v1/doctor", "", "200", "application/json", nil},
		{"GET", "/v1/tokens", "", "200", "application/json", nil},
		{"GET", "/v1/assets/nobody", "/v1/assets/{asset}", "default", "application/problem+json", nil},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			if tc.pattern == "" {
				tc.pattern = tc.path
			}
			_, raw := fetch(t, tc.method, a.URL+tc.path, token, tc.body, "key-0001")
			escape := strings.NewReplacer("~", "~0", "/", "~1")
			pointer := "urn:openapi#/paths/" + escape.Replace(tc.pattern) + "/" + strings.ToLower(tc.method) + "/responses/" + tc.status +
				"/content/" + escape.Replace(tc.media) + "/schema"
			schema, err := compiler.Compile(strings.NewReplacer("{", "%7B", "}", "%7D").Replace(pointer))
			if err != nil {
				t.Fatal(err)
			}
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
			if err != nil {
				t.Fatalf("%v: %s", err, raw)
			}
			if err := schema.Validate(v); err != nil {
				t.Errorf("%v\n%s", err, raw)
			}
		})
	}
}
