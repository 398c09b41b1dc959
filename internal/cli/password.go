package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/secret"
	"github.com/cagenut/cagenut/internal/server"
)

// newBMCPasswordCommand is the way out when a person must log in to a BMC themselves.
func newBMCPasswordCommand(s Streams) *cobra.Command {
	var ask wire.Reveal
	c := &cobra.Command{
		Use:   "password MACHINE --reason TEXT",
		Short: "Print the logins that are known for a machine's BMC; administrators only, audited first",
		Long: `For the moment when a person must log in to a BMC themselves. Who asked, and why, is in the audit log before
anything is shown. Every login that may work is printed, the likeliest first, to standard output only.`,
		Example: `  cagenut bmc password srv-101 --reason "console for DC-42"
  cagenut bmc password srv-101 --account ADMIN --reason "console for DC-42" -o json`,
		Args:              argCount(1, 1, "one name, serial or NetBox ID"),
		ValidArgsFunction: suggestAssets(),
		RunE: func(c *cobra.Command, args []string) error {
			if ask.Reason == "" {
				return usage("--reason is needed: it goes into the audit trail")
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			got, err := cl.RevealPassword(c.Context(), args[0], ask)
			if err != nil {
				return err
			}
			return s.print(c, got, func(t *table) {
				t.row("SOURCE", "USER", "PASSWORD")
				for _, one := range got {
					t.row(one.Source, one.User, one.Password)
				}
			})
		},
	}
	c.Flags().StringVar(&ask.Reason, "reason", "", "why; goes into the audit trail")
	c.Flags().StringVar(&ask.Account, "account", "", "account of the BMC (default: the profile's)")
	return c
}

func newSecretsCommand(s Streams) *cobra.Command {
	var f configFlags
	rotate := &cobra.Command{
		Use:   "rotate-key",
		Short: "Seal every stored password with the newest key of secrets.key_file",
		Long: `On the server. Put the new key (openssl rand -base64 32) as the first line of secrets.key_file, above the old one,
restart serve, run this, then take the old line out and restart serve again. It may be repeated; passwords stay what
they are.`,
		Example: `  cagenut secrets rotate-key --config /etc/cagenut/cagenut.yaml`,
		Args:    argCount(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := f.load()
			if err != nil {
				return err
			}
			if cfg.Secrets.Driver != "postgres" {
				return usage("secrets.driver is %q: only passwords in PostgreSQL are sealed with a key", cfg.Secrets.Driver)
			}
			if err := cfg.Need("cagenut secrets rotate-key", "database.url", "secrets.key_file"); err != nil {
				return err
			}
			ring, err := secret.ReadRing(cfg.Secrets.KeyFile)
			if err != nil {
				return err
			}
			store, err := server.OpenStore(c.Context(), cfg)
			if err != nil {
				return err
			}
			defer store.Close()
			n, err := (&secret.Database{Pool: store.Pool(), Ring: ring}).Rotate(c.Context())
			if err != nil {
				return err
			}
			return s.print(c, map[string]int{"sealed_anew": n}, func(t *table) {
				t.line("%s", fmt.Sprintf("%s sealed anew; the older keys are not needed any more", count(n, "password")))
			})
		},
	}
	f.add(rotate, nil)
	return group("secrets", "How passwords are kept", rotate)
}
