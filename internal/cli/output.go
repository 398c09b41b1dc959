package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
)

// print writes an answer in the format that was asked for. table writes the form for people. It is
// rendered whole before anything is written, so a failure leaves no half answer.
func (s Streams) print(c *cobra.Command, v any, table func(t *table)) error {
	var buf bytes.Buffer
	switch format(c) {
	case "json", "yaml":
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("print as JSON: %w", err)
		}
		if format(c) == "yaml" {
			y, err := yaml.JSONToYAML(buf.Bytes())
			if err != nil {
				return fmt.Errorf("print as YAML: %w", err)
			}
			buf.Reset()
			buf.Write(y)
		}
	default:
		t := newTable(&buf)
		table(t)
		t.flush()
	}
	_, err := s.Out.Write(buf.Bytes())
	return err
}

// table lays out columns. Nothing that a machine or NetBox says can move the cursor of a terminal.
type table struct {
	out io.Writer
	w   *tabwriter.Writer
}

func newTable(out io.Writer) *table {
	return &table{out: out, w: tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)}
}

// row writes one row.
func (t *table) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = plain(fmt.Sprint(c))
	}
	fmt.Fprintln(t.w, strings.Join(texts, "\t"))
}

// line ends the columns so far and writes a line beside them.
func (t *table) line(format string, args ...any) {
	t.flush()
	fmt.Fprintln(t.out, plain(fmt.Sprintf(format, args...)))
}

func (t *table) flush() { t.w.Flush() } // the writer below is memory

// plain is clean with its leading space kept: the indentation of ours.
func plain(s string) string {
	text := strings.TrimLeft(s, " ")
	return s[:len(s)-len(text)] + clean(text)
}

// stamp is a time for people, in UTC, since people of several sites read it.
func stamp(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.UTC().Format("2006-01-02 15:04:05")
}

// span is how long something took, or takes until now.
func span(from, to, now time.Time) string {
	if from.IsZero() {
		return "-"
	}
	if to.IsZero() {
		to = now
	}
	return to.Sub(from).Round(time.Second).String()
}

func list(items []string, none string) string {
	if len(items) == 0 {
		return none
	}
	return strings.Join(items, ", ")
}
