// Package secret keeps passwords of BMCs, by reference. Plans, payloads, rows and logs hold
// references only; the one who uses a password resolves it at the last moment.
//
// Words
//
//   - Reference: bmc/<SERIAL>, in capitals, or mac/<12 hex digits> for what a manifest knows by MAC.
//   - Record: all that is kept under one reference: for each account its current password and the
//     one that is pending, what was pending before it, and the logins that the factory set.
//   - Pending: a new password is made durable as pending before the BMC is told of it, and becomes
//     current after a login with it. A crash at any moment leaves every password that the BMC may
//     have: current, pending, factory.
//   - Driver: where records are kept. File (file.go), PostgreSQL (database.go, encrypted with a key
//     that the database never sees) and Env (env.go, read-only).
//   - Keeper: what the steps and the API use, over a driver.
//
// A Keeper and every Driver are safe for concurrent use, also by several processes: an update is
// atomic per reference. No type here shows a password in String, %v or an error.
package secret

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
)

// Ref is the reference of the passwords of a machine's BMC.
func Ref(serial string) string { return "bmc/" + strings.ToUpper(strings.TrimSpace(serial)) }

// macRef is the reference of what is known by a MAC only; false when it is not a MAC.
func macRef(mac string) (string, bool) {
	normal, ok := asset.NormalMAC(mac)
	return "mac/" + strings.ReplaceAll(normal, ":", ""), ok
}

// Record is what is kept under one reference.
type Record struct {
	Accounts map[string]Account `json:"accounts,omitempty"` // by user name; "" stands for every other account
	Factory  []Login            `json:"factory,omitempty"`
	// Shared says that the driver gives every machine this one and cannot keep another.
	Shared bool `json:"-"`
}

// Account holds the passwords of one account.
type Account struct {
	Current string `json:"current,omitempty"`
	Pending string `json:"pending,omitempty"`
	// Older were pending before, and were too long for the BMC: it refused them, or the answer was lost.
	Older []string `json:"older,omitempty"`
}

// Login is a user with a password.
type Login struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// String tells how much is kept, and nothing of it.
func (r Record) String() string {
	return fmt.Sprintf("record of %d accounts and %d factory logins", len(r.Accounts), len(r.Factory))
}

// GoString is String for %#v.
func (r Record) GoString() string { return "secret.Record{" + r.String() + "}" }

// String hides everything.
func (Account) String() string { return "***" }

// GoString hides everything from %#v.
func (Account) GoString() string { return "secret.Account{***}" }

// String hides the password.
func (l Login) String() string { return l.User + ":***" }

// GoString hides the password from %#v.
func (l Login) GoString() string { return "secret.Login{" + l.String() + "}" }

func (r Record) empty() bool { return len(r.Accounts) == 0 && len(r.Factory) == 0 }

// clone gives a copy that shares nothing.
func (r Record) clone() Record {
	out := Record{Factory: slices.Clone(r.Factory), Shared: r.Shared}
	if len(r.Accounts) > 0 {
		out.Accounts = make(map[string]Account, len(r.Accounts))
		for user, a := range r.Accounts {
			a.Older = slices.Clone(a.Older)
			out.Accounts[user] = a
		}
	}
	return out
}

// Driver keeps records. Errors carry a fault code; a read-only driver answers Update with
// fault.Unsupported.
type Driver interface {
	// Get gives a record; the zero Record when there is none.
	Get(ctx context.Context, ref string) (Record, error)
	// Update replaces a record by what change makes of it, atomically and durably. change may be
	// called several times and keeps nothing of its argument; its error ends the update.
	Update(ctx context.Context, ref string, change func(Record) (Record, error)) error
	// Has tells which references have a record that is not empty.
	Has(ctx context.Context, refs []string) (map[string]bool, error)
}

// Keeper finds, makes and promotes passwords.
type Keeper struct {
	Driver Driver
	// MACs gives the MACs of a machine's management interfaces, by which a manifest may know it. nil:
	// machines are known by serial only.
	MACs func(ctx context.Context, a asset.Ref) ([]string, error)
}

var _ activities.Secrets = (*Keeper)(nil)

// Candidates gives every login worth trying for a BMC, best first: the current password, the pending
// one, the ones that it replaced, the factory's by serial, then by MAC. None is fault.NoSecret.
func (k *Keeper) Candidates(ctx context.Context, a asset.Ref, account string) ([]activities.Candidate, error) {
	if err := checkRef(a, account); err != nil {
		return nil, err
	}
	rec, err := k.Driver.Get(ctx, Ref(a.Serial))
	if err != nil {
		return nil, err
	}
	var out []activities.Candidate
	add := func(source activities.CandidateSource, user, password string) {
		c := activities.Candidate{Source: source, Credentials: bmc.Credentials{User: user, Password: password}}
		same := func(o activities.Candidate) bool { return o.Credentials == c.Credentials }
		if password != "" && !slices.ContainsFunc(out, same) {
			out = append(out, c)
		}
	}
	acc, own := rec.Accounts[account]
	if !own {
		acc = rec.Accounts[""]
	}
	source := activities.SourceCurrent
	if rec.Shared {
		source = activities.SourceShared
	}
	add(source, account, acc.Current)
	add(activities.SourcePending, account, acc.Pending)
	for _, p := range acc.Older {
		add(activities.SourceOlder, account, p)
	}
	factory := rec.Factory
	byMAC, err := k.factoryByMAC(ctx, a)
	if err != nil && len(out) == 0 && len(factory) == 0 {
		return nil, err
	} // where a password is known, NetBox may be away
	for _, l := range slices.Concat(factory, byMAC) {
		add(activities.SourceFactory, l.User, l.Password)
	}
	if len(out) == 0 {
		return nil, fault.New(fault.NoSecret, "no password is known for the BMC of %s (serial %s)", a.Name, a.Serial)
	}
	return out, nil
}

