package cli

import (
	"runtime"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/version"
)

func newVersionCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show this program's version",
		Example: "  cagenut version\n  cagenut version -o json",
		Args:    argCount(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			v := struct {
				Version  string `json:"version"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}{version.String(), version.Go(), runtime.GOOS + "/" + runtime.GOARCH}
			return s.print(c, v, func(t *table) { t.row("cagenut", v.Version, v.Go, v.Platform) })
		},
	}
}

func newCompletionCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:       "completion (bash|zsh|fish|powershell)",
		Short:     "Print the completion script of a shell",
		Example:   "  source <(cagenut completion bash)\n  cagenut completion zsh > \"${fpath[1]}/_cagenut\"",
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		Args:      argCount(1, 1, "one of bash, zsh, fish, powershell"),
		RunE: func(c *cobra.Command, args []string) error {
			root := c.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(s.Out, true)
			case "zsh":
				return root.GenZshCompletion(s.Out)
			case "fish":
				return root.GenFishCompletion(s.Out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(s.Out)
			}
			return usage("no completion for %q: use bash, zsh, fish or powershell", args[0])
		},
	}
}
