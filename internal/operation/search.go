package operation

import "go.temporal.io/sdk/temporal"

// Namespace is the Temporal namespace where nothing else is configured.
const Namespace = "cagenut"

// The search attributes by which people find workflows in Temporal. They are not encrypted and hold
// no more than IDs and a site's slug. EnsureNamespace makes them.
var (
	SearchOperation = temporal.NewSearchAttributeKeyKeyword("CagenutOperation")
	SearchAsset     = temporal.NewSearchAttributeKeyKeyword("CagenutAsset")
	SearchSite      = temporal.NewSearchAttributeKeyKeyword("CagenutSite")
)

// SearchAttributes lists them.
func SearchAttributes() []temporal.SearchAttributeKeyKeyword {
	return []temporal.SearchAttributeKeyKeyword{SearchOperation, SearchAsset, SearchSite}
}
