package configmgmt

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// maxWords bounds what is kept of configuration management's own words.
const maxWords = 2000

// assignments look like a secret with its value: password=x, "token": "x", Authorization: Bearer x.
var assignments = regexp.MustCompile(`(?i)((?:pass(?:word|wd|phrase)?|secret|token|api[_-]?key|private[_-]?key|authorization|credentials?)["']?\s*[:=]\s*)("[^"]*"|'[^']*'|(?:bearer|basic)\s+\S+|[^\s,;}\]]+)`)

// userinfo is the password in a URL.
var userinfo = regexp.MustCompile(`(\w+://[^\s:/@]*:)[^\s/@]+@`)

// pemKey is a private key, whole or cut.
var pemKey = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)`)

// Words prepares what configuration management said for an error, a row or a page: no secrets that
// can be told by their form, no control characters but line breaks, at most 2,000 bytes. Templates
// print what they like, so that this is a second net: the first is to give a Spec no secret.
func Words(s string) string {
	s = pemKey.ReplaceAllString(s, "***")
	s = userinfo.ReplaceAllString(s, "${1}***@")
	s = assignments.ReplaceAllString(s, "${1}***")
	s = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r == 0xfffd {
			return -1
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if len(s) > maxWords {
		s = strings.ToValidUTF8(s[:maxWords], "") + "..."
	}
	return s
}

// Fingerprint brings the SHA-256 fingerprint of a minion's key into one form: 64 lower-case
// hexadecimal digits. Colons and letter case do not matter, nor does what salt-call prints before it
// ("local:", on a line of its own).
func Fingerprint(s string) (string, error) {
	plain := strings.TrimSpace(s)
	if f := strings.Fields(plain); len(f) == 2 && f[0] == "local:" {
		plain = f[1]
	}
	plain = strings.ToLower(strings.ReplaceAll(plain, ":", ""))
	if b, err := hex.DecodeString(plain); err != nil || len(b) != 32 {
		return "", fmt.Errorf("fingerprint %q: want 64 hexadecimal digits, as `salt-call --local key.finger` prints them", s)
	}
	return plain, nil
}
