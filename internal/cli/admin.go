package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/server"
	"github.com/cagenut/cagenut/inventory"
)

func newNetBoxCommand(s Streams) *cobra.Command {
	var dryRun, apply bool
	var f configFlags
	setup := &cobra.Command{
		Use:   "setup (--dry-run | --apply)",
		Short: "Compare, or complete, what Cagenut needs in NetBox",
		Long: `Custom fields, tags, constrained permissions for Cagenut's own account, and a webhook. --dry-run lists what
is there and what is missing; --apply makes what is missing and never changes what it did not make.

Both need an administrator of NetBox, which Cagenut's own account is not: give such a token for this once with
--netbox-token-file. NetBox is then asked from here, with netbox.url and netbox.user of the configuration, and its
changelog names the administrator. Without it the control plane asks, with its own token.`,
		Example: `  cagenut netbox setup --dry-run --netbox-token-file admin.token --config /etc/cagenut/cagenut.yaml
  cagenut netbox setup --apply --netbox-token-file admin.token --config /etc/cagenut/cagenut.yaml
  cagenut netbox setup --dry-run`,
		Args: argCount(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if dryRun == apply {
				return usage("say --dry-run or --apply")
			}
			items, err := setupNetBox(c, &f, apply)
			if err != nil {
				return err
			}
			return s.print(c, items, func(t *table) {
				t.row("STATE", "KIND", "NAME", "DETAIL")
				for _, i := range items {
					t.row(i.State, i.Kind, i.Name, i.Detail)
				}
			})
		},
	}
	setup.Flags().BoolVar(&dryRun, "dry-run", false, "only list")
	setup.Flags().BoolVar(&apply, "apply", false, "make what is missing")
	f.add(setup, map[string]string{netboxTokenKey: "netbox-token-file: file with the token of an administrator of NetBox; used this once, from here"})
	return group("netbox", "NetBox: prepare it for Cagenut", setup)
}

const netboxTokenKey = "netbox.token_file"

// setupNetBox asks NetBox from here when an administrator's token is given, else by the control plane.
func setupNetBox(c *cobra.Command, f *configFlags, apply bool) ([]inventory.SetupItem, error) {
	if *f.keys[netboxTokenKey] == "" {
		if f.file != "" || len(f.set) > 0 {
			return nil, usage("--config and --set go with --netbox-token-file: without it the control plane asks NetBox, with its own configuration")
		}
		cl, err := connect(c)
		if err != nil {
			return nil, err
		}
		return cl.NetBoxSetup(c.Context(), apply)
	}
	cfg, err := f.load()
	if err != nil {
		return nil, err
	}
	if cfg.NetBox.URL == "" || cfg.NetBox.User == "" {
		return nil, usage("netbox.url and netbox.user are needed: name the configuration with --config, or use --set netbox.url=... --set netbox.user=...")
	}
	inv, err := server.Inventory(cfg, nil)
	if err != nil {
		return nil, err
	}
	o := inventory.SetupOptions{User: cfg.NetBox.User, WebhookURL: cfg.NetBox.WebhookURL}
	if cfg.NetBox.WebhookKeyFile != "" {
		if o.WebhookKey, err = config.ReadSecretFile("netbox.webhook_key_file", cfg.NetBox.WebhookKeyFile); err != nil {
			return nil, err
		}
	}
	return inv.Setup(c.Context(), o, apply)
}

func newBMCImportCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "import MANIFEST.csv",
		Short: "Import factory passwords of BMCs by serial and MAC",
		Long: `Reads the vendor's shipping manifest: a CSV with a header row that names the columns serial, mac, user and
password (serial or mac is enough). All rows are taken or none. Passwords are kept encrypted and never shown.`,
		Example: "  cagenut bmc import manifest.csv\n  gpg -d manifest.csv.gpg | cagenut bmc import -",
		Args:    argCount(1, 1, "one file, or - for standard input"),
		RunE: func(c *cobra.Command, args []string) error {
			in := s.In
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return usage("%v", err)
				}
				defer f.Close()
				in = f
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			got, err := cl.ImportManifest(c.Context(), in)
			if err != nil {
				return err
			}
			return s.print(c, got, func(t *table) {
				t.line("%s imported, %d changed, %d unchanged", count(got.Imported, "password"), got.Changed, got.Unchanged)
			})
		},
	}
}

func newFirmwareCommand(s Streams) *cobra.Command {
	return group("firmware", "Firmware files that profiles name", newFirmwareAddCommand(s), newFirmwareListCommand(s), newFirmwareVerifyCommand(s), newFirmwareRemoveCommand(s))
}

