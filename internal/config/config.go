// Package config is Cagenut's configuration: one struct, one YAML file, the environment over the
// file, flags over the environment. It also reads the folder of profiles.
//
// Words
//
//   - Key: the dotted path of a value, e.g. api.listen. Its environment variable is CAGENUT_ and the
//     path in capitals with underscores, CAGENUT_API_LISTEN; its flag is --set api.listen=VALUE, and
//     some have a flag of their own.
//   - Problem: one thing that is wrong, with file, line, key, value and remedy. All problems are
//     reported at once (Problems); an unknown key is a problem like an impossible value.
//   - Secret values are never in the file: the file names files that hold them (…_file).
//
// Relative paths in the file are relative to the file's folder. Load reads files and nothing else;
// it dials nobody. RunChecks (check.go) does, through functions that the command layer gives it. A
// Config is read-only after Load and so safe for concurrent use.
package config

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config is everything that can be configured.
type Config struct {
	Database Database        `yaml:"database"`
	Temporal Temporal        `yaml:"temporal"`
	NetBox   NetBox          `yaml:"netbox"`
	Sites    map[string]Site `yaml:"sites"`    // by NetBox slug
	Profiles string          `yaml:"profiles"` // folder
	// Templates is a folder of one's own templates, which take the place of the built-in ones; empty: none.
	Templates string            `yaml:"templates"`
	SSHKeys   map[string]string `yaml:"ssh_keys"` // public keys, by the names that profiles use
	Secrets   Secrets           `yaml:"secrets"`
	StateDir  string            `yaml:"state_dir"`
	API       API               `yaml:"api"`
	Worker    Worker            `yaml:"worker"`
	Firmware  Firmware          `yaml:"firmware"`
	Audit     Audit             `yaml:"audit"`
	Telemetry Telemetry         `yaml:"telemetry"`
	Notify    []Webhook         `yaml:"notify"`
	Log       Log               `yaml:"log"`

	file    string // where it came from, for messages
	nothing bool   // the file holds nothing
}

// File is the file that the configuration came from; empty when there was none.
func (c *Config) File() string { return c.file }

// Database is PostgreSQL. Site workers have none.
type Database struct {
	URL     string `yaml:"url"`      // postgres://...; leave the password to url_file or PGPASSFILE
	URLFile string `yaml:"url_file"` // a file that holds the URL
}

// Temporal is the cluster.
type Temporal struct {
	Host         string    `yaml:"host"` // host:port
	Namespace    string    `yaml:"namespace"`
	TLS          ClientTLS `yaml:"tls"`
	CodecKeyFile string    `yaml:"codec_key_file"` // 32 bytes in base64: payloads are encrypted with it
}

// ClientTLS is how a server is known and how we show who we are. Enabled false is plain text.
type ClientTLS struct {
	Enabled    bool   `yaml:"enabled"`
	CAFile     string `yaml:"ca_file"` // empty: the system's
	CertFile   string `yaml:"cert_file"`
	KeyFile    string `yaml:"key_file"`
	ServerName string `yaml:"server_name"`
}

// NetBox is the source of truth.
type NetBox struct {
	URL       string `yaml:"url"`
	TokenFile string `yaml:"token_file"`
	CAFile    string `yaml:"ca_file"`
	// User is the account that the token belongs to; `netbox setup` gives it its permissions.
	User string `yaml:"user"`
	// WebhookURL is where NetBox tells us of changes; empty: no webhook.
	WebhookURL     string `yaml:"webhook_url"`
	WebhookKeyFile string `yaml:"webhook_key_file"`
}

// Secrets is where passwords are kept.
type Secrets struct {
	Driver  string `yaml:"driver"`   // file, env or postgres
	Dir     string `yaml:"dir"`      // for file
	KeyFile string `yaml:"key_file"` // for postgres: 32 bytes in base64, kept outside the database
}

// API is the HTTP API that `serve` offers.
type API struct {
	Listen string    `yaml:"listen"`
	URL    string    `yaml:"url"` // as people open it; empty: nothing links to our pages
	TLS    ServerTLS `yaml:"tls"`
}

// Page is where people see an operation; empty without api.url.
func (a API) Page(operation string) string {
	if a.URL == "" {
		return ""
	}
	return strings.TrimRight(a.URL, "/") + "/operations/" + url.PathEscape(operation)
}

// ServerTLS is the certificate that the API shows. Both empty: plain text, loopback only.
type ServerTLS struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// Worker is how a site's worker reaches the API, and how much any worker does at once.
type Worker struct {
	URL        string `yaml:"url"`
	TokenFile  string `yaml:"token_file"`
	CAFile     string `yaml:"ca_file"`
	Activities int    `yaml:"activities"` // at once
}

// Firmware is the store of firmware files.
type Firmware struct {
	Dir    string `yaml:"dir"`
	MaxMiB int    `yaml:"max_mib"` // largest file that is taken
}

// Audit is the chain's key, and the head that is kept outside the database.
type Audit struct {
	KeyFile  string `yaml:"key_file"` // Ed25519 seed in base64
	HeadFile string `yaml:"head_file"`
}

// Telemetry is tracing; metrics are always served at /metrics of the API.
type Telemetry struct {
	OTLP          string `yaml:"otlp"`           // host:port of a collector (gRPC); empty: off
	MetricsListen string `yaml:"metrics_listen"` // for workers; empty: off
}

// Webhook is somebody who is told of what happens.
type Webhook struct {
	URL        string   `yaml:"url"`
	SecretFile string   `yaml:"secret_file"` // signs what is sent
	Kinds      []string `yaml:"kinds"`       // empty: all of NoticeKinds
}

// NoticeKinds are what a webhook can be told of.
func NoticeKinds() []string { return []string{"in-service", "waiting", "ended"} }

// Log is how we log.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error
	Format string `yaml:"format"` // json or text
}

// Default is what holds when nothing is configured.
func Default() *Config {
	return &Config{
		Temporal: Temporal{Host: "127.0.0.1:7233", Namespace: "cagenut"},
		Secrets:  Secrets{Driver: "postgres"},
		API:      API{Listen: "127.0.0.1:7780"},
		Worker:   Worker{Activities: 128},
		Firmware: Firmware{MaxMiB: 2048},
		Log:      Log{Level: "info", Format: "json"},
		StateDir: "state",
		Profiles: "profiles",
	}
}

// SiteNames lists the configured sites, sorted.
func (c *Config) SiteNames() []string {
	out := make([]string, 0, len(c.Sites))
	for slug := range c.Sites {
		out = append(out, slug)
	}
	slices.Sort(out)
	return out
}

// HeartbeatEvery is how often workers tell that they live, and SiteAwayAfter how old the last word
// may be before a site counts as away: three lost heartbeats.
const (
	HeartbeatEvery = 10 * time.Second
	SiteAwayAfter  = 3*HeartbeatEvery + HeartbeatEvery/2
)

func quote(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case int:
		return strconv.Itoa(v)
	}
	return ""
}
