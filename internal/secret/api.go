package secret

import (
	"context"
	"io"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/api"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
)

// ForAPI gives a keeper as the API needs it, which serves it to the sites' workers.
func ForAPI(k *Keeper) api.Secrets { return forAPI{k} }

type forAPI struct{ k *Keeper }

func (f forAPI) Has(ctx context.Context, machines []api.Machine) (map[asset.ID]bool, error) {
	mine := make([]Machine, len(machines))
	for i, m := range machines {
		mine[i] = Machine{Ref: m.Ref, MACs: m.MACs}
	}
	return f.k.Has(ctx, mine)
}

func (f forAPI) ImportManifest(ctx context.Context, csv io.Reader) (wire.Imported, error) {
	r, err := f.k.ImportManifest(ctx, csv)
	return wire.Imported(r), err
}

func (f forAPI) Candidates(ctx context.Context, a asset.Ref, account string) ([]api.Candidate, error) {
	found, err := f.k.Candidates(ctx, a, account)
	if err != nil {
		return nil, err
	}
	out := make([]api.Candidate, len(found))
	for i, c := range found {
		out[i] = candidateForAPI(c)
	}
	return out, nil
}

func (f forAPI) Propose(ctx context.Context, a asset.Ref, account string, length int) (api.Candidate, error) {
	c, err := f.k.Propose(ctx, a, account, length)
	return candidateForAPI(c), err
}

func (f forAPI) Promote(ctx context.Context, a asset.Ref, account string) error {
	return f.k.Promote(ctx, a, account)
}

func candidateForAPI(c activities.Candidate) api.Candidate {
	return api.Candidate{Source: string(c.Source), User: c.Credentials.User, Password: c.Credentials.Password}
}
