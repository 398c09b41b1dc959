package cli

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/api/client"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/login"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/version"
)

// connect gives the client for a command: flags, else the environment, else the stack of cagenut-dev in
// CAGENUT_DATA, else what `cagenut login` kept, else what cagenut-dev left. Address and token come from
// the same place unless a flag or variable gives one of them.
func connect(c *cobra.Command) (*client.Client, error) {
	l, from, err := findLoginFrom(c)
	if err != nil {
		return nil, err
	}
	if l.URL == "" {
		f := fault.New(fault.Unauthenticated, "no control plane is known")
		f.Remedy = "run `cagenut login URL`, or set CAGENUT_URL and CAGENUT_TOKEN; the first running `cagenut-dev` is found by itself, another by CAGENUT_DATA=DIR"
		return nil, f
	}
	return dialFrom(l, from)
}

func dial(l login.Login) (*client.Client, error) { return dialFrom(l, "") }

// dialFrom is dial for an address of which failures say where it came from.
func dialFrom(l login.Login, from string) (*client.Client, error) {
	h := client.WithRoots(nil)
	if l.CAFile != "" {
		pem, err := os.ReadFile(l.CAFile)
		if err != nil {
			return nil, usage("--ca-file: %v", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, usage("--ca-file %q holds no PEM certificate", l.CAFile)
		}
		h = client.WithRoots(roots)
	}
	if from != "" {
		h.Transport = origin{next: h.Transport, from: from}
	}
	return client.New(l.URL, l.Token, "cagenut/"+version.String(), h)
}

// origin adds to a request that got no answer where its address came from: somebody with several
// control planes must see which of them was meant.
type origin struct {
	next http.RoundTripper
	from string
}

func (o origin) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := o.next.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("%w (the address comes from %s)", err, o.from)
	}
	return res, nil
}

func findLogin(c *cobra.Command) (login.Login, error) {
	l, _, err := findLoginFrom(c)
	return l, err
}

// findLoginFrom also tells where the address came from.
func findLoginFrom(c *cobra.Command) (l login.Login, from string, err error) {
	explicit := pick(c, "url", "CAGENUT_URL")
	if l, from, err = keptLogin(explicit != ""); err != nil {
		return l, from, err
	}
	if explicit != "" {
		if from = "CAGENUT_URL"; c.Flags().Changed("url") {
			from = "--url"
		}
		if explicit != l.URL {
			l = login.Login{URL: explicit} // a kept token is for the kept address only
		}
	}
	if v := os.Getenv("CAGENUT_TOKEN"); v != "" {
		if l.Token, err = asToken("CAGENUT_TOKEN", v); err != nil {
			return l, from, err
		}
	}
	if name, _ := c.Flags().GetString("token-file"); name != "" {
		token, err := config.ReadSecretFile("--token-file", name)
		if err != nil {
			return l, from, err
		}
		if l.Token, err = asToken("--token-file "+name, token); err != nil {
			return l, from, err
		}
	}
	if v := pick(c, "ca-file", "CAGENUT_CA_FILE"); v != "" {
		l.CAFile = v
	}
	return l, from, nil
}

// keptLogin reads the login of the stack in CAGENUT_DATA, else the first of the files that there is. A
// stack that was never ready is an error, unless the address is given in another way.
func keptLogin(given bool) (login.Login, string, error) {
	if dir := os.Getenv("CAGENUT_DATA"); dir != "" {
		l, err := login.OfStack(dir)
		if err != nil && !given {
			f := fault.Wrap(err, fault.Unauthenticated, "CAGENUT_DATA: %v", err)
			f.Remedy = "run `cagenut-dev up --dir " + dir + "`, name another folder, or unset CAGENUT_DATA"
			return l, "", f
		}
		return l, "stack.json of CAGENUT_DATA=" + dir, nil
	}
	for _, path := range []func() (string, error){login.Path, login.DevPath} {
		name, err := path()
		if err != nil {
			continue // no home folder: then flags or variables must say it
		}
		l, ok, err := login.Load(name)
		if err != nil {
			return l, name, err
		}
		if ok && l.Dir != "" {
			name += " of the stack in " + l.Dir
		}
		if ok {
			return l, name, nil
		}
	}
	return login.Login{}, "", nil
}

// asToken holds what a source gives as a token to what can be one, before it is sent: else the failure
// looks like an API that does not answer. It never says the value.
func asToken(source, text string) (string, error) {
	text = strings.TrimSpace(text)
	switch {
	case strings.ContainsAny(text, "\r\n"):
		return "", usage("%s holds more than one line: give the token alone", source)
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", usage("%s does not hold a token: it has characters that no token has", source)
	}
	return text, nil
}

// pick is a flag's value, else the environment's.
func pick(c *cobra.Command, flag, variable string) string {
	if v, _ := c.Flags().GetString(flag); v != "" {
		return v
	}
	return os.Getenv(variable)
}

// newKey makes what tells two requests or commands apart.
func newKey() string { return strings.ToLower(ulid.Make().String()) }

// operationID reads an operation's ID from an argument.
func operationID(arg string) (operation.ID, error) {
	id, err := operation.ParseID(arg)
	if err != nil {
		return "", &ExitError{Code: ExitUsage, Err: err}
	}
	return id, nil
}

// completeWait bounds how long the shell stands still for a completion.
const completeWait = 2 * time.Second

// suggestions asks the API for completions. A control plane that is away suggests nothing.
func suggestions(ask func(ctx context.Context, cl *client.Client) ([]string, error)) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx := c.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		ctx, cancel := context.WithTimeout(ctx, completeWait)
		defer cancel()
		cl, err := connect(c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		out, err := ask(ctx, cl)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// suggestOperations completes operation IDs with what they are.
func suggestOperations(states ...operation.State) cobra.CompletionFunc {
	return suggestions(func(ctx context.Context, cl *client.Client) ([]string, error) {
		list, err := cl.Operations(ctx, operation.Filter{States: states, Limit: 50})
		var out []string
		for _, o := range list {
			out = append(out, fmt.Sprintf("%s\t%s, %s, %s", o.ID, o.State, count(o.Assets, "machine"), o.Reason))
		}
		return out, err
	})
}

// suggestAssets completes the names of machines that operations have worked on lately: NetBox is not
// asked for every key press.
func suggestAssets() cobra.CompletionFunc {
	return suggestions(func(ctx context.Context, cl *client.Client) ([]string, error) {
		list, err := cl.Operations(ctx, operation.Filter{Limit: 5})
		if err != nil {
			return nil, err
		}
		var out []string
		for _, o := range list {
			d, err := cl.Operation(ctx, o.ID)
			if err != nil {
				return nil, err
			}
			for _, r := range d.Runs {
				out = append(out, r.Asset.Name)
			}
		}
		return out, nil
	})
}

func suggestProfiles() cobra.CompletionFunc {
	return suggestions(func(ctx context.Context, cl *client.Client) ([]string, error) {
		list, err := cl.Profiles(ctx)
		var out []string
		for _, p := range list {
			out = append(out, p.Profile.Name)
		}
		return out, err
	})
}

// complete fixes the values that a flag can have.
func complete(c *cobra.Command, flag string, values ...string) {
	err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(fmt.Sprintf("cli: complete --%s of %s: %v", flag, c.Name(), err)) // the flag is not there: a defect
	}
}

func completeFlag(c *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := c.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(fmt.Sprintf("cli: complete --%s of %s: %v", flag, c.Name(), err))
	}
}
