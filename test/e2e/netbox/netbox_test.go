//go:build e2e

package netbox

import (
	"testing"

	"github.com/cagenut/cagenut/inventory/inventorytest"
	"github.com/cagenut/cagenut/inventory/netbox/netboxtest"
)

func TestConformance(t *testing.T) {
	fresh(t)
	inventorytest.Run(t, netboxtest.Harness(t, server.Server))
}
