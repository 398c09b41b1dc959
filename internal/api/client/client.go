// Package client is the typed Go client of the API: what the command line and the site workers use.
//
// Every failure is a *fault.Error: the one that the API gave, or EngineAway when nothing that is the
// API answers. A cancelled context gives its own error. Requests that change something carry a key or
// an ID chosen by the caller, so repeating one is harmless. A Client is safe for concurrent use.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/inventory"
)

// maxAnswer bounds a JSON answer: a plan for 5,000 machines is about 40 MB.
const maxAnswer = 256 << 20

// Client talks to one API.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
	agent string
}

// New makes a client. base is http(s)://host:port; a nil h means a client with sensible time-outs.
// A token is never sent in plain text to another host than this one.
func New(base, token, agent string, h *http.Client) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil {
		return nil, fault.New(fault.Invalid, "API address %q: want http://host[:port] or https://host[:port]", base)
	}
	if u.Scheme == "http" && token != "" && !isLoopback(u.Hostname()) {
		return nil, fault.New(fault.Invalid, "API address %q: a token does not travel in plain text; use https://", base)
	}
	if strings.ContainsFunc(token, unicode.IsControl) { // never said: it may be two tokens
		return nil, fault.New(fault.Invalid, "the token for %s holds more than one line: give the token alone", base)
	}
	if h == nil {
		h = WithRoots(nil)
	}
	c := *h
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	u.Path = strings.TrimSuffix(u.Path, "/")
	return &Client{base: u, token: token, http: &c, agent: agent}, nil
}

// WithRoots is an HTTP client for New that trusts these CAs; nil: the system's.
func WithRoots(ca *x509.CertPool) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: ca, MinVersion: tls.VersionTLS12}
	t.ResponseHeaderTimeout = 6 * time.Minute // planning thousands of machines
	return &http.Client{Transport: t}
}

func isLoopback(host string) bool {
	return host == "localhost" || host == "::1" || strings.HasPrefix(host, "127.")
}

// URL is the address of the API.
func (c *Client) URL() string { return c.base.String() }

// request is one request before it is sent.
type request struct {
	method, path string
	query        url.Values
	header       map[string]string
	body         io.Reader
	length       int64 // -1: unknown
}

// send sends a request and gives the response when it is a success.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	full := c.base.String() + r.path // every variable part of the path is escaped
	if len(r.query) > 0 {
		full += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, full, r.body)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "%s %s: %v", r.method, r.path, err)
	}
	if r.length > 0 {
		req.ContentLength = r.length
	}
	req.Header.Set("User-Agent", c.agent)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.away(ctx, err)
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	return nil, c.failure(res)
}

// away is the failure of an API that does not answer.
func (c *Client) away(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	f := fault.Wrap(err, fault.EngineAway, "the control plane at %s does not answer: %v", c.base, err)
	f.Remedy = "check the address (CAGENUT_URL or `cagenut login`) and whether `cagenut serve` runs there"
	return f
}

// failure reads a problem. An answer that is none, e.g. of a proxy in between, is said as such.
func (c *Client) failure(res *http.Response) error {
	raw, _ := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	var p wire.Problem
	if strings.HasPrefix(res.Header.Get("Content-Type"), wire.ContentProblem) && json.Unmarshal(raw, &p) == nil && p.Code != "" {
		return p.Fault()
	}
	code := fault.Malformed
	if res.StatusCode >= 500 {
		code = fault.EngineAway
	}
	f := fault.New(code, "%s answered HTTP %d, and not as the Cagenut API does", c.base, res.StatusCode)
	f.Remedy = "check the address: something else, or a proxy, answers there"
	return f
}

// ask sends a JSON question and reads a JSON answer.
func ask[T any](ctx context.Context, c *Client, method, path string, query url.Values, body any, header map[string]string) (T, error) {
	var out T
	r := request{method: method, path: path, query: query, header: map[string]string{"Accept": "application/json"}}
	for k, v := range header {
		r.header[k] = v
	}
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return out, fmt.Errorf("%s %s: %w", method, path, err)
		}
		r.body, r.header["Content-Type"] = bytes.NewReader(raw), "application/json"
	}
	return answer[T](ctx, c, r)
}

func answer[T any](ctx context.Context, c *Client, r request) (T, error) {
	var out T
	res, err := c.send(ctx, r)
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNoContent {
		return out, nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&out); err != nil {
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		return out, fault.Wrap(err, fault.EngineAway, "the answer of %s to %s %s broke off: %v", c.base, r.method, r.path, err)
	}
	return out, nil
}

func get[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	return ask[T](ctx, c, http.MethodGet, path, query, nil, nil)
}

func post[T any](ctx context.Context, c *Client, path string, body any) (T, error) {
	return ask[T](ctx, c, http.MethodPost, path, nil, body, nil)
}

// Whoami tells who the token is and which version the server has.
func (c *Client) Whoami(ctx context.Context) (wire.Who, error) {
	return get[wire.Who](ctx, c, "/v1/whoami", nil)
}

