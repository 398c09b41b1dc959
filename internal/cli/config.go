package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/server"
)

// configFlags are how serve, worker, migrate and config check are told their configuration.
type configFlags struct {
	file string
	set  []string
	keys map[string]*string // flags of their own, by key

	empty bool // set by load: nothing configures anything
}

func (f *configFlags) add(c *cobra.Command, own map[string]string) {
	c.Flags().StringVar(&f.file, "config", "", "configuration file (default: CAGENUT_CONFIG, else cagenut.yaml where it is there)")
	c.Flags().StringArrayVar(&f.set, "set", nil, "set one key of the configuration, e.g. api.listen=127.0.0.1:7780; repeatable")
	f.keys = map[string]*string{}
	for key, flag := range own {
		name, about, _ := strings.Cut(flag, ": ")
		f.keys[key] = c.Flags().String(name, "", about)
	}
}

// defaultFile is read when no other is named.
const defaultFile = "cagenut.yaml"

// load reads the configuration: file, environment over it, flags over that.
func (f *configFlags) load() (*config.Config, error) {
	src := config.Source{File: f.file, Env: os.Environ(), Set: map[string]string{}}
	if src.File == "" {
		src.File = os.Getenv("CAGENUT_CONFIG")
	}
	if src.File == "" {
		if _, err := os.Stat(defaultFile); err == nil {
			src.File = defaultFile
		}
	}
	for _, kv := range f.set {
		key, value, ok := strings.Cut(kv, "=")
		if !ok {
			return nil, usage("--set %q: write KEY=VALUE", kv)
		}
		src.Set[key] = value
	}
	for key, value := range f.keys {
		if *value != "" {
			src.Set[key] = *value
		}
	}
	cfg, err := config.Load(src)
	f.file = src.File
	f.empty = err == nil && cfg.FromNothing() && len(src.Set) == 0 && !slices.ContainsFunc(config.Keys(), func(k string) bool { return os.Getenv(config.EnvName(k)) != "" })
	return cfg, err
}

func newConfigCommand(s Streams) *cobra.Command {
	var f configFlags
	var keys bool
	check := &cobra.Command{
		Use:   "check",
		Short: "Read the configuration, dial everything that it names, and say what Cagenut may do there",
		Long: `Lists every wrong key and value with its line. When there is none, opens every file that it names and dials
PostgreSQL, Temporal, NetBox, the API and the sites' configuration management where they are configured, and renders
the templates. It makes nothing. Needs no control plane.`,
		Example: `  cagenut config check --config /etc/cagenut/cagenut.yaml
  CAGENUT_NETBOX_URL=https://netbox.example cagenut config check
  cagenut config check --keys`,
		Args: argCount(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if keys {
				return s.printKeys(c)
			}
			cfg, err := f.load()
			if err != nil {
				return err
			}
			if f.empty && f.file != "" {
				return usage("there is nothing to check: nothing is configured in %s, nor by an environment variable or --set", f.file)
			}
			if f.empty {
				return usage("there is nothing to check: name a file with --config or CAGENUT_CONFIG; %s is not in this folder", defaultFile)
			}
			return s.printChecks(c, config.RunChecks(c.Context(), checksOf(cfg)))
		},
	}
	f.add(check, nil)
	check.Flags().BoolVar(&keys, "keys", false, "list all keys with their environment variables instead")
	return group("config", "The configuration of servers and workers", check)
}

func (s Streams) printKeys(c *cobra.Command) error {
	type key struct {
		Key      string `json:"key"`
		Variable string `json:"variable"`
	}
	var out []key
	for _, k := range config.Keys() {
		out = append(out, key{k, config.EnvName(k)})
	}
	return s.print(c, out, func(t *table) {
		t.row("KEY", "ENVIRONMENT")
		for _, k := range out {
			t.row(k.Key, k.Variable)
		}
		t.line("sites.<slug>.* stand in the file only")
	})
}

