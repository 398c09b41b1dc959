package postgres

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/cagenut/cagenut/internal/atomicfile"
	"github.com/cagenut/cagenut/internal/fault"
)

// keptHeads is how many heads the file keeps; the oldest go first.
const keptHeads = 100

// Head is the signed end of the audit chain at some time. Seq 0 is the beginning of the chain.
type Head struct {
	Seq       int64     `json:"seq"`
	Hash      string    `json:"hash"` // of row Seq, in hex
	At        time.Time `json:"at"`
	Key       string    `json:"key"`       // public key, in hex
	Signature string    `json:"signature"` // Ed25519 over signedText, in base64
	Lost      *Lost     `json:"lost,omitempty"`
}

// Lost says that an older database was restored and accepted (restore.go): the rows from From on that
// were signed before this head are gone. Row Seq of this head says so in the chain itself.
type Lost struct {
	From int64  `json:"from"`
	To   int64  `json:"to"`   // the last one that was signed; 0: the head file was lost, and it is not known
	Hash string `json:"hash"` // of row To
}

// signedText is what a head's signature covers.
func (h Head) signedText() []byte {
	if l := h.Lost; l != nil {
		return fmt.Appendf(nil, "cagenut audit head 2\n%d\n%s\n%s\nlost %d %d %s\n", h.Seq, h.Hash, h.At.UTC().Format(time.RFC3339Nano), l.From, l.To, l.Hash)
	}
	return fmt.Appendf(nil, "cagenut audit head 1\n%d\n%s\n%s\n", h.Seq, h.Hash, h.At.UTC().Format(time.RFC3339Nano))
}

func (h Head) signedBy(key ed25519.PublicKey) bool {
	sig, err := base64.StdEncoding.DecodeString(h.Signature)
	return err == nil && ed25519.Verify(key, h.signedText(), sig)
}

// AuditKeeper signs the heads of the audit chain and keeps them in a file outside of the database.
// It is safe for concurrent use, also by several processes.
type AuditKeeper struct {
	key  ed25519.PrivateKey
	path string
}

// NewAuditKeeper reads the key file (an Ed25519 seed: 32 bytes in base64, mode 0600) and uses
// headFile, which Sealer makes when the chain begins.
func NewAuditKeeper(keyFile, headFile string) (*AuditKeeper, error) {
	info, err := os.Stat(keyFile)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "audit.key_file: %v; make one with `openssl rand -base64 32`, mode 0600", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fault.New(fault.Invalid, "audit.key_file %s has mode %04o: others may read it; chmod 0600 it", keyFile, mode)
	}
	raw, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "audit.key_file: %v", err)
	}
	seed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(raw)))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fault.New(fault.Invalid, "audit.key_file %s: want 32 bytes in base64 (`openssl rand -base64 32`)", keyFile)
	}
	if headFile == "" {
		return nil, fault.New(fault.Invalid, "audit.head_file is empty: name a file outside of the database's machine")
	}
	return &AuditKeeper{key: ed25519.NewKeyFromSeed(seed), path: headFile}, nil
}

// Public is the key with which heads are verified.
func (k *AuditKeeper) Public() ed25519.PublicKey { return k.key.Public().(ed25519.PublicKey) }

// Heads gives the heads of the file, oldest first; none when there is no file.
func (k *AuditKeeper) Heads() ([]Head, error) {
	raw, err := os.ReadFile(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "audit head file: %v", err)
	}
	var file headFile
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "audit head file %s is damaged: %v; restore it", k.path, err)
	}
	return file.Heads, nil
}

type headFile struct {
	Heads []Head `json:"heads"`
}

// last gives the newest head whose signature is ours, false when there is none.
func (k *AuditKeeper) last() (Head, bool, error) {
	heads, err := k.Heads()
	if err != nil || len(heads) == 0 {
		return Head{}, false, err
	}
	h := heads[len(heads)-1]
	if !h.signedBy(k.Public()) {
		return Head{}, false, fault.New(fault.Conflict, "audit head file %s: head %d is not signed with this key: "+
			"the file was changed, or audit.key_file was", k.path, h.Seq)
	}
	return h, true, nil
}

// add signs a head and adds it to the file, unless the file is as far already.
func (k *AuditKeeper) add(seq int64, hash []byte, at time.Time) error {
	return k.append(Head{Seq: seq, Hash: hex.EncodeToString(hash), At: at.UTC()})
}

// append signs a head and adds it to the file. Only a head that says what was lost goes back.
func (k *AuditKeeper) append(h Head) error {
	lock, err := os.OpenFile(k.path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "audit head file: %v", err)
	}
	defer lock.Close() // frees the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fault.Wrap(err, fault.Internal, "audit head file: lock: %v", err)
	}
	heads, err := k.Heads()
	if err != nil {
		return err
	}
	if n := len(heads); n > 0 && heads[n-1].Seq >= h.Seq && h.Lost == nil {
		return nil
	}
	h.Key = hex.EncodeToString(k.Public())
	h.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(k.key, h.signedText()))
	heads = append(heads, h)
	raw, err := json.MarshalIndent(headFile{heads[max(0, len(heads)-keptHeads):]}, "", " ")
	if err != nil {
		return fault.Wrap(err, fault.Internal, "audit head file: %v", err)
	}
	if err := atomicfile.Write(k.path, raw); err != nil {
		return fault.Wrap(err, fault.Internal, "audit head file: %v", err)
	}
	return nil
}
