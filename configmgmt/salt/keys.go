package salt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cagenut/cagenut/configmgmt"
)

// The lists in which the master keeps keys.
const (
	accepted = "minions"
	pending  = "minions_pre"
	rejected = "minions_rejected"
	denied   = "minions_denied" // a second key under an ID that is taken
)

// lists are the lists with the words that people use for them.
var lists = []struct{ name, word string }{{accepted, "accepted"}, {pending, "pending"}, {denied, "denied"}, {rejected, "rejected"}}

// Fingerprint hashes a public key as its minion does: the lines between the first and the last. It is
// what `salt-call --local key.finger` prints on the host, without colons.
func Fingerprint(pem string) string {
	h := sha256.New()
	for line := range strings.Lines(strings.ReplaceAll(pem, "\r\n", "\n")) {
		if line = strings.TrimSuffix(line, "\n"); strings.TrimSpace(line) != "" && !strings.Contains(line, "-----") {
			h.Write([]byte(line + "\n"))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// wheel makes a call to the master's key ring and gives what it returned, its data unwrapped.
func (d *Driver) wheel(ctx context.Context, fun string, match any) (json.RawMessage, error) {
	c := chunk{Client: "wheel", Fun: fun, Match: match}
	raw, err := d.call(ctx, c)
	if err != nil {
		return nil, err
	}
	var out struct {
		Data struct {
			Return  json.RawMessage `json:"return"`
			Success bool            `json:"success"`
		} `json:"data"`
	}
	if err := json.Unmarshal(raw, &out); err != nil || out.Data.Return == nil {
		return nil, &configmgmt.Error{Kind: configmgmt.ErrMalformed, Op: c.op(), Detail: brief(string(raw)), Err: err}
	}
	if !out.Data.Success {
		return nil, &configmgmt.Error{Kind: configmgmt.ErrRejected, Op: c.op(), Detail: brief(string(out.Data.Return))}
	}
	return out.Data.Return, nil
}

// keys gives the fingerprints of all keys under an ID, by list.
func (d *Driver) keys(ctx context.Context, id string) (map[string]string, error) {
	raw, err := d.wheel(ctx, "key.print", id)
	if err != nil {
		return nil, err
	}
	var found map[string]map[string]string
	if err := json.Unmarshal(raw, &found); err != nil {
		return nil, &configmgmt.Error{Kind: configmgmt.ErrMalformed, Op: "salt-api wheel key.print", Host: id, Detail: brief(string(raw)), Err: err}
	}
	out := map[string]string{}
	for list, keys := range found {
		if pem, ok := keys[id]; ok { // key.print takes patterns; an ID is none, and only it counts
			out[list] = Fingerprint(pem)
		}
	}
	return out, nil
}

// Enroll accepts the pending key of a target if it is the one that the host phoned home.
func (d *Driver) Enroll(ctx context.Context, t configmgmt.Target, phoned string) error {
	const op = "enroll in Salt"
	if err := t.Check(op); err != nil {
		return err
	}
	want, err := configmgmt.Fingerprint(phoned)
	if err != nil {
		return &configmgmt.Error{Kind: configmgmt.ErrInvalid, Op: op, Host: t.Name, Err: err}
	}
	keys, err := d.keys(ctx, t.Name)
	if err != nil {
		return err
	}
	done, err := judgeKeys(op, t.Name, keys, want)
	if done || err != nil {
		return err
	}
	raw, err := d.wheel(ctx, "key.accept_dict", map[string][]string{pending: {t.Name}})
	if err != nil {
		return err
	}
	if keys, err = d.keys(ctx, t.Name); err != nil {
		return err
	}
	switch keys[accepted] {
	case want:
		return nil
	case "":
		// Accepting answers a text where it did nothing.
		return &configmgmt.Error{Kind: configmgmt.ErrRejected, Op: op, Host: t.Name, Detail: "the key is still not accepted: " + brief(string(raw))}
	}
	// Not the key that we looked at: take the trust back before anything runs on it.
	if err := d.Revoke(ctx, t); err != nil {
		return err
	}
	return &configmgmt.Error{Kind: configmgmt.ErrFingerprint, Op: op, Host: t.Name, Detail: "the key changed while it was accepted; it was deleted again"}
}

// judgeKeys decides: done is true when the right key is accepted already; neither done nor an error
// means that the right one is pending.
func judgeKeys(op, id string, keys map[string]string, want string) (done bool, err error) {
	e := &configmgmt.Error{Op: op, Host: id}
	var seen []string
	for _, l := range lists {
		if keys[l.name] != "" {
			seen = append(seen, l.word+" "+keys[l.name])
		}
	}
	shown := strings.Join(seen, ", ")
	switch {
	case len(keys) == 0:
		e.Kind, e.Detail = configmgmt.ErrNotEnrolled, "the master has seen no key of this minion yet"
	case keys[accepted] == want:
		return true, nil
	case keys[accepted] != "":
		e.Kind = configmgmt.ErrFingerprint
		e.Detail = fmt.Sprintf("the host phoned home %s; the master has: %s. If the host was installed again, revoke its old key first", want, shown)
	case keys[pending] == want:
		return false, nil
	case keys[pending] != "" || keys[rejected] != want:
		e.Kind = configmgmt.ErrFingerprint
		e.Detail = fmt.Sprintf("the host phoned home %s; the master has: %s. Find out which host uses this ID", want, shown)
	default:
		e.Kind, e.Detail = configmgmt.ErrRejected, "somebody rejected this very key on the master; delete it there (salt-key -d) if that was a mistake"
	}
	return false, e
}

// Revoke deletes every key under a target's ID.
func (d *Driver) Revoke(ctx context.Context, t configmgmt.Target) error {
	const op = "revoke in Salt"
	if err := t.Check(op); err != nil {
		return err
	}
	keys, err := d.keys(ctx, t.Name)
	if err != nil || len(keys) == 0 {
		return err
	}
	if _, err := d.wheel(ctx, "key.delete", t.Name); err != nil { // answers {} whatever happened
		return err
	}
	if keys, err = d.keys(ctx, t.Name); err != nil {
		return err
	}
	// A minion that still runs asks again at once: a pending key is not trusted, and may stay.
	for _, l := range lists {
		if keys[l.name] != "" && l.name != pending {
			return &configmgmt.Error{Kind: configmgmt.ErrRejected, Op: op, Host: t.Name, Detail: "the master still has a key of it that is " + l.word}
		}
	}
	return nil
}
