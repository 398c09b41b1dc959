package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/profile"
)

func newProfileCommand(s Streams) *cobra.Command {
	return group("profile", "Profiles: what machines must look like",
		newProfileListCommand(s), newProfileShowCommand(s), newProfileCheckCommand(s))
}

func newProfileListCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the server's profiles and what they match",
		Example: "  cagenut profile list\n  cagenut profile list -o json",
		Args:    argCount(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := connect(c)
			if err != nil {
				return err
			}
			got, err := cl.Profiles(c.Context())
			if err != nil {
				return err
			}
			return s.print(c, got, func(t *table) {
				t.row("PROFILE", "DEVICE TYPES", "ROLES", "SITES", "BMC", "FIRMWARE", "BIOS")
				for _, p := range got {
					m := p.Profile.Match
					t.row(p.Ref, list(m.DeviceTypes, "-"), list(m.Roles, "any"), list(m.Sites, "any"), p.Profile.BMC.Protocol,
						len(p.Profile.Firmware.Components), len(p.Profile.BIOS.Attributes))
				}
			})
		},
	}
}

func newProfileShowCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:               "show PROFILE",
		Short:             "Show one profile as YAML (or JSON with -o json)",
		Example:           "  cagenut profile show r650-compute\n  cagenut profile show r650-compute@3 -o json",
		Args:              argCount(1, 1, "one profile"),
		ValidArgsFunction: suggestProfiles(),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := connect(c)
			if err != nil {
				return err
			}
			p, err := cl.Profile(c.Context(), args[0])
			if err != nil {
				return err
			}
			if format(c) == "table" { // a profile is YAML to people
				if err := c.Flag("output").Value.Set("yaml"); err != nil {
					return err
				}
			}
			return s.print(c, p.Profile, nil)
		},
	}
}

func newProfileCheckCommand(s Streams) *cobra.Command {
	var onServer bool
	c := &cobra.Command{
		Use:   "check [FILE or FOLDER]...",
		Short: "Check profiles and list every problem with file and line; needs no control plane",
		Long: `Checks files, or every .yaml file of folders (default: the folder "profiles"). With --server it asks the
server to read its own folder anew instead.`,
		Example: `  cagenut profile check
  cagenut profile check profiles/r650.yaml
  cagenut profile check --server`,
		Args: argCount(0, -1, "files or folders"),
		RunE: func(c *cobra.Command, args []string) error {
			var got wire.ProfileCheck
			if onServer {
				cl, err := connect(c)
				if err != nil {
					return err
				}
				if got, err = cl.CheckProfiles(c.Context()); err != nil {
					return err
				}
			} else {
				if len(args) == 0 {
					args = []string{config.Default().Profiles}
				}
				var err error
				if got, err = checkProfiles(args); err != nil {
					return err
				}
			}
			err := s.print(c, got, func(t *table) {
				for _, p := range got.Problems {
					t.line("%s", p)
				}
				if len(got.Problems) == 0 {
					t.line("%s without problems: %s", count(len(got.Profiles), "profile"), list(got.Profiles, "none"))
				}
			})
			if err == nil && len(got.Problems) > 0 {
				err = &ExitError{Code: ExitFailure, Err: errors.New(count(len(got.Problems), "problem"))}
			}
			return err
		},
	}
	c.Flags().BoolVar(&onServer, "server", false, "check the server's own profiles")
	return c
}

// checkProfiles reads files and folders together, so that names are unique over all of them.
func checkProfiles(paths []string) (wire.ProfileCheck, error) {
	got := wire.ProfileCheck{Profiles: []string{}, Problems: []config.Problem{}}
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			got.Problems = append(got.Problems, config.Problem{File: path, Reason: "cannot be read", Remedy: "name a profile or a folder of profiles"})
		case info.IsDir():
			found, err := config.ProfileFiles(path)
			var problems config.Problems
			if errors.As(err, &problems) {
				got.Problems = append(got.Problems, problems...)
			} else if err != nil {
				return got, err
			}
			files = append(files, found...)
		default:
			files = append(files, path)
		}
	}
	var ps []profile.Profile
	if len(files) > 0 {
		var err error
		var problems config.Problems
		if ps, err = config.LoadProfileFiles(files); errors.As(err, &problems) {
			got.Problems = append(got.Problems, problems...)
		} else if err != nil {
			return got, err
		}
	}
	for _, p := range ps {
		got.Profiles = append(got.Profiles, fmt.Sprintf("%s@%d", p.Name, p.Version))
	}
	return got, nil
}
