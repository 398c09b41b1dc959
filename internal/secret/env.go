package secret

import (
	"context"
	"strings"

	"github.com/cagenut/cagenut/internal/fault"
)

// Env reads passwords from environment variables: CAGENUT_BMC_PASSWORD_<SERIAL> (everything but
// letters and digits as _), else CAGENUT_BMC_PASSWORD for all machines. It cannot keep new ones, so
// a profile that gives each machine its own password needs another driver.
type Env struct {
	// Lookup finds a variable, as os.LookupEnv does.
	Lookup func(name string) (string, bool)
}

const envName = "CAGENUT_BMC_PASSWORD"

// Get reads a record: one password that holds for every account.
func (e Env) Get(_ context.Context, ref string) (Record, error) {
	serial, ok := strings.CutPrefix(ref, "bmc/")
	if !ok {
		return Record{}, nil
	}
	name := envName + "_" + strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, serial)
	for _, n := range []string{name, envName} {
		if v, ok := e.Lookup(n); ok && v != "" {
			return Record{Accounts: map[string]Account{"": {Current: v}}, Shared: n == envName}, nil
		}
	}
	return Record{}, nil
}

// Update refuses.
func (e Env) Update(_ context.Context, ref string, _ func(Record) (Record, error)) error {
	f := fault.New(fault.Unsupported, "secret %s: passwords come from the environment and cannot be changed here", ref)
	f.Remedy = "set secrets.driver to file or postgres"
	return f
}

// Has looks for the variables.
func (e Env) Has(ctx context.Context, refs []string) (map[string]bool, error) {
	out := make(map[string]bool, len(refs))
	for _, ref := range refs {
		r, err := e.Get(ctx, ref)
		if err != nil {
			return nil, err
		}
		out[ref] = !r.empty()
	}
	return out, nil
}
