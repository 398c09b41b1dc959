package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/api/wire"
)

func newAssetCommand(s Streams) *cobra.Command {
	return group("asset", "Machines: what NetBox and we know of them", newAssetListCommand(s), newAssetShowCommand(s), newAssetHistoryCommand(s))
}

func newAssetListCommand(s Streams) *cobra.Command {
	var rack, site string
	c := &cobra.Command{
		Use:   "list --rack NAME",
		Short: "List the machines of a rack from its top, with their status and who holds them",
		Example: `  cagenut asset list --rack r12 --site ams01
  cagenut asset list --rack r12 -o json`,
		Args: argCount(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if rack == "" {
				return usage("--rack is needed: empty is not all")
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			got, err := cl.Assets(c.Context(), rack, site)
			if err != nil {
				return err
			}
			return s.print(c, got, func(t *table) {
				t.row("U", "MACHINE", "NETBOX", "SERIAL", "STATUS", "TYPE", "ROLE", "HELD BY")
				for _, a := range got {
					held := "-"
					if a.Holder != nil {
						held = fmt.Sprintf("%s of %s, %s", a.Holder.Operation, a.Holder.Actor, a.Holder.State)
					}
					t.row(fmt.Sprintf("%g", a.Position), a.Name, a.ID, orDash(a.Serial), a.Status, orDash(a.Type), orDash(a.Role), held)
				}
			})
		},
	}
	c.Flags().StringVar(&rack, "rack", "", "name of the rack")
	c.Flags().StringVar(&site, "site", "", "slug of the site, where the rack's name is not unique")
	return c
}

func newAssetShowCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "show MACHINE",
		Short: "Show a machine, who holds it, and what stands against installing it",
		Example: `  cagenut asset show srv-101
  cagenut asset show 7CX1234
  cagenut asset show id:4711 -o json`,
		Args:              argCount(1, 1, "one name, serial or NetBox ID"),
		ValidArgsFunction: suggestAssets(),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := connect(c)
			if err != nil {
				return err
			}
			a, err := cl.Asset(c.Context(), args[0])
			if err != nil {
				return err
			}
			return s.print(c, a, func(t *table) { assetTable(t, a) })
		},
	}
}

func assetTable(t *table, a wire.Asset) {
	d := a.Device
	t.row("machine", fmt.Sprintf("%s (NetBox %s)", d.Name, d.ID))
	t.row("serial", orDash(d.Serial))
	t.row("status", d.Status)
	t.row("where", fmt.Sprintf("site %s, rack %s, U%g %s", orDash(d.Site.Slug), orDash(d.Rack.Name), d.Position, d.Face))
	t.row("type", strings.TrimSpace(d.Manufacturer.Name+" "+d.Type.Name)+" ("+orDash(d.Type.Slug)+")")
	t.row("role", orDash(d.Role.Slug))
	oob := "-"
	if d.OOB.IsValid() {
		oob = d.OOB.Addr().String()
	}
	t.row("BMC", oob)
	t.row("profile", orDash(a.Profile))
	if i := a.System; i != nil {
		t.row("system", fmt.Sprintf("%s, kernel %s, installed by %s on %s", orDash(i.OS), orDash(i.Kernel), i.Operation, i.At.UTC().Format(time.DateOnly)))
	}
	if a.Holder != nil {
		t.row("held by", fmt.Sprintf("%s of %s, %s", a.Holder.Operation, a.Holder.Actor, a.Holder.State))
	}
	if b := a.Blocking; b != nil {
		t.row("install", "refused: "+b.Message)
		for _, g := range b.Details {
			t.row("  "+g.Subject, orDash(g.Seen), g.Remedy)
		}
		t.row("what to do", b.Remedy)
	} else {
		t.row("install", "possible")
	}
	if len(d.Interfaces) == 0 {
		return
	}
	t.line("")
	t.row("INTERFACE", "TYPE", "MACS", "ADDRESSES", "CABLE")
	for _, i := range d.Interfaces {
		name, cable := i.Name, "-"
		if i.Mgmt {
			name += " (mgmt)"
		}
		if i.Cable != nil {
			cable = i.Cable.Peer + " " + i.Cable.Port
		}
		var addrs []string
		for _, p := range i.Addresses {
			addrs = append(addrs, p.String())
		}
		t.row(name, orDash(i.Type), list(i.MACs, "-"), list(addrs, "-"), cable)
	}
}

func newAssetHistoryCommand(s Streams) *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use:   "history MACHINE",
		Short: "Show what was done to a machine, newest first",
		Example: `  cagenut asset history srv-101
  cagenut asset history srv-101 --limit 200 -o json`,
		Args:              argCount(1, 1, "one name, serial or NetBox ID"),
		ValidArgsFunction: suggestAssets(),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := connect(c)
			if err != nil {
				return err
			}
			runs, err := cl.AssetHistory(c.Context(), args[0], limit)
			if err != nil {
				return err
			}
			return s.print(c, runs, func(t *table) {
				t.row("STARTED (UTC)", "OPERATION", "STATE", "PROFILE", "FOR", "WHAT")
				for _, r := range runs {
					_, step := current(r)
					t.row(stamp(r.Started), r.Operation, r.State, r.Profile, span(r.Started, r.Ended, time.Now()), says(r, step))
				}
			})
		},
	}
	c.Flags().IntVar(&limit, "limit", 20, "at most so many, 1 to 200")
	return c
}
