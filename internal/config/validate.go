package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

var domainForm = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

var slugForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)

// validate lists all values that cannot be. Whether something that is set is also reachable, or
// needed by a command, is judged elsewhere: a site worker has no database.
func (c *Config) validate() Problems {
	var out Problems
	bad := func(key string, v any, remedy string) {
		out = append(out, Problem{Key: key, Value: quote(v), Remedy: remedy})
	}
	oneOf := func(key, v string, allowed ...string) {
		if !slices.Contains(allowed, v) {
			bad(key, v, "use one of "+strings.Join(allowed, ", "))
		}
	}
	hostPort := func(key, v string) {
		if _, port, err := net.SplitHostPort(v); v != "" && (err != nil || port == "") {
			bad(key, v, "use host:port")
		}
	}
	httpURL := func(key, v string) {
		if u, err := url.Parse(v); v != "" && (err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https")) {
			bad(key, v, "use http://host[:port] or https://host[:port]")
		} else if v != "" && u.User != nil {
			bad(key, "…", "leave user and password out of the URL: it is logged; tokens have files")
		}
	}
	inRange := func(key string, v, lo, hi int) {
		if v < lo || v > hi {
			bad(key, v, fmt.Sprintf("use %d to %d", lo, hi))
		}
	}
	both := func(keyA, a, keyB, b string) {
		if (a == "") != (b == "") {
			bad(keyA, a, "set "+keyA+" and "+keyB+" together, or neither")
		}
	}

	if c.Database.URL != "" && c.Database.URLFile != "" {
		bad("database.url_file", c.Database.URLFile, "set database.url or database.url_file, not both")
	}
	if u, err := url.Parse(c.Database.URL); c.Database.URL != "" && (err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql")) {
		// The value may hold a password, so it is not shown.
		out = append(out, Problem{Key: "database.url", Remedy: "use postgres://user@host:port/database"})
	}
	hostPort("temporal.host", c.Temporal.Host)
	if c.Temporal.Namespace == "" {
		bad("temporal.namespace", "", "name the Temporal namespace; cagenut is the default")
	}
	both("temporal.tls.cert_file", c.Temporal.TLS.CertFile, "temporal.tls.key_file", c.Temporal.TLS.KeyFile)
	if t := c.Temporal.TLS; !t.Enabled && t != (ClientTLS{}) {
		bad("temporal.tls.enabled", "false", "set it to true, or remove the other values of temporal.tls")
	}
	httpURL("netbox.url", c.NetBox.URL)
	if c.NetBox.URL != "" && c.NetBox.TokenFile == "" {
		bad("netbox.token_file", "", "name a file (mode 0600) that holds the NetBox token")
	}
	httpURL("netbox.webhook_url", c.NetBox.WebhookURL)
	both("netbox.webhook_url", c.NetBox.WebhookURL, "netbox.webhook_key_file", c.NetBox.WebhookKeyFile)
	for _, slug := range slices.Sorted(maps.Keys(c.Sites)) {
		s, key := c.Sites[slug], "sites."+slug
		if !slugForm.MatchString(slug) {
			bad(key, slug, "use the site's NetBox slug: small letters, digits, dashes and underscores")
		}
		if len(s.OOBPrefixes) == 0 {
			bad(key+".oob_prefixes", "", "name the networks in which this site's BMCs are: empty is not all")
		}
		for i, text := range s.OOBPrefixes {
			k := fmt.Sprintf("%s.oob_prefixes[%d]", key, i)
			prefix, err := netip.ParsePrefix(text)
			switch {
			case err != nil:
				bad(k, text, "use a prefix such as 10.0.8.0/22")
			case prefix != prefix.Masked():
				bad(k, text, "write the network's address: "+prefix.Masked().String())
			case prefix.Bits() == 0:
				bad(k, text, "name the out-of-band networks: everything is not a network of BMCs")
			}
		}
		inRange(key+".bmc_port", s.BMCPort, 0, 65535)
		inRange(key+".window", s.Window, 0, 500)
		inRange(key+".rack_window", s.RackWindow, 0, 500)
		inRange(key+".power_stagger_seconds", s.PowerStagger, 0, 600)
		out = append(out, s.installing(key)...)
		if s.Domain != "" && !domainForm.MatchString(s.Domain) {
			bad(key+".domain", s.Domain, "use a DNS domain in small letters, such as ams01.example.net")
		}
		hostPort(key+".serve", s.Serve)
		httpURL(key+".serve_url", s.ServeURL)
		both(key+".serve", s.Serve, key+".serve_url", s.ServeURL)
	}
	out = append(out, sshKeys(c.SSHKeys)...)
	oneOf("secrets.driver", c.Secrets.Driver, "file", "env", "postgres")
	if c.Secrets.Driver == "file" && c.Secrets.Dir == "" {
		bad("secrets.dir", "", "name the folder (mode 0700) in which the secrets are kept")
	}
	hostPort("api.listen", c.API.Listen)
	both("api.tls.cert_file", c.API.TLS.CertFile, "api.tls.key_file", c.API.TLS.KeyFile)
	if host, _, err := net.SplitHostPort(c.API.Listen); err == nil && c.API.TLS.CertFile == "" && !loopback(host) {
		bad("api.listen", c.API.Listen, "set api.tls.cert_file and api.tls.key_file, or listen on 127.0.0.1: tokens do not travel in plain text")
	}
	httpURL("worker.url", c.Worker.URL)
	inRange("worker.activities", c.Worker.Activities, 1, 2000)
	inRange("firmware.max_mib", c.Firmware.MaxMiB, 1, 65536)
	both("audit.key_file", c.Audit.KeyFile, "audit.head_file", c.Audit.HeadFile)
	hostPort("telemetry.otlp", c.Telemetry.OTLP)
	hostPort("telemetry.metrics_listen", c.Telemetry.MetricsListen)
	httpURL("api.url", c.API.URL)
	seen := map[string]bool{}
	for i, h := range c.Notify {
		key := fmt.Sprintf("notify[%d]", i)
		if h.URL == "" {
			bad(key+".url", "", "name the address that is told")
		} else if u, err := url.Parse(h.URL); err != nil || u.Host == "" || u.User != nil || (u.Scheme != "http" && u.Scheme != "https") {
			bad(key+".url", "…", "use http(s)://host[:port]/path, without a user") // a chat room's URL is a secret by itself
		}
		if seen[h.URL] && h.URL != "" {
			bad(key+".url", "…", "name each address once, with all its kinds")
		}
		seen[h.URL] = true
		if h.SecretFile == "" {
			bad(key+".secret_file", "", "name a file (mode 0600) with the secret that signs what is sent")
		}
		for j, k := range h.Kinds {
			oneOf(fmt.Sprintf("%s.kinds[%d]", key, j), k, NoticeKinds()...)
		}
	}
	oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	oneOf("log.format", c.Log.Format, "json", "text")
	return out
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Need lists what a command cannot do without, as problems; keys are dotted paths.
func (c *Config) Need(command string, keys ...string) error {
	have := map[string]bool{
		"database.url": c.Database.URL != "" || c.Database.URLFile != "",
		"netbox.url":   c.NetBox.URL != "", "worker.url": c.Worker.URL != "", "worker.token_file": c.Worker.TokenFile != "",
		"secrets.key_file": c.Secrets.KeyFile != "" || c.Secrets.Driver != "postgres",
		"firmware.dir":     c.Firmware.Dir != "", "audit.key_file": c.Audit.KeyFile != "",
	}
	var out Problems
	for _, key := range keys {
		if !have[key] {
			out = append(out, Problem{File: c.file, Key: key, Reason: "`" + command + "` needs it and it is not set",
				Remedy: "set it in the file, or " + EnvName(key)})
		}
	}
	return out.orNil()
}
