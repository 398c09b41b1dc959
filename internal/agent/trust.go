package agent

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Trust says which certificates are taken: those of CAs in PEM, or of a chain that holds the one
// certificate with a fingerprint (SHA-256 of its DER form, colons or not). With neither, those that the
// system trusts. Host is who is dialled where that is an address: TLS does not say it then.
func Trust(pem []byte, fingerprint, host string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(pem) > 0 {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("the CA file of the initramfs holds no certificate in PEM")
		}
	}
	if fingerprint == "" {
		return c, nil
	}
	want, err := hex.DecodeString(strings.ReplaceAll(fingerprint, ":", ""))
	if err != nil || len(want) != sha256.Size {
		return nil, fmt.Errorf("cagenut.ca %q: give the SHA-256 of a certificate, 64 hexadecimal digits", fingerprint)
	}
	c.InsecureSkipVerify = true // it is verified below
	c.VerifyConnection = func(s tls.ConnectionState) error {
		roots, others := x509.NewCertPool(), x509.NewCertPool()
		found := false
		for _, cert := range s.PeerCertificates {
			if sum := sha256.Sum256(cert.Raw); string(sum[:]) == string(want) {
				roots.AddCert(cert)
				found = true
			}
			others.AddCert(cert)
		}
		if !found {
			return errors.New("no certificate of the boot service has the fingerprint of cagenut.ca")
		}
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: others, DNSName: cmp.Or(s.ServerName, host)})
		return err
	}
	return c, nil
}
