package ansible

import (
	"context"

	"github.com/cagenut/cagenut/configmgmt"
)

// Inspect asks a host for facts.
func (d *Driver) Inspect(context.Context, configmgmt.Target, configmgmt.Questions) (configmgmt.Facts, error) {
	return configmgmt.Facts{}, &configmgmt.Error{Kind: configmgmt.ErrInvalid, Op: "inspect"}
}

// Enrolled gives the fingerprint that a target is enrolled with.
func (d *Driver) Enrolled(context.Context, configmgmt.Target) (string, error) {
	return "", &configmgmt.Error{Kind: configmgmt.ErrInvalid, Op: "enrolled"}
}
