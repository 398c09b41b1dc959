package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/workflows"
)

func TestDriversAreThoseOfTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	site := config.Site{Salt: config.Salt{URL: "https://salt.example:8000", User: "cagenut", PasswordFile: secret}}
	c, err := newSiteConfigs("ams01", site, dir)
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.Driver("salt")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.Driver("salt"); err != nil || again != first {
		t.Errorf("another driver is made each time: %v", err)
	}
	_, err = c.Driver("ansible")
	if f := fault.From(err); f.Code != fault.Incomplete || !strings.Contains(f.Remedy, "sites.ams01.ansible") {
		t.Errorf("a driver that is not set up: %+v", f)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	site.Ansible = config.Ansible{Project: dir, KeyFile: secret}
	if c, err = newSiteConfigs("ams01", site, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Driver("ansible"); err != nil {
		t.Error(err)
	}
	if n := len(ConfigChecks(&config.Config{StateDir: dir, Sites: map[string]config.Site{"ams01": site}}, "ams01")); n != 2 {
		t.Errorf("%d checks, want 2", n)
	}
	site.Salt.PasswordFile = filepath.Join(dir, "none")
	if _, err := newSiteConfigs("ams01", site, dir); err == nil || !strings.Contains(err.Error(), "sites.ams01.salt.password_file") {
		t.Errorf("without the password's file: %v", err)
	}
}

func TestResourcesAreThoseOfTheSite(t *testing.T) {
	r, err := siteResources("sites.ams01", config.Site{ServeURL: "http://192.0.2.4:8080", Gateways: []string{"10.1.0.1"},
		Boot:    config.Boot{Installers: []config.Installer{{Distro: "rhel-family", Release: "9*", Kernel: "k"}}},
		Sources: map[string]config.Sources{"debian": {Mirror: "m", Repos: []config.Repo{{Name: "n", URL: "u"}}}},
		Images:  map[string]config.Image{"d": {URL: "u", SHA256: "s"}},
		Salt:    config.Salt{URL: "x"}, Ansible: config.Ansible{PublicKey: "p"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.BootURL == "" || r.Sources["debian"].Repos[0].URL != "u" || r.Images["d"] != (workflows.DiskImage{URL: "u", SHA256: "s"}) ||
		r.Salt.Package != "salt-minion" || r.Ansible.PublicKey != "p" || len(r.Gateways) != 1 {
		t.Errorf("%+v", r)
	}
	for release, want := range map[string]bool{"9.4": true, "9": true, "8": false} {
		if _, ok := r.Installer("rhel-family", release); ok != want {
			t.Errorf("release %s: %t", release, ok)
		}
	}
	if _, err := siteResources("sites.ams01", config.Site{Boot: config.Boot{CAFile: "/none"}}); err == nil || !strings.Contains(err.Error(), "sites.ams01.boot.ca_file") {
		t.Errorf("a CA that is not there: %v", err)
	}
}

func TestTemplatesOfOnesOwn(t *testing.T) {
	c := config.Default()
	if says, err := CheckTemplates(c); err != nil || !strings.Contains(says, "0 of them") {
		t.Errorf("%s, %v", says, err)
	}
	c.Templates = t.TempDir()
	if err := os.WriteFile(filepath.Join(c.Templates, "wrong.tmpl"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := CheckTemplates(c); err == nil || !strings.Contains(err.Error(), "wrong.tmpl") {
		t.Errorf("a file that is no template: %v", err)
	}
	c.Templates = "/none"
	if _, err := Templates(c); err == nil {
		t.Error("a folder that is not there")
	}
}
