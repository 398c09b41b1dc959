package server

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/templates"
	"github.com/cagenut/cagenut/workflows"
)

// siteResources is what a site's configuration gives to plans.
func siteResources(key string, s config.Site) (workflows.SiteResources, error) {
	r := workflows.SiteResources{Gateways: config.Addresses(s.Gateways), DNS: config.Addresses(s.DNS), Search: s.Search, NTP: s.NTP,
		BootURL: s.ServeURL, HTTPURL: s.Boot.HTTPURL, MediaURL: s.Boot.MediaURL,
		Agent:   templates.Kernel{Kernel: s.Boot.Agent.Kernel, Initrd: s.Boot.Agent.Initrd},
		Sources: map[string]workflows.Sources{}, Images: map[string]workflows.DiskImage{}}
	if s.Boot.CAFile != "" {
		if _, err := roots(key+".boot.ca_file", s.Boot.CAFile); err != nil {
			return r, err
		}
		pem, err := os.ReadFile(s.Boot.CAFile)
		if err != nil {
			return r, err
		}
		r.BootCA = string(pem)
	}
	for _, in := range s.Boot.Installers {
		r.Installers = append(r.Installers, workflows.Installer{Distro: in.Distro, Release: in.Release,
			Kernel: templates.Kernel{Kernel: in.Kernel, Initrd: in.Initrd, Media: in.Media}})
	}
	for distro, from := range s.Sources {
		out := workflows.Sources{Mirror: from.Mirror, Security: from.Security, Proxy: from.Proxy}
		for _, repo := range from.Repos {
			out.Repos = append(out.Repos, templates.Repo(repo))
		}
		r.Sources[distro] = out
	}
	for name, image := range s.Images {
		r.Images[name] = workflows.DiskImage(image)
	}
	if s.Salt.Used() {
		r.Salt = &templates.Salt{Package: cmp.Or(s.Salt.Package, "salt-minion"), Masters: s.Salt.Masters, MasterFinger: s.Salt.MasterFinger}
	}
	if s.Ansible.Used() {
		r.Ansible = &templates.Ansible{PublicKey: s.Ansible.PublicKey}
	}
	return r, nil
}

// Templates loads the templates in force: the built-in ones, and over them those of the folder.
func Templates(c *config.Config) (*templates.Set, error) {
	var own fs.FS
	if c.Templates != "" {
		if _, err := os.Stat(c.Templates); err != nil {
			return nil, config.Problems{{Key: "templates", Value: c.Templates, Reason: err.Error(), Remedy: "make the folder, or name another"}}
		}
		own = os.DirFS(c.Templates)
	}
	return templates.Load(own)
}

// CheckTemplates renders every template for imagined machines, and says how many are one's own.
func CheckTemplates(c *config.Config) (string, error) {
	set, err := Templates(c)
	if err != nil {
		return "", err
	}
	if bad := set.Check(); len(bad) > 0 {
		return "", errors.Join(bad...)
	}
	own, all := 0, set.List()
	for _, t := range all {
		if t.Overridden {
			own++
		}
	}
	return fmt.Sprintf("%d templates, %d of them your own, render for every sample", len(all), own), nil
}
