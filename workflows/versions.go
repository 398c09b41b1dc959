package workflows

// Two things have versions.
//
// Step versions stand in plans and choose the code of package activities that understands the
// step's desired values. A new version is added here when the meaning of the desired values
// changes; activities keep the old one until no open plan holds it.
const (
	versionPreflight   = 1
	versionIdentity    = 1
	versionStage       = 1
	versionCredentials = 1
	versionSettings    = 1
	versionFirmware    = 1
	versionBIOS        = 1
	versionHardware    = 1
	versionAddresses   = 2 // 1: a pool an address family
	versionInstalled   = 1
	versionAgent       = 1
	versionBurnIn      = 1
	versionDisks       = 1
	versionOS          = 1
	versionConfigure   = 1
	versionValidate    = 1
	versionInService   = 1
	versionDiagnose    = 1
	versionStop        = 1
)

// Workflow code has versions too, because a run that began under old code goes on under new code.
// Whoever changes the order of timers, activities, signals or child workflows of asset.go or
// operation.go adds a constant here that says what changed and when, branches on
//
//	workflow.GetVersion(ctx, theConstant, workflow.DefaultVersion, 1)
//
// and records a history of the old code before the change (make histories), so that replay_test.go
// proves that old runs still replay. A branch is removed when no run that began before it is open.
const (
	// changeStop: an abort has configuration management end the runs of a configure step. Before, they
	// went on by themselves. testdata/histories/asset-abort-leaves-run.json is of before. 2026-11.
	changeStop = "an abort stops runs"
)
