package api

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// secretPrefix begins every token's secret, so that a leaked one is recognised by scanners.
const secretPrefix = "cagenut_"

// NewToken makes a token and its secret of 256 random bits. Only the SHA-256 of the secret is kept:
// it is no password, so a slow hash would gain nothing.
func NewToken(person string, role operation.Role, sites []string, by string, now, expires time.Time) (t operation.Token, secret string, err error) {
	switch {
	case strings.TrimSpace(person) == "" || len(person) > 100:
		return t, "", invalid("person", person, "name the person (or the worker) that the token belongs to, at most 100 characters")
	case !slices.Contains(operation.Roles(), role):
		return t, "", invalid("role", string(role), "use viewer, operator, approver, admin or worker")
	case role == operation.Worker && len(sites) == 0:
		return t, "", invalid("sites", sites, "name the sites that the worker serves: empty is not all")
	case role == operation.Admin && len(sites) > 0:
		return t, "", invalid("sites", sites, "an admin is not bound to sites; use operator")
	case !expires.IsZero() && !expires.After(now):
		return t, "", invalid("days", expires.Format(time.DateOnly), "let the token expire in the future")
	}
	if err := oneLine("person", strings.TrimSpace(person)); err != nil {
		return t, "", err
	}
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return t, "", err
	}
	sites = slices.Compact(slices.Sorted(slices.Values(sites)))
	t = operation.Token{ID: "tok_" + ulid.Make().String(), Person: strings.TrimSpace(person), Role: role, Sites: sites,
		Created: now.UTC(), By: by, Expires: expires.UTC()}
	if expires.IsZero() {
		t.Expires = time.Time{}
	}
	return t, secretPrefix + base64.RawURLEncoding.EncodeToString(raw), nil
}

// Sum is what is kept of a token's secret.
func Sum(secret string) [32]byte { return sha256.Sum256([]byte(secret)) }

// authenticate finds the caller of a request.
func (s *Server) authenticate(c *call) (operation.Token, error) {
	secret, ok := strings.CutPrefix(c.Header.Get("Authorization"), "Bearer ")
	if !ok || secret == "" {
		return operation.Token{}, fault.New(fault.Unauthenticated, "no bearer token was sent")
	}
	if !strings.HasPrefix(secret, secretPrefix) || len(secret) > 200 {
		return operation.Token{}, fault.New(fault.Unauthenticated, "what was sent is not a Cagenut token")
	}
	now := s.o.Clock()
	t, err := s.o.Store.Authenticate(c.Context(), Sum(secret), now)
	if err != nil {
		return operation.Token{}, err
	}
	switch {
	case !t.Revoked.IsZero():
		return operation.Token{}, fault.New(fault.Unauthenticated, "token %s was revoked at %s", t.ID, t.Revoked.Format(time.RFC3339))
	case !t.Live(now):
		return operation.Token{}, fault.New(fault.Unauthenticated, "token %s expired at %s", t.ID, t.Expires.Format(time.RFC3339))
	}
	return t, nil
}

// narrow removes the runs that the caller may not see; false when none is left.
func narrow(d *operation.Detail, t operation.Token) bool {
	d.Runs = slices.DeleteFunc(d.Runs, func(r operation.Run) bool { return !t.AllowsSite(r.Asset.Site) })
	return len(d.Runs) > 0 || len(t.Sites) == 0
}
