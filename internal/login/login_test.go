package login

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestALoginIsKeptForItsOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "login.json")
	if _, ok, err := Load(path); ok || err != nil {
		t.Fatalf("no file: %v, %v", ok, err)
	}
	want := Login{URL: "https://x", Token: "hush"}
	for range 2 {
		if err := Save(path, want); err != nil {
			t.Fatal(err)
		}
	}
	if got, ok, err := Load(path); !ok || err != nil || got != want {
		t.Errorf("got %v, %v, %v", got, ok, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by others: %v", err)
	}
	if s := fmt.Sprintf("%v %+v %#v", want, want, want); strings.Contains(s, "hush") {
		t.Error(s)
	}
}

func TestAnythingElseIsNoLogin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "login.json")
	for _, text := range []string{"", "{}", `{"url":"x"}`, "token"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Load(path); err == nil {
			t.Errorf("%q: got nil", text)
		}
	}
}
