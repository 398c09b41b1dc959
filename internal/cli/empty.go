package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// checkFlags refuses a flag that was given and is empty: the unset variable of somebody's script must
// not mean all sites, or no guard. It is asked for every command before it runs (New), so that no verb
// can forget it. There are no exceptions: where nothing is meant, the flag is left out.
func checkFlags(c *cobra.Command) error {
	var err error
	c.Flags().Visit(func(f *pflag.Flag) { // those that were given
		if err == nil && f.Changed && holdsEmpty(f) {
			err = usage("--%s is empty: leave it out, or give a value; empty is not all", f.Name)
		}
	})
	return err
}

// holdsEmpty tells whether a flag of text has an empty value, or a list of text an empty element.
func holdsEmpty(f *pflag.Flag) bool {
	if many, ok := f.Value.(pflag.SliceValue); ok {
		values := many.GetSlice()
		return len(values) == 0 || slices.ContainsFunc(values, func(v string) bool { return strings.TrimSpace(v) == "" })
	}
	return f.Value.Type() == "string" && strings.TrimSpace(f.Value.String()) == ""
}
