package secret_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/api"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/secret"
)

func TestForAPI(t *testing.T) {
	k := &secret.Keeper{Driver: drivers(t)["file"]}
	s := secret.ForAPI(k)
	ctx := t.Context()
	_, err := s.Candidates(ctx, srv, "root")
	wantCode(t, err, fault.NoSecret)
	for i, want := range []wire.Imported{{Imported: 1}, {Unchanged: 1}} {
		got, err := s.ImportManifest(ctx, strings.NewReader("serial,mac,user,password\nABC123,,ADMIN,factory\n"))
		if err != nil || got != want {
			t.Errorf("import %d = %+v, %v, want %+v", i, got, err, want)
		}
	}
	pending, err := s.Propose(ctx, srv, "root", 18)
	if err != nil || len(pending.Password) != 18 {
		t.Fatalf("Propose = %v, %v", pending, err)
	}
	if err := s.Promote(ctx, srv, "root"); err != nil {
		t.Fatal(err)
	}
	got, err := s.Candidates(ctx, srv, "root")
	if err != nil {
		t.Fatal(err)
	}
	want := []api.Candidate{{Source: "current", User: "root", Password: pending.Password}, {Source: "factory", User: "ADMIN", Password: "factory"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("candidates (-want +got):\n%s", diff)
	}
	has, err := s.Has(ctx, []api.Machine{{Ref: srv}, {Ref: asset.Ref{ID: 2, Serial: "X"}, MACs: []string{"AA:BB:CC:DD:EE:FF"}}})
	if diff := cmp.Diff(map[asset.ID]bool{1: true, 2: false}, has); diff != "" || err != nil {
		t.Errorf("Has (-want +got), %v:\n%s", err, diff)
	}
}
