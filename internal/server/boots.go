package server

import (
	"context"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/api/client"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
)

// siteBoots are the boot records of a site's machines, through the API.
type siteBoots struct{ api *client.Client }

var _ activities.Boots = siteBoots{}

func (s siteBoots) Open(ctx context.Context, o operation.BootOpen) (operation.BootRecord, error) {
	return s.api.BootOpen(ctx, o)
}

func (s siteBoots) State(ctx context.Context, op operation.ID, a asset.ID, step string, attempt int) (operation.BootState, error) {
	return s.api.BootState(ctx, op, a, step, attempt)
}

func (s siteBoots) Close(ctx context.Context, boot int64) error { return s.api.BootClose(ctx, boot) }

func (s siteBoots) Command(ctx context.Context, c operation.AgentCommand) (operation.AgentCommand, error) {
	return s.api.AgentCommand(ctx, c)
}