// Install asks for an install, or for its plan. key makes repeating it harmless.
func (c *Client) Install(ctx context.Context, in wire.Install, key string) (wire.Accepted, error) {
	return ask[wire.Accepted](ctx, c, http.MethodPost, "/v1/operations", nil, in, map[string]string{wire.IdempotencyKey: key})
}

// Operations lists operations; of the filter's fields those that the API takes count.
func (c *Client) Operations(ctx context.Context, f operation.Filter) ([]operation.Summary, error) {
	q := url.Values{}
	for _, s := range f.States {
		q.Add("state", string(s))
	}
	for k, v := range map[string]string{"site": f.Site, "actor": f.Actor, "before": string(f.Before)} {
		if v != "" {
			q.Set(k, v)
		}
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return get[[]operation.Summary](ctx, c, "/v1/operations", q)
}

// Operation reads an operation with its runs and steps.
func (c *Client) Operation(ctx context.Context, id operation.ID) (operation.Detail, error) {
	return get[operation.Detail](ctx, c, "/v1/operations/"+url.PathEscape(string(id)), nil)
}

// Run reads one machine's part of an operation with all that proves it.
func (c *Client) Run(ctx context.Context, id operation.ID, ref string) (operation.Run, error) {
	return get[operation.Run](ctx, c, "/v1/operations/"+url.PathEscape(string(id))+"/runs/"+url.PathEscape(ref), nil)
}

// Evidence reads large evidence by its SHA-256.
func (c *Client) Evidence(ctx context.Context, sha256 string) (json.RawMessage, error) {
	return get[json.RawMessage](ctx, c, "/v1/evidence/"+url.PathEscape(sha256), nil)
}

// Plan reads the frozen plan of an operation.
func (c *Client) Plan(ctx context.Context, id operation.ID) (plan.Plan, error) {
	return get[plan.Plan](ctx, c, "/v1/operations/"+url.PathEscape(string(id))+"/plan", nil)
}

// Command tells runs of an operation what to do.
func (c *Client) Command(ctx context.Context, id operation.ID, cmd wire.Command) (wire.Commanded, error) {
	return post[wire.Commanded](ctx, c, "/v1/operations/"+url.PathEscape(string(id))+"/commands", cmd)
}

// Asset reads a device by name, serial or NetBox ID.
func (c *Client) Asset(ctx context.Context, ref string) (wire.Asset, error) {
	return get[wire.Asset](ctx, c, "/v1/assets/"+url.PathEscape(ref), nil)
}

// Assets lists the devices of a rack; site may be empty where its name is unique.
func (c *Client) Assets(ctx context.Context, rack, site string) ([]wire.AssetRow, error) {
	q := url.Values{}
	for k, v := range map[string]string{"rack": rack, "site": site} {
		if v != "" {
			q.Set(k, v)
		}
	}
	return get[[]wire.AssetRow](ctx, c, "/v1/assets", q)
}

// RevealPassword gives the logins that are known for a machine's BMC, to an administrator.
func (c *Client) RevealPassword(ctx context.Context, ref string, ask wire.Reveal) ([]wire.Candidate, error) {
	return post[[]wire.Candidate](ctx, c, "/v1/assets/"+url.PathEscape(ref)+"/bmc-password", ask)
}

// AssetHistory reads the runs of a device, newest first.
func (c *Client) AssetHistory(ctx context.Context, ref string, limit int) ([]operation.Run, error) {
	return get[[]operation.Run](ctx, c, "/v1/assets/"+url.PathEscape(ref)+"/history", url.Values{"limit": {strconv.Itoa(limit)}})
}

// Profiles lists the profiles.
func (c *Client) Profiles(ctx context.Context) ([]wire.Profile, error) {
	return get[[]wire.Profile](ctx, c, "/v1/profiles", nil)
}

// Profile reads one profile.
func (c *Client) Profile(ctx context.Context, name string) (wire.Profile, error) {
	return get[wire.Profile](ctx, c, "/v1/profiles/"+url.PathEscape(name), nil)
}

// CheckProfiles lists every problem of the server's profiles.
func (c *Client) CheckProfiles(ctx context.Context) (wire.ProfileCheck, error) {
	return get[wire.ProfileCheck](ctx, c, "/v1/profile-check", nil)
}

// Sites lists sites with their workers.
func (c *Client) Sites(ctx context.Context) ([]operation.Site, error) {
	return get[[]operation.Site](ctx, c, "/v1/sites", nil)
}

// Doctor looks at everything that an operation needs.
func (c *Client) Doctor(ctx context.Context) ([]config.Checked, error) {
	return get[[]config.Checked](ctx, c, "/v1/doctor", nil)
}

// Tokens lists tokens.
func (c *Client) Tokens(ctx context.Context) ([]operation.Token, error) {
	return get[[]operation.Token](ctx, c, "/v1/tokens", nil)
}

// CreateToken makes a token.
func (c *Client) CreateToken(ctx context.Context, t wire.NewToken) (wire.CreatedToken, error) {
	return post[wire.CreatedToken](ctx, c, "/v1/tokens", t)
}

// RevokeToken revokes a token.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	_, err := ask[struct{}](ctx, c, http.MethodDelete, "/v1/tokens/"+url.PathEscape(id), nil, nil, nil)
	return err
}