// checksOf are the checks for what a configuration names; what it does not name is not checked.
func checksOf(cfg *config.Config) []config.Check {
	checks := []config.Check{
		{Name: "State folder", Target: cfg.StateDir, Run: func(context.Context) (string, error) { return writable(cfg.StateDir) }},
	}
	add := func(when bool, c config.Check) {
		if when {
			checks = append(checks, c)
		}
	}
	checks = append(checks, fileChecks(cfg)...)
	hasStore := cfg.Database.URL != "" || cfg.Database.URLFile != ""
	_, profilesErr := os.Stat(cfg.Profiles)
	add(hasStore || profilesErr == nil, config.Check{Name: "Profiles", Target: cfg.Profiles, Run: func(context.Context) (string, error) {
		ps, err := config.LoadProfiles(cfg.Profiles)
		return count(len(ps), "profile"), err
	}})
	checks = append(checks, config.Check{Name: "Templates", Target: cfg.Templates, Run: func(context.Context) (string, error) {
		return server.CheckTemplates(cfg)
	}})
	add(cfg.Firmware.Dir != "", config.Check{Name: "Firmware folder", Target: cfg.Firmware.Dir,
		Run: func(context.Context) (string, error) { return writable(cfg.Firmware.Dir) }})
	add(hasStore, config.Check{Name: "PostgreSQL", Run: func(ctx context.Context) (string, error) {
		store, err := server.OpenStore(ctx, cfg)
		if err != nil {
			return "", withRemedy(err)
		}
		defer store.Close()
		return "answers, the schema is this program's", nil
	}})
	add(hasStore || cfg.Worker.URL != "", config.Check{Name: "Temporal", Target: cfg.Temporal.Host, Run: func(ctx context.Context) (string, error) {
		conn, err := server.Temporal(cfg, nil)
		if err != nil {
			return "", err
		}
		t, err := operation.Dial(ctx, conn)
		if err != nil {
			return "", withRemedy(err)
		}
		defer t.Close()
		return "answers; namespace " + cfg.Temporal.Namespace, nil
	}})
	add(cfg.NetBox.URL != "", config.Check{Name: "NetBox", Target: cfg.NetBox.URL, Run: func(ctx context.Context) (string, error) {
		inv, err := server.Inventory(cfg, nil)
		if err != nil {
			return "", err
		}
		st, err := inv.Ping(ctx)
		switch {
		case err != nil:
			return "", err
		case len(st.Missing) > 0:
			return "", fmt.Errorf("version %s as %s, but lacks: %s. What to do: cagenut netbox setup --apply", st.Version, st.User, strings.Join(st.Missing, ", "))
		case st.Super:
			return "version " + st.Version + " as " + st.User + ", who is a superuser: an account of its own with fewer rights is enough", nil
		}
		return "version " + st.Version + " as " + st.User + ", who may read what Cagenut reads and change devices", nil
	}})
	add(cfg.Worker.URL != "", config.Check{Name: "API", Target: cfg.Worker.URL, Run: func(ctx context.Context) (string, error) {
		cl, err := server.APIClient(cfg.Worker)
		if err != nil {
			return "", err
		}
		who, err := cl.Whoami(ctx)
		if err != nil {
			return "", withRemedy(err)
		}
		return fmt.Sprintf("version %s; the token is %s's, role %s, sites %s", who.Version, who.Token.Person, who.Token.Role, list(who.Token.Sites, "all")), nil
	}})
	for _, slug := range cfg.SiteNames() {
		site := cfg.Sites[slug]
		add(site.Serve != "", config.Check{Name: "Firmware server of " + slug, Target: site.Serve, Run: func(ctx context.Context) (string, error) {
			host, _, err := net.SplitHostPort(site.Serve)
			if err != nil {
				return "", err
			}
			l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
			if err != nil {
				return "", fmt.Errorf("this machine has no such address: %w", err)
			}
			return "this machine can listen there; BMCs use " + site.ServeURL, l.Close()
		}})
		checks = append(checks, server.ConfigChecks(cfg, slug)...)
	}
	return checks
}

// withRemedy puts the remedy of a fault beside its message, where one line is all there is.
func withRemedy(err error) error {
	if f := asFault(err); f != nil && f.Remedy != "" {
		return fmt.Errorf("%s. What to do: %s", f.Message, f.Remedy)
	}
	return err
}
