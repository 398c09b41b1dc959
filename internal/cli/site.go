package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/config"
)

func newSiteCommand(s Streams) *cobra.Command {
	list := &cobra.Command{
		Use:   "list",
		Short: "List sites with their workers, heartbeats, versions and clock skew",
		Example: `  cagenut site list
  cagenut site list -o json`,
		Args: argCount(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := connect(c)
			if err != nil {
				return err
			}
			got, err := cl.Sites(c.Context())
			if err != nil {
				return err
			}
			return s.print(c, got, func(t *table) {
				t.row("SITE", "STATE", "WORKER", "VERSION", "LAST HEARTBEAT (UTC)", "CLOCK OFF BY")
				for _, site := range got {
					name := site.Slug
					if name == "" {
						name = "(central)"
					}
					if len(site.Workers) == 0 {
						t.row(name, site.State, "-", "-", "-", "-")
					}
					for _, w := range site.Workers {
						t.row(name, orDash(w.State), w.Worker, w.Version, stamp(w.At), time.Duration(w.SkewMS)*time.Millisecond)
					}
				}
			})
		},
	}
	return group("site", "Sites and their workers", list)
}

func newDoctorCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look at everything that an operation needs, and say what to do about what is wrong",
		Example: `  cagenut doctor
  cagenut doctor -o json`,
		Args: argCount(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := connect(c)
			if err != nil {
				return err
			}
			got, err := cl.Doctor(c.Context())
			if err != nil {
				return err
			}
			return s.printChecks(c, got)
		},
	}
}

// printChecks prints outcomes of checks; any that failed makes the command fail.
func (s Streams) printChecks(c *cobra.Command, got []config.Checked) error {
	failed := 0
	err := s.print(c, got, func(t *table) {
		for _, r := range got {
			state := "ok"
			if !r.OK {
				state = "FAILED"
			}
			t.row(state, r.Name, orDash(r.Target), fmt.Sprintf("%d ms", r.TookMS), r.Says)
		}
	})
	for _, r := range got {
		if !r.OK {
			failed++
		}
	}
	if err == nil && failed > 0 {
		err = &ExitError{Code: ExitFailure, Err: errors.New(count(failed, "check") + " failed")}
	}
	return err
}
