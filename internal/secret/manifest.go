package secret

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
)

// Report counts what an import did, by machine.
type Report struct {
	Imported  int `json:"imported"`  // new here
	Changed   int `json:"changed"`   // another password than before for the same user
	Unchanged int `json:"unchanged"` // known already
}

// row is one machine's line of a manifest.
type row struct {
	line     int
	serial   string
	mac      string // NetBox form
	login    Login
	manifest []string // references to keep it under
}

// ImportManifest reads a CSV of factory passwords and keeps them by serial and by MAC. The first line
// names the columns, in any order: serial, mac, user, password; serial or mac may be empty in a line,
// not both. Bad lines are fault.Invalid with every bad line in the details, and then nothing is
// imported. Importing the same again changes nothing. No password is ever in the answer.
func (k *Keeper) ImportManifest(ctx context.Context, in io.Reader) (Report, error) {
	rows, err := readManifest(in)
	if err != nil {
		return Report{}, err
	}
	var rep Report
	for _, r := range rows {
		known, changed := true, false
		for _, ref := range r.manifest {
			err := k.Driver.Update(ctx, ref, func(rec Record) (Record, error) {
				rec = rec.clone()
				i := slices.IndexFunc(rec.Factory, func(l Login) bool { return l.User == r.login.User })
				switch {
				case i < 0:
					known = false
					rec.Factory = append(rec.Factory, r.login)
				case rec.Factory[i] != r.login:
					changed = true
					rec.Factory[i] = r.login
				}
				return rec, nil
			})
			if err != nil {
				return rep, err
			}
		}
		switch {
		case changed:
			rep.Changed++
		case known:
			rep.Unchanged++
		default:
			rep.Imported++
		}
	}
	return rep, nil
}

// columns are those that a manifest must have.
var columns = []string{"serial", "mac", "user", "password"}

// maxManifest is the largest manifest that is read: about 100,000 machines.
const maxManifest = 16 << 20

// readManifest judges all lines before anything is kept.
func readManifest(in io.Reader) ([]row, error) {
	limited := &io.LimitedReader{R: in, N: maxManifest + 1}
	r := csv.NewReader(limited)
	r.FieldsPerRecord = -1 // judged below, line by line
	r.TrimLeadingSpace = true
	header, err := r.Read()
	if err != nil {
		return nil, fault.New(fault.Invalid, "manifest: it has no readable first line; want the columns %s", strings.Join(columns, ","))
	}
	at := map[string]int{}
	for i, name := range header {
		name = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))
		if _, twice := at[name]; twice {
			return nil, fault.New(fault.Invalid, "manifest: column %q stands twice in the first line", name)
		}
		at[name] = i
	}
	for _, c := range columns {
		if _, ok := at[c]; !ok {
			return nil, fault.New(fault.Invalid, "manifest: the first line lacks column %q; want %s, in any order", c, strings.Join(columns, ","))
		}
	}
	m := manifest{users: map[[2]string]row{}, owners: map[string]row{}}
	for {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var parse *csv.ParseError
		switch {
		case errors.As(err, &parse):
			m.bad(parse.Line, "quotes", "a quote that does not end, or that stands inside a field", "double quotes inside a quoted field")
			continue
		case err != nil:
			return nil, fault.Wrap(err, fault.Invalid, "manifest: read: %v", err)
		}
		line, _ := r.FieldPos(0)
		if len(fields) != len(header) {
			m.bad(line, fmt.Sprintf("%d fields", len(header)), fmt.Sprintf("%d", len(fields)), "quote fields that hold a comma")
			continue
		}
		m.add(line, fields[at["serial"]], fields[at["mac"]], fields[at["user"]], fields[at["password"]])
	}
	if limited.N <= 0 {
		return nil, fault.New(fault.Invalid, "manifest: it is larger than %d MiB: split it", maxManifest>>20)
	}
	if len(m.problems) > 0 {
		slices.SortStableFunc(m.problems, func(a, b problem) int { return cmp.Compare(a.line, b.line) })
		e := fault.New(fault.Invalid, "manifest: %d problems, the first in line %d; nothing was imported", len(m.problems), m.problems[0].line)
		e.Remedy = "correct the lines and import the file again"
		for _, p := range m.problems {
			e.Details = append(e.Details, p.Item)
		}
		return nil, e
	}
	if len(m.rows) == 0 {
		return nil, fault.New(fault.Invalid, "manifest: it has no lines but the first")
	}
	return m.rows, nil
}

// manifest collects lines and what is wrong with them.
type manifest struct {
	rows     []row
	problems []problem
	users    map[[2]string]row // by reference and user
	owners   map[string]row    // by MAC
}

type problem struct {
	line int
	fault.Item
}

func (m *manifest) bad(line int, expected, seen, remedy string) {
	m.problems = append(m.problems, problem{line, fault.Item{Subject: fmt.Sprintf("line %d", line), Expected: expected, Seen: seen, Remedy: remedy}})
}

func (m *manifest) add(line int, serial, mac, user, password string) {
	r := row{line: line, serial: strings.TrimSpace(serial), login: Login{User: strings.TrimSpace(user), Password: password}}
	before := len(m.problems)
	if r.serial == "" && strings.TrimSpace(mac) == "" {
		m.bad(line, "serial or mac", "both empty", "enter at least one of them")
	}
	if len(r.serial) > 64 || !printable(r.serial) {
		m.bad(line, "serial of at most 64 printable characters", fmt.Sprintf("%q", r.serial), "enter the serial from the label")
	}
	if mac = strings.TrimSpace(mac); mac != "" {
		var ok bool
		if r.mac, ok = asset.NormalMAC(mac); !ok {
			m.bad(line, "mac of 12 hex digits", fmt.Sprintf("%q", mac), "write it as AA:BB:CC:DD:EE:FF")
		}
	}
	if r.login.User == "" || !printable(r.login.User) {
		m.bad(line, "user", fmt.Sprintf("%q", r.login.User), "enter the factory's user name, e.g. root or ADMIN")
	}
	if password == "" || !printable(password) || strings.TrimSpace(password) != password {
		m.bad(line, "password", "empty, or with space around it or control characters in it (not shown)", "enter the password from the label")
	}
	if len(m.problems) > before {
		return
	}
	if r.serial != "" {
		r.manifest = append(r.manifest, Ref(r.serial))
	}
	if r.mac != "" {
		ref, _ := macRef(r.mac)
		r.manifest = append(r.manifest, ref)
		if other, taken := m.owners[r.mac]; taken && r.serial != "" && other.serial != "" && !asset.SameSerial(other.serial, r.serial) {
			m.bad(line, "mac of one machine", fmt.Sprintf("%s is also that of serial %s in line %d", r.mac, other.serial, other.line), "correct one of the lines")
			return
		}
		m.owners[r.mac] = r
	}
	for _, ref := range r.manifest {
		key := [2]string{ref, r.login.User}
		if other, taken := m.users[key]; taken && other.login != r.login {
			m.bad(line, "one password for "+ref+", user "+r.login.User, fmt.Sprintf("another one than in line %d", other.line), "correct one of the lines")
			return
		}
		m.users[key] = r
	}
	m.rows = append(m.rows, r)
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
