package broker_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/bmc/broker"
)

func selfSigned(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stranger"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestParseFingerprint(t *testing.T) {
	want := strings.Repeat("0A:", 31) + "0A"
	for _, in := range []string{want, strings.ToLower(want), strings.ReplaceAll(want, ":", ""),
		"sha256 Fingerprint=" + want, "SHA256:" + strings.ReplaceAll(want, ":", ""), " " + want + "\n"} {
		if got, err := broker.ParseFingerprint(in); err != nil || got != want {
			t.Errorf("ParseFingerprint(%q) = %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "zz", want[:len(want)-3], want + ":00"} {
		if got, err := broker.ParseFingerprint(in); err == nil {
			t.Errorf("ParseFingerprint(%q) = %q, want an error", in, got)
		}
	}
}

func TestPathClass(t *testing.T) {
	for in, want := range map[string]string{
		"/redfish/v1/": "ServiceRoot",
		"/redfish/v1/Systems/437XR1138R2/Memory/DIMM1?x=1#f": "Systems/*/Memory/*",
		"/redfish/v1/Systems/1/Actions/ComputerSystem.Reset": "Systems/*/Actions/ComputerSystem.Reset",
		"/secret-path/of/vendor":                             "*/*/*",
	} {
		if got := broker.PathClass(in); got != want {
			t.Errorf("PathClass(%q) = %q, want %q", in, got, want)
		}
	}
}
