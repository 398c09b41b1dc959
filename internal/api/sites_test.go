package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

func TestHeartbeatsShowSitesVersionsAndClocks(t *testing.T) {
	a := apitest.Start(t, 1)
	ctx := t.Context()
	w := a.As(t, operation.Worker, "ams01")
	beat := operation.Heartbeat{Site: "ams01", Worker: "w1", Version: "old", Queue: "site-ams01", Clock: a.Clock.Now().Add(5 * time.Second)}
	if got, err := w.Heartbeat(ctx, beat); err != nil || got.SkewMS != 5000 {
		t.Fatalf("got %+v, %v", got, err)
	}
	beat.Site, beat.Queue = "fra01", "site-fra01"
	if _, err := w.Heartbeat(ctx, beat); code(err) != fault.Denied {
		t.Errorf("another site: %v", err)
	}
	viewer := a.As(t, operation.Viewer)
	states := func() map[string]string {
		list, err := viewer.Sites(ctx)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, s := range list {
			out[s.Slug] = s.State
		}
		return out
	}
	if diff := cmp.Diff(map[string]string{"": "none", "ams01": "up", "fra01": "none"}, states()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	report, err := viewer.Doctor(ctx)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(report, func(c config.Checked) bool { return c.Name == "Workers" })
	for _, want := range []string{"central: no worker", "site fra01: no worker", "off by 5s", "runs version old"} {
		if report[i].OK || !strings.Contains(report[i].Says, want) {
			t.Errorf("doctor says %q, want it to contain %q", report[i].Says, want)
		}
	}
	a.Clock.Move(time.Minute)
	if got := states()["ams01"]; got != "away" {
		t.Errorf("after a minute: %q, want away", got)
	}
	beat = operation.Heartbeat{Site: "ams01", Worker: "w2", Queue: "site-ams01", Clock: a.Clock.Now(), State: "what it says of itself"}
	if _, err := w.Heartbeat(ctx, beat); err != nil {
		t.Fatal(err)
	}
	list, err := viewer.Sites(ctx)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range list {
		for _, h := range s.Workers {
			got[h.Worker] = h.State
		}
	}
	if diff := cmp.Diff(map[string]string{"w1": "away", "w2": "up"}, got); diff != "" || states()["ams01"] != "up" {
		t.Errorf("each worker by its own heartbeat; the site is %s (-want +got)\n%s", states()["ams01"], diff)
	}
}

func TestFirmware(t *testing.T) {
	a := apitest.Start(t, 1)
	ctx := t.Context()
	admin := a.As(t, operation.Admin)
	body := []byte("BIOS 2.1")
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	if _, err := admin.AddFirmware(ctx, "bios.bin", hash, 3, strings.NewReader("bad")); code(err) != fault.BadImage {
		t.Errorf("another content: %v", err)
	}
	for range 2 {
		f, err := admin.AddFirmware(ctx, "bios.bin", hash, int64(len(body)), bytes.NewReader(body))
		if err != nil || f.Size != int64(len(body)) {
			t.Fatalf("got %+v, %v", f, err)
		}
	}
	if _, err := admin.AddFirmware(ctx, "../../x", hash, int64(len(body)), bytes.NewReader(body)); code(err) != fault.Invalid {
		t.Errorf("a path as a name: %v", err)
	}
	other := sha256.Sum256([]byte("other"))
	if _, err := admin.AddFirmware(ctx, "bios.bin", hex.EncodeToString(other[:]), 5, strings.NewReader("other")); code(err) != fault.Conflict {
		t.Errorf("the name for other bytes: %v", err)
	}
	if list, err := admin.Firmware(ctx); err != nil || len(list) != 1 {
		t.Errorf("list: %v, %v", list, err)
	}
	r, err := a.As(t, operation.Worker, "ams01").DownloadFirmware(ctx, hash, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "2.1" {
		t.Errorf("from byte 5: %q, %v", got, err)
	}
	if got, err := admin.VerifyFirmware(ctx); err != nil || len(got) != 1 || got[0].Error != nil {
		t.Errorf("verify: %+v, %v", got, err)
	}
	// Killed after the catalogue forgot the file: asked again, the file goes too.
	if err := a.Store.RemoveFirmware(ctx, hash); err != nil {
		t.Fatal(err)
	}
	if err := admin.RemoveFirmware(ctx, hash); code(err) != fault.NotFound {
		t.Errorf("removed again: %v", err)
	}
	if f, err := a.Files.Open(hash); err == nil {
		f.Close()
		t.Error("the file is still there")
	}
}

func TestAssetsProfilesSetupAndManifest(t *testing.T) {
	a := apitest.Start(t, 2)
	ctx := t.Context()
	admin := a.As(t, operation.Admin)
	id := accept(t, admin, names("srv-01"))
	for _, ref := range []string{"srv-01", "sn001", "101"} {
		got, err := admin.Asset(ctx, ref)
		if err != nil || got.Device.ID != 101 || got.Holder == nil || got.Holder.Operation != id || got.Profile != "box@3" || got.Blocking.Code != fault.Locked {
			t.Errorf("%s: %+v, %v", ref, got, err)
		}
	}
	if _, err := admin.Asset(ctx, "a/b?c"); code(err) != fault.NotFound {
		t.Errorf("an odd name: %v", err)
	}
	if runs, err := admin.AssetHistory(ctx, "srv-01", 5); err != nil || len(runs) != 1 {
		t.Errorf("history: %v, %v", runs, err)
	}
	if p, err := admin.Profile(ctx, "box"); err != nil || p.Ref != "box@3" {
		t.Errorf("profile: %v, %v", p, err)
	}
	a.SetProfiles(nil, config.Problems{{File: "box.yaml", Line: 2, Key: "bmc", Remedy: "mend it"}})
	if c, err := admin.CheckProfiles(ctx); err != nil || len(c.Problems) != 1 || c.Problems[0].Line != 2 {
		t.Errorf("check: %+v, %v", c, err)
	}
	for _, step := range []struct {
		apply bool
		want  string
	}{{false, "missing"}, {true, "created"}, {true, "present"}} {
		if items, err := admin.NetBoxSetup(ctx, step.apply); err != nil || items[0].State != step.want {
			t.Errorf("setup %v: %+v, %v; want %s", step.apply, items, err, step.want)
		}
	}
	if got, err := admin.ImportManifest(ctx, strings.NewReader("SN001,pw\nSN002,pw\n")); err != nil || got.Imported != 2 {
		t.Errorf("import: %+v, %v", got, err)
	}
	if _, err := admin.ImportManifest(ctx, strings.NewReader("SN001\n")); code(err) != fault.Invalid {
		t.Errorf("a bad manifest: %v", err)
	}
	if r, err := admin.VerifyAudit(ctx); err != nil || r.Head == "" {
		t.Errorf("audit: %+v, %v", r, err)
	}
}
