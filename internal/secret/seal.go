package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cagenut/cagenut/internal/fault"
)

// Ring holds the keys that records are sealed with. The first seals; the others open what was sealed
// before the last rotation. A key's ID is the beginning of its SHA-256, so a row can name its key.
type Ring struct {
	first string
	keys  map[string]cipher.AEAD
}

// String says how many keys there are and which one seals.
func (r *Ring) String() string { return fmt.Sprintf("%d keys, sealing with %s", len(r.keys), r.first) }

// GoString is String.
func (r *Ring) GoString() string { return "secret.Ring{" + r.String() + "}" }

// ReadRing reads a key file: a line for each key, 32 bytes in base64; the first line seals. Empty
// lines and those that begin with # are skipped. A file that others may read is refused.
func ReadRing(path string) (*Ring, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Invalid, "secrets.key_file %s is missing: make one with `openssl rand -base64 32`, mode 0600", path)
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "secrets.key_file: %v", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fault.New(fault.Invalid, "secrets.key_file %s has mode %04o: others may read it; chmod 0600 it", path, mode)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "secrets.key_file: %v", err)
	}
	var keys [][]byte
	for i, line := range strings.Split(string(raw), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != 32 {
			return nil, fault.New(fault.Invalid, "secrets.key_file %s, line %d: want 32 bytes in base64 (`openssl rand -base64 32`)", path, i+1)
		}
		keys = append(keys, key)
	}
	return NewRing(keys...)
}

// NewRing makes a ring of 32-byte keys; the first seals.
func NewRing(keys ...[]byte) (*Ring, error) {
	if len(keys) == 0 {
		return nil, fault.New(fault.Invalid, "secrets.key_file has no key: make one with `openssl rand -base64 32`")
	}
	r := &Ring{keys: map[string]cipher.AEAD{}}
	for _, key := range keys {
		if len(key) != 32 {
			return nil, fault.New(fault.Invalid, "secrets key has %d bytes, want 32", len(key))
		}
		aead, err := newAEAD(key)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(key)
		id := hex.EncodeToString(sum[:6])
		r.keys[id] = aead
		if r.first == "" {
			r.first = id
		}
	}
	return r, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "AES: %v", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// The sealed form is an envelope: a key of the record's own, sealed by the ring's key, then the
// record, sealed by its own key. Both are bound to the reference, so rows cannot be exchanged.
const (
	recordKeySize = 32
	overhead      = 12 + 16 // nonce and tag of AES-GCM
	wrappedSize   = recordKeySize + overhead
)

// seal encrypts and says with which key.
func (r *Ring) seal(ref string, plain []byte) (keyID string, sealed []byte, err error) {
	own := make([]byte, recordKeySize)
	rand.Read(own) // never fails: the program ends when there is no randomness
	aead, err := newAEAD(own)
	if err != nil {
		return "", nil, err
	}
	sealed = r.keys[r.first].Seal(nil, nil, own, []byte("key "+ref))          //nolint:gosec // these AEADs make random nonces themselves, see newAEAD
	return r.first, aead.Seal(sealed, nil, plain, []byte("record "+ref)), nil //nolint:gosec // likewise
}

// open decrypts.
func (r *Ring) open(ref, keyID string, sealed []byte) ([]byte, error) {
	own, err := r.unwrap(ref, keyID, sealed)
	if err != nil {
		return nil, err
	}
	aead, err := newAEAD(own)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, sealed[wrappedSize:], []byte("record "+ref))
	if err != nil {
		return nil, fault.New(fault.Internal, "secret %s: its row was changed outside of Cagenut", ref)
	}
	return plain, nil
}

func (r *Ring) unwrap(ref, keyID string, sealed []byte) ([]byte, error) {
	key, ok := r.keys[keyID]
	if !ok {
		e := fault.New(fault.NoSecret, "secret %s is sealed with key %s, which secrets.key_file does not hold", ref, keyID)
		e.Remedy = "put that key back into secrets.key_file"
		return nil, e
	}
	if len(sealed) < wrappedSize+overhead {
		return nil, fault.New(fault.Internal, "secret %s: its row was cut", ref)
	}
	own, err := key.Open(nil, nil, sealed[:wrappedSize], []byte("key "+ref))
	if err != nil {
		return nil, fault.New(fault.Internal, "secret %s: its row was changed outside of Cagenut", ref)
	}
	return own, nil
}

// rewrap seals the record's key with the ring's first key; the record itself stays.
func (r *Ring) rewrap(ref, keyID string, sealed []byte) (string, []byte, error) {
	own, err := r.unwrap(ref, keyID, sealed)
	if err != nil {
		return "", nil, err
	}
	return r.first, append(r.keys[r.first].Seal(nil, nil, own, []byte("key "+ref)), sealed[wrappedSize:]...), nil //nolint:gosec // likewise
}
