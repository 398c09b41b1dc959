package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/login"
	"github.com/cagenut/cagenut/internal/operation"
)

func newTokenCommand(s Streams) *cobra.Command {
	return group("token", "Tokens of people and workers", newTokenCreateCommand(s), newTokenListCommand(s), newTokenRevokeCommand(s))
}

func newTokenCreateCommand(s Streams) *cobra.Command {
	var ask wire.NewToken
	var role, databaseURL, configFile string
	c := &cobra.Command{
		Use:   "create PERSON --role ROLE",
		Short: "Make a token; its secret is shown this once",
		Long: `Roles: viewer reads, operator starts and steers, approver approves, admin does everything, worker serves the
sites that it names. --config or --database-url, on the server, write to PostgreSQL directly: that makes the first
admin.`,
		Example: `  cagenut token create alice --role operator --site ams01 --days 90
  cagenut token create worker-ams01 --role worker --site ams01
  cagenut token create alice --role admin --config /etc/cagenut/cagenut.yaml`,
		Args: argCount(1, 1, "the person that the token belongs to"),
		RunE: func(c *cobra.Command, args []string) error {
			ask.Person, ask.Role = args[0], operation.Role(role)
			if role == "" {
				return usage("--role is needed: viewer, operator, approver, admin or worker")
			}
			if configFile != "" {
				cfg, err := (&configFlags{file: configFile}).load()
				if err != nil {
					return err
				}
				if err := cfg.Need("cagenut token create --config", "database.url"); err != nil {
					return err
				}
				if databaseURL, err = cfg.DatabaseURL(); err != nil {
					return err
				}
			}
			var got wire.CreatedToken
			if databaseURL != "" {
				var err error
				if got, err = firstToken(c.Context(), databaseURL, ask); err != nil {
					return err
				}
			} else {
				cl, err := connect(c)
				if err != nil {
					return err
				}
				if got, err = cl.CreateToken(c.Context(), ask); err != nil {
					return err
				}
			}
			if format(c) == "table" {
				fmt.Fprintf(s.Err, "%s for %s (%s, sites: %s). The secret is not shown again:\n", got.Token.ID, got.Token.Person, got.Token.Role, list(got.Token.Sites, "all"))
				_, err := fmt.Fprintln(s.Out, got.Secret)
				return err
			}
			return s.print(c, got, nil)
		},
	}
	fl := c.Flags()
	fl.StringVar(&role, "role", "", "viewer, operator, approver, admin or worker")
	fl.StringSliceVar(&ask.Sites, "site", nil, "only for this site; repeatable")
	fl.IntVar(&ask.Days, "days", 0, "days until it expires; 0: never")
	fl.StringVar(&databaseURL, "database-url", "", "write to this PostgreSQL directly (on the server, for the first admin)")
	fl.StringVar(&configFile, "config", "", "write to the PostgreSQL of this configuration directly (on the server, for the first admin)")
	c.MarkFlagsMutuallyExclusive("config", "database-url")
	complete(c, "role", "viewer", "operator", "approver", "admin", "worker")
	return c
}

func newTokenListCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List tokens, without their secrets",
		Example: "  cagenut token list",
		Args:    argCount(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := connect(c)
			if err != nil {
				return err
			}
			got, err := cl.Tokens(c.Context())
			if err != nil {
				return err
			}
			return s.print(c, got, func(t *table) {
				t.row("TOKEN", "PERSON", "ROLE", "SITES", "CREATED (UTC)", "EXPIRES", "LAST USED", "REVOKED")
				for _, k := range got {
					t.row(k.ID, k.Person, k.Role, list(k.Sites, "all"), stamp(k.Created), stamp(k.Expires), stamp(k.LastUsed), stamp(k.Revoked))
				}
			})
		},
	}
}

func newTokenRevokeCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke TOKEN",
		Short:   "Revoke a token at once",
		Example: "  cagenut token revoke tok_01JT2Z0W9V6Q4M8K3N5P7R1S2T",
		Args:    argCount(1, 1, "one token's ID"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := connect(c)
			if err != nil {
				return err
			}
			if err := cl.RevokeToken(c.Context(), args[0]); err != nil {
				return err
			}
			if format(c) == "table" {
				fmt.Fprintln(s.Err, args[0], "revoked")
				return nil
			}
			return s.print(c, map[string]string{"revoked": args[0]}, nil)
		},
	}
}

func newLoginCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "login URL",
		Short: "Keep the API's address and your token for later commands",
		Long: `Asks for the token (or reads it from standard input or --token-file), tries it, and keeps both in a file that
only you can read. CAGENUT_URL and CAGENUT_TOKEN go before it.`,
		Example: `  cagenut login https://cagenut.example:7780
  cagenut login https://cagenut.example:7780 --ca-file ca.pem < token`,
		Args: argCount(1, 1, "the API's address"),
		RunE: func(c *cobra.Command, args []string) error {
			l := login.Login{URL: args[0], CAFile: pick(c, "ca-file", "CAGENUT_CA_FILE")}
			found, err := findLogin(c)
			if err != nil {
				return err
			}
			if name, _ := c.Flags().GetString("token-file"); name != "" {
				l.Token = found.Token
			} else if l.Token, err = s.askToken(); err != nil {
				return err
			}
			cl, err := dial(l)
			if err != nil {
				return err
			}
			who, err := cl.Whoami(c.Context())
			if err != nil {
				return err
			}
			path, err := login.Path()
			if err != nil {
				return err
			}
			if err := login.Save(path, l); err != nil {
				return err
			}
			if format(c) == "table" {
				fmt.Fprintf(s.Err, "logged in to %s as %s (%s); kept in %s\n", l.URL, who.Token.Person, who.Token.Role, path)
				return nil
			}
			return s.print(c, struct {
				URL  string   `json:"url"`
				File string   `json:"file"`
				Who  wire.Who `json:"who"`
			}{l.URL, path, who}, nil)
		},
	}
}

// askToken reads a token from standard input; on a terminal it is not shown.
func (s Streams) askToken() (string, error) {
	var text string
	if f, ok := s.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(s.Err, "token: ")
		raw, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(s.Err)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		text = string(raw)
	} else {
		line, err := bufio.NewReader(io.LimitReader(s.In, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the token: %w", err)
		}
		text = line
	}
	if text = strings.TrimSpace(text); text == "" {
		return "", usage("no token was given: an administrator makes one with `cagenut token create`")
	}
	return asToken("what was entered", text)
}
