package workflows_test

import (
	"path/filepath"
	"testing"

	"go.temporal.io/sdk/worker"

	"github.com/cagenut/cagenut/workflows"
)

// Every recorded history still replays: a run that began under the code that made it goes on under
// this code. A failure here means that open runs would stop; see versions.go for what to do.
// The histories come from `make histories` (internal/devstack/temporaldev, TestHistories -record).
func TestRecordedHistoriesReplay(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "histories", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 4 {
		t.Fatalf("only %d recorded histories: %v", len(files), files)
	}
	for _, file := range files {
		r := worker.NewWorkflowReplayer()
		workflows.Register(r, workflows.Standard())
		if err := r.ReplayWorkflowHistoryFromJSONFile(nil, file); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