func newFirmwareAddCommand(s Streams) *cobra.Command {
	var sum string
	c := &cobra.Command{
		Use:   "add FILE...",
		Short: "Add firmware files, each known by its SHA-256",
		Example: `  cagenut firmware add BIOS_R650_1.15.2.EXE --sha256 9f2c0d...
  cagenut firmware add *.bin`,
		Args: argCount(1, -1, "files"),
		RunE: func(c *cobra.Command, args []string) error {
			if sum != "" && len(args) > 1 {
				return usage("--sha256 goes with one file")
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			added := []operation.FirmwareFile{}
			for _, path := range args {
				f, err := os.Open(path)
				if err != nil {
					return usage("%v", err)
				}
				defer f.Close()
				got, size, err := hash(f)
				if err != nil {
					return usage("%v", err)
				}
				if size == 0 {
					return usage("%s is empty: the download is damaged", path)
				}
				if sum != "" && sum != got {
					return usage("%s has the SHA-256 %s, not the one given: the download is damaged, or another file", path, got)
				}
				file, err := cl.AddFirmware(c.Context(), filepath.Base(path), got, size, f)
				if err != nil {
					return err
				}
				added = append(added, file)
			}
			return s.print(c, added, func(t *table) { firmwareTable(t, added) })
		},
	}
	c.Flags().StringVar(&sum, "sha256", "", "what the vendor publishes for the file; it must be the same")
	return c
}

// hash reads a file to its end and back to its beginning.
func hash(f *os.File) (sum string, size int64, err error) {
	h := sha256.New()
	if size, err = io.Copy(h, f); err != nil {
		return "", 0, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return hex.EncodeToString(h.Sum(nil)), size, err
}

func firmwareTable(t *table, files []operation.FirmwareFile) {
	t.row("NAME", "SHA-256", "BYTES", "ADDED (UTC)", "BY")
	for _, f := range files {
		t.row(f.Name, f.SHA256, f.Size, stamp(f.Added), f.By)
	}
}

func newFirmwareListCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the firmware files",
		Example: "  cagenut firmware list\n  cagenut firmware list -o yaml",
		Args:    argCount(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := connect(c)
			if err != nil {
				return err
			}
			files, err := cl.Firmware(c.Context())
			if err != nil {
				return err
			}
			return s.print(c, files, func(t *table) { firmwareTable(t, files) })
		},
	}
}

func newFirmwareVerifyCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:     "verify",
		Short:   "Read every stored firmware file and compare its SHA-256",
		Example: "  cagenut firmware verify",
		Args:    argCount(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := connect(c)
			if err != nil {
				return err
			}
			got, err := cl.VerifyFirmware(c.Context())
			if err != nil {
				return err
			}
			bad := 0
			for _, f := range got {
				if f.Error != nil {
					bad++
				}
			}
			err = s.print(c, got, func(t *table) {
				for _, f := range got {
					says := "ok"
					if f.Error != nil {
						says = f.Error.Message
					}
					t.row(f.File.Name, f.File.SHA256, says)
				}
				t.line("%s, %d bad", count(len(got), "file"), bad)
			})
			if err == nil && bad > 0 {
				err = &ExitError{Code: ExitFailure, Err: errors.New(count(bad, "firmware file") + " missing or damaged; add them again")}
			}
			return err
		},
	}
}

func newFirmwareRemoveCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "remove FILE",
		Short: "Remove a stored firmware file that no open operation needs",
		Example: `  cagenut firmware remove BIOS_R650_1.15.2.EXE
  cagenut firmware remove 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08`,
		Args: argCount(1, 1, "one file's name or SHA-256"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := connect(c)
			if err != nil {
				return err
			}
			files, err := cl.Firmware(c.Context())
			if err != nil {
				return err
			}
			i := slices.IndexFunc(files, func(f operation.FirmwareFile) bool { // a name means one file: add holds that
				return f.Name == args[0] || strings.EqualFold(f.SHA256, args[0])
			})
			var file operation.FirmwareFile
			raw, notHex := hex.DecodeString(args[0])
			switch {
			case i >= 0:
				file = files[i]
			case notHex == nil && len(raw) == sha256.Size:
				// The catalogue lacks it, the folder may not: a removal that was cut short is ended by asking again.
				file = operation.FirmwareFile{Name: args[0], SHA256: strings.ToLower(args[0])}
			default:
				e := fault.New(fault.NotFound, "no firmware file has the name or the SHA-256 %q", args[0])
				e.Remedy = "`cagenut firmware list` shows them"
				return e
			}
			if err := cl.RemoveFirmware(c.Context(), file.SHA256); err != nil {
				return err
			}
			return s.print(c, file, func(t *table) { t.line("%s removed", file.Name) })
		},
	}
}
