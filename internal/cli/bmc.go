package cli

import "github.com/spf13/cobra"

// newBMCCommand is the parent of what talks to, or about, management controllers.
func newBMCCommand(s Streams) *cobra.Command {
	c := &cobra.Command{
		Use:   "bmc",
		Short: "Management controllers: read one, import factory passwords",
	}
	c.AddCommand(newBMCReadCommand(s))
	return c
}
