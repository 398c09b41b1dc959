package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// piece is evidence with the step that left it.
type piece struct {
	Step string `json:"step"`
	operation.Evidence
}

func newOpEvidenceCommand(s Streams) *cobra.Command {
	var name, step, kind, save string
	c := &cobra.Command{
		Use:   "evidence OPERATION --asset NAME",
		Short: "Print or save the evidence of one machine, whole and held to its digest",
		Long: `Evidence is what steps leave as proof: what was read of a machine, differences, event logs. Each piece has a
digest that the audit chain names; what does not match it is said, and the command fails.`,
		Example: `  cagenut op evidence op_01JT2Z0W9V6Q4M8K3N5P7R1S2T --asset srv-101
  cagenut op evidence op_01JT2Z0W9V6Q4M8K3N5P7R1S2T --asset srv-101 --step hardware -o json
  cagenut op evidence op_01JT2Z0W9V6Q4M8K3N5P7R1S2T --asset srv-101 --save ./evidence`,
		Args:              argCount(1, 1, "one operation's ID"),
		ValidArgsFunction: suggestOperations(),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := operationID(args[0])
			if err != nil {
				return err
			}
			if name == "" {
				return usage("--asset is needed: evidence is of one machine")
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			r, err := cl.Run(c.Context(), id, name)
			if err != nil {
				return err
			}
			pieces, known := []piece{}, false
			for _, st := range r.Steps {
				if step != "" && st.Name != step {
					continue
				}
				known = true
				for _, e := range st.Evidence {
					if kind == "" || e.Kind == kind {
						pieces = append(pieces, piece{st.Name, e})
					}
				}
			}
			if !known {
				return usage("--step %q: %s has no such step", step, r.Asset.Name)
			}
			bad := 0
			for i := range pieces {
				e := &pieces[i]
				if e.Blob != "" {
					if e.Data, err = cl.Evidence(c.Context(), e.Blob); err != nil {
						return err
					}
				}
				if digest, err := plan.Digest(e.Data); err != nil || e.Digest != "" && digest != e.Digest {
					bad++
					fmt.Fprintf(s.Err, "%s, try %d, %s: the data does not match the digest %s\n", e.Step, e.Attempt, e.Kind, e.Digest)
				}
			}
			if save != "" {
				err = saveEvidence(s, save, r, pieces)
			} else {
				err = s.print(c, pieces, func(t *table) { evidenceTable(t, pieces) })
			}
			if err == nil && bad > 0 {
				err = &ExitError{Code: ExitFailure, Err: fmt.Errorf("%s changed since it was recorded; run `cagenut audit-log verify`", count(bad, "piece")+" of evidence")}
			}
			return err
		},
	}
	fl := c.Flags()
	fl.StringVar(&name, "asset", "", "name, serial or NetBox ID of one machine")
	fl.StringVar(&step, "step", "", "only of this step")
	fl.StringVar(&kind, "kind", "", "only of this kind, e.g. diagnosis")
	fl.StringVar(&save, "save", "", "folder to write each piece to, as a JSON file")
	completeFlag(c, "asset", suggestAssets())
	return c
}

func evidenceTable(t *table, pieces []piece) {
	for i, e := range pieces {
		if i > 0 {
			t.line("")
		}
		t.line("%s, try %d, %s: %s: %s", e.Step, e.Attempt, stamp(e.At), e.Kind, e.Title)
		t.line("sha256 %s", orDash(e.Digest))
		var b bytes.Buffer
		if json.Indent(&b, e.Data, "  ", "  ") != nil {
			b.Write(e.Data)
		}
		for line := range strings.SplitSeq(b.String(), "\n") {
			t.line("  %s", line)
		}
	}
	if len(pieces) == 0 {
		t.line("no evidence")
	}
}

// saveEvidence writes one file a piece, for nobody else to read: evidence tells much of a machine.
func saveEvidence(s Streams, dir string, r operation.Run, pieces []piece) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return usage("--save: %v", err)
	}
	for i, e := range pieces {
		path := filepath.Join(dir, fmt.Sprintf("%s-%02d-%s-%s.json", fileWord(r.Asset.Name), i+1, fileWord(e.Step), fileWord(e.Kind)))
		if err := os.WriteFile(path, append(bytes.TrimSpace(e.Data), '\n'), 0o600); err != nil {
			return fmt.Errorf("--save: %w", err)
		}
		fmt.Fprintln(s.Out, path)
	}
	return nil
}

// fileWord makes a name that is safe in a file's name, whatever NetBox says.
func fileWord(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '_'
	}, s)
}
