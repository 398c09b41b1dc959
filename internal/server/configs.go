package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/configmgmt/ansible"
	"github.com/cagenut/cagenut/configmgmt/salt"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
)

// siteConfigs is a site's configuration management. Its drivers are made once, from the configuration,
// and dial nothing before they are used.
type siteConfigs struct {
	key     string // sites.<slug>
	drivers map[string]configmgmt.Driver
}

var _ activities.ConfigManagements = (*siteConfigs)(nil)

// newSiteConfigs makes the drivers that a site's configuration sets up. state is a folder of the worker.
func newSiteConfigs(slug string, s config.Site, state string) (*siteConfigs, error) {
	c := &siteConfigs{key: "sites." + slug, drivers: map[string]configmgmt.Driver{}}
	if s.Salt.Used() {
		d, err := newSalt(c.key+".salt", s.Salt)
		if err != nil {
			return nil, err
		}
		c.drivers["salt"] = d
	}
	if s.Ansible.Used() {
		d, err := newAnsible(c.key+".ansible", s.Ansible, state)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.drivers["ansible"] = d
	}
	return c, nil
}

func newSalt(key string, s config.Salt) (configmgmt.Driver, error) {
	password, err := config.ReadSecretFile(key+".password_file", s.PasswordFile)
	if err != nil {
		return nil, err
	}
	ca, err := roots(key+".ca_file", s.CAFile)
	if err != nil {
		return nil, err
	}
	d, err := salt.New(salt.Options{URL: s.URL, User: s.User, Password: password, Eauth: s.Eauth, RootCAs: ca})
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "%s: %v", key, err)
	}
	return d, nil
}

func newAnsible(key string, a config.Ansible, state string) (configmgmt.Driver, error) {
	if _, err := config.ReadSecretFile(key+".key_file", a.KeyFile); err != nil {
		return nil, err
	}
	o := ansible.Options{Dir: filepath.Join(state, "ansible"), Project: a.Project, Bin: a.Bin, User: cmp.Or(a.User, "root"), KeyFile: a.KeyFile,
		Become: a.Become, Interpreter: a.Interpreter}
	for _, path := range []*string{&o.Dir, &o.Project, &o.KeyFile} { // the configuration may be relative to this folder
		abs, err := filepath.Abs(*path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		*path = abs
	}
	d, err := ansible.New(o)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "%s: %v", key, err)
	}
	return d, nil
}

// Driver gives a driver of the site; fault.Incomplete when it is not set up.
func (c *siteConfigs) Driver(name string) (configmgmt.Driver, error) {
	if d, ok := c.drivers[name]; ok {
		return d, nil
	}
	e := fault.New(fault.Incomplete, "the worker's configuration sets up no %s: %s.%s is empty", name, c.key, name)
	e.Details = []fault.Item{{Subject: c.key + "." + name, Expected: "set", Seen: "empty", Remedy: "set it up as docs/" + name + ".md says"}}
	e.Remedy = "set up " + c.key + "." + name + " in the configuration of the site's worker, restart it, then `cagenut op retry`"
	return nil, e
}

// Close gives back the drivers' connections. Runs go on.
func (c *siteConfigs) Close() error {
	var errs []error
	for _, d := range c.drivers {
		errs = append(errs, d.Close())
	}
	return errors.Join(errs...)
}

// ConfigChecks are the checks of a site's configuration management.
func ConfigChecks(c *config.Config, slug string) []config.Check {
	site, key := c.Sites[slug], "sites."+slug
	var out []config.Check
	add := func(name, target string, driver func() (configmgmt.Driver, error)) {
		out = append(out, config.Check{Name: name + " of " + slug, Target: target, Run: func(ctx context.Context) (string, error) {
			d, err := driver()
			if err != nil {
				return "", err
			}
			defer func() { _ = d.Close() }()
			st, err := d.Ping(ctx)
			switch {
			case err != nil:
				return "", err
			case len(st.Missing) > 0:
				return "", fmt.Errorf("%s as %s lacks: %s", st.Name, st.User, strings.Join(st.Missing, ", "))
			}
			return st.Name + " as " + st.User, nil
		}})
	}
	if site.Salt.Used() {
		add("Salt", site.Salt.URL, func() (configmgmt.Driver, error) { return newSalt(key+".salt", site.Salt) })
	}
	if site.Ansible.Used() {
		add("Ansible", site.Ansible.Project, func() (configmgmt.Driver, error) {
			return newAnsible(key+".ansible", site.Ansible, filepath.Join(c.StateDir, "site-"+slug))
		})
	}
	return out
}