func (k *Keeper) factoryByMAC(ctx context.Context, a asset.Ref) ([]Login, error) {
	if k.MACs == nil {
		return nil, nil
	}
	macs, err := k.MACs(ctx, a)
	if err != nil {
		return nil, err
	}
	var out []Login
	for _, mac := range macs {
		ref, ok := macRef(mac)
		if !ok {
			continue
		}
		rec, err := k.Driver.Get(ctx, ref)
		if err != nil {
			return nil, err
		}
		out = append(out, rec.Factory...)
	}
	return out, nil
}

// Propose makes a new password of length characters durable as pending, and returns it. A password
// that is pending already is returned instead, unless it is longer: a BMC refuses such a one for ever.
// The replaced one stays a candidate until a password is promoted.
func (k *Keeper) Propose(ctx context.Context, a asset.Ref, account string, length int) (activities.Candidate, error) {
	if err := checkRef(a, account); err != nil {
		return activities.Candidate{}, err
	}
	fresh, err := Generate(length)
	if err != nil {
		return activities.Candidate{}, err
	}
	var pending string
	err = k.Driver.Update(ctx, Ref(a.Serial), func(r Record) (Record, error) {
		r = r.clone()
		acc := r.Accounts[account]
		if len(acc.Pending) > length {
			acc.Older, acc.Pending = append(acc.Older, acc.Pending), ""
		}
		if acc.Pending == "" {
			acc.Pending = fresh
		}
		pending = acc.Pending
		if r.Accounts == nil {
			r.Accounts = map[string]Account{}
		}
		r.Accounts[account] = acc
		return r, nil
	})
	if err != nil {
		return activities.Candidate{}, err
	}
	return activities.Candidate{Source: activities.SourcePending, Credentials: bmc.Credentials{User: account, Password: pending}}, nil
}

// Promote makes the pending password the current one. When none is pending, the current one stays;
// when there is neither, it is fault.NoSecret.
func (k *Keeper) Promote(ctx context.Context, a asset.Ref, account string) error {
	if err := checkRef(a, account); err != nil {
		return err
	}
	rec, err := k.Driver.Get(ctx, Ref(a.Serial))
	if err != nil {
		return err
	}
	if acc := rec.Accounts[account]; acc.Pending == "" && acc.Current != "" {
		return nil
	}
	return k.Driver.Update(ctx, Ref(a.Serial), func(r Record) (Record, error) {
		acc := r.Accounts[account]
		switch {
		case acc.Pending != "":
			r = r.clone()
			r.Accounts[account] = Account{Current: acc.Pending}
		case acc.Current == "":
			return r, fault.New(fault.NoSecret, "no password is pending for account %s of the BMC of %s (serial %s)", account, a.Name, a.Serial)
		}
		return r, nil
	})
}

// Machine is how a password is looked for: by serial, else by the MACs of management interfaces.
type Machine struct {
	Ref  asset.Ref
	MACs []string
}

// Has tells for each machine whether a password is known for its BMC.
func (k *Keeper) Has(ctx context.Context, machines []Machine) (map[asset.ID]bool, error) {
	var refs []string
	for _, m := range machines {
		refs = append(refs, refsOf(m)...)
	}
	known, err := k.Driver.Has(ctx, refs)
	if err != nil {
		return nil, err
	}
	out := make(map[asset.ID]bool, len(machines))
	for _, m := range machines {
		out[m.Ref.ID] = slices.ContainsFunc(refsOf(m), func(ref string) bool { return known[ref] })
	}
	return out, nil
}

func refsOf(m Machine) []string {
	var refs []string
	if strings.TrimSpace(m.Ref.Serial) != "" {
		refs = append(refs, Ref(m.Ref.Serial))
	}
	for _, mac := range m.MACs {
		if ref, ok := macRef(mac); ok {
			refs = append(refs, ref)
		}
	}
	return refs
}

func checkRef(a asset.Ref, account string) error {
	switch {
	case strings.TrimSpace(a.Serial) == "":
		return fault.New(fault.Invalid, "serial of %s is empty: a password is found by serial", a.Name)
	case account == "":
		return fault.New(fault.Invalid, "account of the BMC of %s is empty", a.Name)
	}
	return nil
}

// The bounds of a generated password: IPMI 2.0 stores at most 20 characters.
const (
	MinLength = 16
	MaxLength = 20
)

const (
	lower    = "abcdefghijklmnopqrstuvwxyz"
	upper    = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits   = "0123456789"
	alphabet = lower + upper + digits
)

// Generate makes a random password of letters and digits, with at least one small letter, one
// capital and one digit. All such passwords are equally likely.
func Generate(length int) (string, error) {
	if length < MinLength || length > MaxLength {
		return "", fault.New(fault.Invalid, "password length %d: want %d to %d characters, which every BMC takes", length, MinLength, MaxLength)
	}
	for {
		p := randomText(length)
		if strings.ContainsAny(p, lower) && strings.ContainsAny(p, upper) && strings.ContainsAny(p, digits) {
			return p, nil
		}
	}
}

// randomText takes each character from the alphabet with the same likelihood: bytes beyond the
// largest multiple of its size are thrown away.
func randomText(length int) string {
	const limit = 256 - 256%len(alphabet)
	out := make([]byte, 0, length)
	buf := make([]byte, 2*length)
	for len(out) < length {
		rand.Read(buf) // never fails: the program ends when there is no randomness
		for _, b := range buf {
			if int(b) < limit && len(out) < length {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(out)
}
