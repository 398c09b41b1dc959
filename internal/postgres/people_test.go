package postgres_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/postgres/pgtest"
)

func TestTokens(t *testing.T) {
	s := pgtest.New(t)
	ctx := t.Context()
	sum := sha256.Sum256([]byte("secret"))
	tok := operation.Token{ID: "tok_1", Person: "ada", Role: operation.Operator, Sites: []string{"ams01"}, Created: noon, By: "root",
		Expires: noon.Add(time.Hour)}
	if err := s.CreateToken(ctx, tok, sum); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.CreateToken(ctx, tok, sha256.Sum256([]byte("other"))), fault.Conflict)

	_, err := s.Authenticate(ctx, sha256.Sum256([]byte("wrong")), noon)
	wantCode(t, err, fault.Unauthenticated)

	// Its use is noted once a minute.
	for _, use := range []struct{ at, want time.Time }{
		{noon, noon},
		{noon.Add(59 * time.Second), noon},
		{noon.Add(time.Minute), noon.Add(time.Minute)},
	} {
		if _, err := s.Authenticate(ctx, sum, use.at); err != nil {
			t.Fatal(err)
		}
		want := tok
		want.LastUsed = use.want
		got, err := s.ListTokens(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]operation.Token{want}, got); diff != "" {
			t.Errorf("tokens after use at %s (-want +got):\n%s", use.at, diff)
		}
	}
	for range 2 {
		if err := s.RevokeToken(ctx, "tok_1", "root", noon.Add(2*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, s.RevokeToken(ctx, "tok_2", "root", noon), fault.NotFound)
	got, err := s.Authenticate(ctx, sum, noon.Add(3*time.Minute))
	if err != nil || got.Live(noon.Add(3*time.Minute)) || !got.LastUsed.Equal(noon.Add(time.Minute)) {
		t.Errorf("revoked token = %+v, %v, want it not live and not used", got, err)
	}
	if n := count(t, s, `select count(*) from token where sum = $1 and revoked = $2`, sum[:], noon.Add(2*time.Minute)); n != 1 {
		t.Errorf("%d tokens revoked at the first time, want 1", n)
	}
}

func TestCreateTokenInvalid(t *testing.T) {
	s := pgtest.New(t)
	good := operation.Token{ID: "tok_1", Person: "ada", Role: operation.Viewer, Created: noon}
	for name, spoil := range map[string]func(*operation.Token){
		"no ID":                func(t *operation.Token) { t.ID = "" },
		"no person":            func(t *operation.Token) { t.Person = "" },
		"unknown role":         func(t *operation.Token) { t.Role = "king" },
		"worker without sites": func(t *operation.Token) { t.Role = operation.Worker },
	} {
		tok := good
		spoil(&tok)
		t.Run(name, func(t *testing.T) { wantCode(t, s.CreateToken(t.Context(), tok, [32]byte{1}), fault.Invalid) })
	}
	if n := count(t, s, `select count(*) from token`); n != 0 {
		t.Errorf("%d tokens were kept", n)
	}
}

func TestHeartbeats(t *testing.T) {
	s := pgtest.New(t)
	// By PostgreSQL's clock, whatever the worker says of itself: a central worker's, too.
	beat := func(worker, site string, off time.Duration) operation.Heartbeat {
		clock := time.Now().UTC().Add(off)
		h := operation.Heartbeat{Worker: worker, Site: site, Version: "1.0", Queue: "site-" + site, Steps: []string{"bios/1"}, Clock: clock, At: clock}
		skew, err := s.SaveHeartbeat(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		if (skew - off).Abs() > 10*time.Second {
			t.Errorf("skew of %s in %s is %s, want about %s", worker, site, skew, off)
		}
		return h
	}
	beat("w1", "ams01", -time.Hour)
	b := beat("w1", "ams01", time.Hour)
	a := beat("w1", "fra01", 0) // another site's, named alike
	c := beat("w1", "", -time.Minute)
	beat("gone", "ams01", 0)
	execSQL(t, s, `update heartbeat set at = at - interval '8 days' where worker = 'gone'`)
	got, err := s.Heartbeats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var skews []time.Duration
	for i := range got {
		if age := time.Since(got[i].At); age < -time.Second || age > time.Minute {
			t.Errorf("%s of %s came %s ago, want a moment", got[i].Worker, got[i].Site, age)
		}
		skews = append(skews, (time.Duration(got[i].SkewMS) * time.Millisecond).Round(time.Minute))
		got[i].At, got[i].SkewMS = time.Time{}, 0
	}
	for _, h := range []*operation.Heartbeat{&a, &b, &c} {
		h.At = time.Time{}
	}
	if diff := cmp.Diff([]operation.Heartbeat{c, b, a}, got); diff != "" {
		t.Errorf("heartbeats (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]time.Duration{-time.Minute, time.Hour, 0}, skews); diff != "" {
		t.Errorf("skews (-want +got):\n%s", diff)
	}
	_, err = s.SaveHeartbeat(t.Context(), operation.Heartbeat{Clock: noon})
	wantCode(t, err, fault.Invalid)
}

func TestFirmware(t *testing.T) {
	s := pgtest.New(t)
	f := operation.FirmwareFile{SHA256: "ab" + string(make64()), Name: "bios.bin", Size: 12, Added: noon, By: "ada"}
	for range 2 {
		if err := s.SaveFirmware(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.ListFirmware(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]operation.FirmwareFile{f}, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	f.SHA256 = "xyz"
	wantCode(t, s.SaveFirmware(t.Context(), f), fault.Invalid)
}

func make64() []byte {
	out := make([]byte, 62)
	for i := range out {
		out[i] = '0'
	}
	return out
}
