package server

import (
	"context"
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/api"
	"github.com/cagenut/cagenut/internal/api/client"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/postgres/pgtest"
)

// TestServeAnswersWhileTemporalAndNetBoxAreAway runs the real program over a real PostgreSQL.
func TestServeAnswersWhileTemporalAndNetBoxAreAway(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, n int) string {
		t.Helper()
		path := filepath.Join(dir, name)
		key := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", n)))
		if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c := config.Default()
	c.Database.URL = pgtest.URL(t)
	c.Temporal.Host = "127.0.0.1:1"
	c.NetBox = config.NetBox{URL: "http://127.0.0.1:1", TokenFile: file("netbox", 6)}
	c.Secrets.KeyFile = file("secrets", 32)
	c.Audit = config.Audit{KeyFile: file("audit", 32), HeadFile: filepath.Join(dir, "head")}
	c.Firmware.Dir, c.API.Listen = filepath.Join(dir, "firmware"), "127.0.0.1:0"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	address, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- Serve(ctx, c, Options{Log: silent, Metrics: NewMetrics(), Ready: func(where string) { address <- where }})
	}()
	var base string
	select {
	case where := <-address:
		base = "http://" + where
	case err := <-ended:
		t.Fatal(err)
	}
	store := pgtest.Open(t, c.Database.URL)
	token, secret, err := api.NewToken("alice", operation.Admin, nil, "test", time.Now(), time.Time{})
	if err == nil {
		err = store.CreateToken(ctx, token, api.Sum(secret))
	}
	if err != nil {
		t.Fatal(err)
	}
	cl, err := client.New(base, secret, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	if who, err := cl.Whoami(ctx); err != nil || who.Token.Person != "alice" {
		t.Errorf("whoami: %+v, %v", who, err)
	}
	if got, err := cl.ImportManifest(ctx, strings.NewReader("serial,mac,user,password\nSN1,,root,calvin\n")); err != nil || got.Imported != 1 {
		t.Errorf("import: %+v, %v", got, err)
	}
	if list, err := cl.Operations(ctx, operation.Filter{}); err != nil || len(list) != 0 {
		t.Errorf("operations: %v, %v", list, err)
	}
	ask := wire.Install{Targets: wire.Targets{Names: []string{"srv-1"}}, Until: "hardware", DryRun: true}
	if _, err := cl.Install(ctx, ask, ""); fault.From(err).Code != fault.InventoryAway {
		t.Errorf("NetBox is away: %v", err)
	}
	checks, err := cl.Doctor(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ok := map[string]bool{}
	for _, check := range checks {
		ok[check.Name] = check.OK
	}
	if !ok["PostgreSQL"] || ok["Temporal"] || ok["NetBox"] {
		t.Errorf("doctor: %+v", checks)
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/metrics": 200, "/": 200, "/operations": 200, "/sites": 200, "/nothing": 404} {
		res, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: HTTP %d, want %d", path, res.StatusCode, want)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the end: %v", err)
	}
}

func TestMigrateFromNothingAndAgain(t *testing.T) {
	c := config.Default()
	c.Database.URL = pgtest.EmptyURL(t)
	ran, err := MigrateStore(t.Context(), c)
	if err != nil || len(ran) == 0 {
		t.Fatalf("first: %q, %v", ran, err)
	}
	if ran, err := MigrateStore(t.Context(), c); err != nil || len(ran) != 0 {
		t.Errorf("again: %q, %v", ran, err)
	}
}
