package cli

import (
	"context"
	"fmt"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/api/client"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/postgres"
	"github.com/cagenut/cagenut/internal/server"
)

func newAuditLogCommand(s Streams) *cobra.Command {
	verify := &cobra.Command{
		Use:     "verify",
		Short:   "Recompute the audit chain and compare it with its signed head",
		Example: "  cagenut audit-log verify\n  cagenut audit-log verify -o json",
		Args:    argCount(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := connect(c)
			if err != nil {
				return err
			}
			r, err := cl.VerifyAudit(c.Context())
			if err != nil {
				return err
			}
			err = s.print(c, r, func(t *table) {
				t.row("rows", r.Rows)
				t.row("not yet chained", r.Unsealed)
				t.row("head", orDash(r.Head))
				t.row("signed (UTC)", stamp(r.SignedAt))
				for _, text := range r.Restores {
					t.row("restored", text)
				}
				for _, p := range r.Problems {
					t.row("PROBLEM", p)
				}
			})
			if err == nil && len(r.Problems) > 0 {
				err = &ExitError{Code: ExitFailure, Err: fmt.Errorf("the audit chain is broken: %s; keep the database and the head file as they are", count(len(r.Problems), "problem"))}
			}
			return err
		},
	}
	return group("audit-log", "The audit chain", newAuditListCommand(s), verify, newAcceptRestoreCommand(s))
}

func newAuditListCommand(s Streams) *cobra.Command {
	var op, since string
	var f operation.AuditFilter
	var all bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List what was done, and by whom, newest first",
		Long: `Rows of the audit log with their place in the chain. --all gives the chained rows from the first on, as many as
there are: with -o json that is the export of the log.`,
		Example: `  cagenut audit-log list --actor alice --since 24h
  cagenut audit-log list --operation op_01JT2Z0W9V6Q4M8K3N5P7R1S2T
  cagenut audit-log list --all -o json`,
		Args: argCount(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if all && c.Flags().Changed("limit") {
				return usage("use --all or --limit, not both")
			}
			var err error
			if op != "" {
				if f.Operation, err = operationID(op); err != nil {
					return err
				}
			}
			if f.Since, err = ago(since, time.Now()); err != nil {
				return err
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			got, err := auditRows(c.Context(), cl, f, all)
			if err != nil {
				return err
			}
			return s.print(c, got, func(t *table) {
				t.row("SEQ", "AT (UTC)", "ACTOR", "ACTION", "SUBJECT", "OPERATION", "DETAIL")
				for _, e := range got {
					seq := "-"
					if e.Seq > 0 {
						seq = fmt.Sprint(e.Seq)
					}
					t.row(seq, stamp(e.At), e.Actor, e.Action, orDash(e.Subject), orDash(string(e.Operation)), cut(e.Detail, 100))
				}
			})
		},
	}
	fl := c.Flags()
	fl.StringVar(&op, "operation", "", "only of this operation")
	fl.StringVar(&f.Actor, "actor", "", "only of this person (or worker)")
	fl.StringVar(&since, "since", "", "not older: a time such as 2026-03-01T12:00:00Z or 2026-03-01, or a span such as 24h")
	fl.IntVar(&f.Limit, "limit", 100, "at most so many, 1 to 10000")
	fl.BoolVar(&all, "all", false, "every chained row, oldest first")
	completeFlag(c, "operation", suggestOperations())
	return c
}

// auditPage is how many rows one request of an export asks for.
const auditPage = 5000

// auditRows reads rows; all of them piece by piece, from the first on.
func auditRows(ctx context.Context, cl *client.Client, f operation.AuditFilter, all bool) ([]operation.AuditEntry, error) {
	if !all {
		return cl.AuditLog(ctx, f)
	}
	out := []operation.AuditEntry{}
	for f.Chain, f.Limit = true, auditPage; ; {
		rows, err := cl.AuditLog(ctx, f)
		if err != nil {
			return nil, err
		}
		out = append(out, rows...)
		if len(rows) < f.Limit {
			return out, nil
		}
		f.After = rows[len(rows)-1].Seq
	}
}

// ago reads a time, or how long ago it was.
func ago(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usage("--since %q: give a time such as 2026-03-01T12:00:00Z, a day such as 2026-03-01, or a span such as 24h", text)
}

// cut shortens a text for a line of a table.
func cut(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

func newAcceptRestoreCommand(s Streams) *cobra.Command {
	var f configFlags
	var reason, by string
	c := &cobra.Command{
		Use:   "accept-restore --reason TEXT",
		Short: "Go on from a restored database that is older than the signed head of the audit chain",
		Long: `On the server: writes to PostgreSQL and to the head file directly. The database must be an older copy of the same
chain: every row is recomputed and held to the signed heads. What was lost is then said in the chain itself, by a
row with who accepted it and why, and a new head is signed. A changed database is refused.`,
		Example: `  cagenut audit-log accept-restore --reason "disk died; back-up of 02:00" --config /etc/cagenut/cagenut.yaml`,
		Args:    argCount(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if reason == "" {
				return usage("--reason is needed: it stands in the audit chain for ever")
			}
			if by == "" {
				u, err := user.Current()
				if err != nil {
					return usage("--by is needed: who accepts it (%v)", err)
				}
				by = u.Username + " on the server"
			}
			cfg, err := f.load()
			if err != nil {
				return err
			}
			if err := cfg.Need("cagenut audit-log accept-restore", "database.url", "audit.key_file"); err != nil {
				return err
			}
			keeper, err := postgres.NewAuditKeeper(cfg.Audit.KeyFile, cfg.Audit.HeadFile)
			if err != nil {
				return err
			}
			store, err := server.OpenStore(c.Context(), cfg)
			if err != nil {
				return err
			}
			defer store.Close()
			got, err := store.AcceptRestore(c.Context(), keeper, by, reason)
			if err != nil {
				return err
			}
			return s.print(c, got, func(t *table) {
				t.row("kept", fmt.Sprintf("%d rows of the chain, all as they were signed", got.Kept))
				if got.LostTo > 0 {
					t.row("lost", fmt.Sprintf("rows %d to %d, signed until %s", got.LostFrom, got.LostTo, stamp(got.SignedAt)))
				} else {
					t.row("lost", "the head file; how many rows followed is not known")
				}
				t.row("recorded", fmt.Sprintf("in row %d, and signed as the new head", got.Seq))
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why the older database is in use; stands in the audit chain")
	c.Flags().StringVar(&by, "by", "", "who accepts it (default: your account on this host)")
	f.add(c, nil)
	return c
}
