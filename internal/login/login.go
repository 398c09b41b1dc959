// Package login keeps where the API is and the token for it, between `cagenut login` (or cagenut-dev)
// that writes and every other command that reads. A file holds one login, is readable by its owner
// alone, and is replaced as a whole. The package holds no state.
package login

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cagenut/cagenut/internal/atomicfile"
)

// Login is one login.
type Login struct {
	URL    string `json:"url"`
	Token  string `json:"token"`
	CAFile string `json:"ca_file,omitempty"` // of a private CA; empty: the system's
	Dir    string `json:"dir,omitempty"`     // of the stack of cagenut-dev whose login it is; empty: of `cagenut login`
}

// String hides the token.
func (l Login) String() string { return l.URL }

// GoString hides the token from %#v.
func (l Login) GoString() string { return "login.Login{" + l.URL + "}" }

// Path is where `cagenut login` keeps its login, and DevPath where cagenut-dev leaves one; commands
// read the first, else the second.
func Path() (string, error) { return inConfigDir("login.json") }

// DevPath is the file of cagenut-dev. It holds the login of one running stack, the first of those that
// run; the others are reached by their folder (OfStack).
func DevPath() (string, error) { return inConfigDir("dev.json") }

// OfStack reads the login of the cagenut-dev stack in a folder.
func OfStack(dir string) (Login, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Login{}, fmt.Errorf("login: %w", err)
	}
	var set struct {
		API string `json:"api"` // host:port
	}
	raw, err := os.ReadFile(filepath.Join(dir, "stack.json"))
	if err == nil {
		err = json.Unmarshal(raw, &set)
	}
	if err == nil && set.API == "" {
		err = errors.New("stack.json names no API")
	}
	var token []byte
	if err == nil {
		token, err = os.ReadFile(filepath.Join(dir, "conf", "admin-token"))
	}
	if err != nil {
		return Login{}, fmt.Errorf("login: no stack of cagenut-dev was ever ready in %s: %w", dir, err)
	}
	return Login{URL: "http://" + set.API, Token: strings.TrimSpace(string(token)), Dir: dir}, nil
}

func inConfigDir(name string) (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("the folder for logins: %w (set HOME or XDG_CONFIG_HOME)", err)
	}
	return filepath.Join(dir, "cagenut", name), nil
}

// Load reads a file; false when there is none. A file that others can read is an error: its token may
// be known.
func Load(path string) (Login, bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Login{}, false, nil
	}
	if err != nil {
		return Login{}, false, fmt.Errorf("login: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Login{}, false, fmt.Errorf("login: others can read %s; run `chmod 600 %s` and `cagenut login` with a new token", path, path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return Login{}, false, fmt.Errorf("login: %w", err)
	}
	var l Login
	if err := json.Unmarshal(raw, &l); err != nil || l.URL == "" || l.Token == "" {
		return Login{}, false, fmt.Errorf("login: %s is not what `cagenut login` writes; run it again", path)
	}
	return l, true, nil
}

// Save writes a file.
func Save(path string, l Login) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("login: %w", err)
	}
	raw, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("login: %w", err)
	}
	if err := atomicfile.Write(path, append(raw, '\n')); err != nil {
		return fmt.Errorf("login: %w", err)
	}
	return nil
}
