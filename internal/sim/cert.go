package sim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// certificate gives the self-signed certificate that the BMC shows now. It is made when first
// needed and kept in the state folder. The caller holds the lock.
func (m *Machine) certificate() (*tls.Certificate, error) {
	if m.cert != nil && m.certGen == m.st.CertGen {
		return m.cert, nil
	}
	path := filepath.Join(m.box.opts.Dir, "certs", fmt.Sprintf("%s-%d.pem", m.spec.Name, m.st.CertGen))
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if raw, err = m.newCertificate(); err == nil {
			err = writeFile(path, raw)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", m.spec.Name, err)
	}
	cert, err := tls.X509KeyPair(raw, raw)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %s: %w", m.spec.Name, path, err)
	}
	m.cert, m.certGen = &cert, m.st.CertGen
	return m.cert, nil
}

// writeFile writes a whole file or none.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func (m *Machine) newCertificate() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	name := m.st.Manager.HostName
	start := m.box.now().Add(-time.Hour)
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{m.f.manufacturer}},
		NotBefore: start, NotAfter: start.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{name}, IPAddresses: []net.IP{m.spec.Addr.AsSlice()},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})...), nil
}

// renewCertificate makes the BMC show another certificate; its web server restarts for that.
func (m *Machine) renewCertificate(t time.Time, why string) {
	m.st.CertGen++
	m.epoch++
	m.effect(t, EffectCertificate, why)
}

// fingerprint is the SHA-256 of a certificate as openssl prints it.
func fingerprint(c *tls.Certificate) string {
	sum := sha256.Sum256(c.Certificate[0])
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// describeCertificate fills a Certificate resource.
func (m *Machine) describeCertificate(r obj) {
	cert, err := m.certificate()
	if err != nil {
		m.box.opts.Logger.Error("box cannot make a certificate", "error", err)
		return
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		m.box.opts.Logger.Error("box cannot read its certificate", "error", err)
		return
	}
	name := func(n pkix.Name) obj {
		return obj{"CommonName": n.CommonName, "Organization": strings.Join(n.Organization, ", ")}
	}
	r["CertificateType"] = "PEM"
	r["CertificateString"] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}))
	r["Subject"], r["Issuer"] = name(leaf.Subject), name(leaf.Issuer)
	r["SerialNumber"] = strings.ReplaceAll(fmt.Sprintf("% X", leaf.SerialNumber.Bytes()), " ", ":")
	r["ValidNotBefore"], r["ValidNotAfter"] = leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339)
	r["KeyUsage"] = []string{"DigitalSignature", "ServerAuthentication"}
	r["Fingerprint"], r["FingerprintHashAlgorithm"] = fingerprint(cert), "TPM_ALG_SHA256"
}