// ImportManifest imports factory passwords.
func (c *Client) ImportManifest(ctx context.Context, csv io.Reader) (wire.Imported, error) {
	return answer[wire.Imported](ctx, c, request{method: http.MethodPost, path: "/v1/bmc/manifest", body: csv,
		header: map[string]string{"Content-Type": "text/csv"}})
}

// NetBoxSetup compares, or completes, what Cagenut needs in NetBox.
func (c *Client) NetBoxSetup(ctx context.Context, apply bool) ([]inventory.SetupItem, error) {
	return post[[]inventory.SetupItem](ctx, c, "/v1/netbox/setup", wire.Setup{Apply: apply})
}

// VerifyAudit recomputes the audit chain.
func (c *Client) VerifyAudit(ctx context.Context) (operation.AuditReport, error) {
	return get[operation.AuditReport](ctx, c, "/v1/audit/verification", nil)
}

// AuditLog reads rows of the audit log.
func (c *Client) AuditLog(ctx context.Context, f operation.AuditFilter) ([]operation.AuditEntry, error) {
	q := url.Values{}
	for k, v := range map[string]string{"operation": string(f.Operation), "actor": f.Actor} {
		if v != "" {
			q.Set(k, v)
		}
	}
	if !f.Since.IsZero() {
		q.Set("since", f.Since.UTC().Format(time.RFC3339))
	}
	if f.Chain {
		q.Set("after", strconv.FormatInt(f.After, 10))
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return get[[]operation.AuditEntry](ctx, c, "/v1/audit", q)
}

// RemoveFirmware removes a stored file.
func (c *Client) RemoveFirmware(ctx context.Context, sha256 string) error {
	_, err := ask[struct{}](ctx, c, http.MethodDelete, "/v1/firmware/"+url.PathEscape(sha256), nil, nil, nil)
	return err
}

// Firmware lists the firmware catalogue.
func (c *Client) Firmware(ctx context.Context) ([]operation.FirmwareFile, error) {
	return get[[]operation.FirmwareFile](ctx, c, "/v1/firmware", nil)
}

// VerifyFirmware reads every stored file again.
func (c *Client) VerifyFirmware(ctx context.Context) ([]wire.FirmwareCheck, error) {
	return get[[]wire.FirmwareCheck](ctx, c, "/v1/firmware-check", nil)
}

// AddFirmware sends a file of a known size and SHA-256.
func (c *Client) AddFirmware(ctx context.Context, name, sha256 string, size int64, body io.Reader) (operation.FirmwareFile, error) {
	return answer[operation.FirmwareFile](ctx, c, request{method: http.MethodPut, path: "/v1/firmware/" + url.PathEscape(sha256),
		query: url.Values{"name": {name}}, body: body, length: size, header: map[string]string{"Content-Type": "application/octet-stream"}})
}

// DownloadFirmware gives a file from an offset on. The caller closes it and checks the SHA-256.
func (c *Client) DownloadFirmware(ctx context.Context, sha256 string, offset int64) (io.ReadCloser, error) {
	r := request{method: http.MethodGet, path: "/v1/firmware/" + url.PathEscape(sha256)}
	if offset > 0 {
		r.header = map[string]string{"Range": "bytes=" + strconv.FormatInt(offset, 10) + "-"}
	}
	res, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	if offset > 0 && res.StatusCode != http.StatusPartialContent {
		res.Body.Close()
		return nil, fault.New(fault.Malformed, "GET %s: asked to go on at byte %d, got HTTP %d", r.path, offset, res.StatusCode)
	}
	return res.Body, nil
}

// Heartbeat tells that a site's worker lives.
func (c *Client) Heartbeat(ctx context.Context, h operation.Heartbeat) (wire.HeartbeatAnswer, error) {
	return post[wire.HeartbeatAnswer](ctx, c, "/v1/worker/heartbeat", h)
}

// Candidates gives logins worth trying on the BMC of an asset that an operation holds.
func (c *Client) Candidates(ctx context.Context, id asset.ID, account string) ([]wire.Candidate, error) {
	return post[[]wire.Candidate](ctx, c, "/v1/worker/secrets/candidates", wire.SecretRequest{Asset: id, Account: account})
}

// Propose makes a new password durable as pending.
func (c *Client) Propose(ctx context.Context, id asset.ID, account string, length int) (wire.Candidate, error) {
	return post[wire.Candidate](ctx, c, "/v1/worker/secrets/propose", wire.SecretRequest{Asset: id, Account: account, Length: length})
}

// Promote makes the pending password the current one.
func (c *Client) Promote(ctx context.Context, id asset.ID, account string) error {
	_, err := post[struct{}](ctx, c, "/v1/worker/secrets/promote", wire.SecretRequest{Asset: id, Account: account})
	return err
}
