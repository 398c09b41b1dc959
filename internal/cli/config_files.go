package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/postgres"
	"github.com/cagenut/cagenut/internal/secret"
)

// fileChecks open every file that a configuration names, each as its user does. What is not named is
// not checked.
func fileChecks(cfg *config.Config) []config.Check {
	var out []config.Check
	add := func(key, file string, read func() (string, error)) {
		if file != "" {
			out = append(out, config.Check{Name: key, Target: file, Run: func(context.Context) (string, error) { return read() }})
		}
	}
	secretFile := func(key, file string) {
		add(key, file, func() (string, error) {
			_, err := config.ReadSecretFile(key, file)
			return "can be read", err
		})
	}
	caFile := func(key, file string) { add(key, file, func() (string, error) { return readCA(file) }) }
	pair := func(key, cert, keyFile string) {
		add(key, cert, func() (string, error) { return readPair(cert, keyFile) })
	}
	secretFile("database.url_file", cfg.Database.URLFile)
	add("temporal.codec_key_file", cfg.Temporal.CodecKeyFile, func() (string, error) {
		_, err := config.ReadKeyFile("temporal.codec_key_file", cfg.Temporal.CodecKeyFile, 32)
		return "a key of 32 bytes", err
	})
	caFile("temporal.tls.ca_file", cfg.Temporal.TLS.CAFile)
	pair("temporal.tls.cert_file", cfg.Temporal.TLS.CertFile, cfg.Temporal.TLS.KeyFile)
	secretFile("netbox.token_file", cfg.NetBox.TokenFile)
	caFile("netbox.ca_file", cfg.NetBox.CAFile)
	secretFile("netbox.webhook_key_file", cfg.NetBox.WebhookKeyFile)
	for _, slug := range cfg.SiteNames() {
		site, key := cfg.Sites[slug], "sites."+slug
		caFile(key+".bmc_ca_file", site.BMCCAFile)
		caFile(key+".boot.ca_file", site.Boot.CAFile)
		secretFile(key+".salt.password_file", site.Salt.PasswordFile)
		caFile(key+".salt.ca_file", site.Salt.CAFile)
		secretFile(key+".ansible.key_file", site.Ansible.KeyFile)
	}
	add("secrets.key_file", cfg.Secrets.KeyFile, func() (string, error) {
		ring, err := secret.ReadRing(cfg.Secrets.KeyFile)
		if err != nil {
			return "", err
		}
		return ring.String(), nil
	})
	pair("api.tls.cert_file", cfg.API.TLS.CertFile, cfg.API.TLS.KeyFile)
	secretFile("worker.token_file", cfg.Worker.TokenFile)
	caFile("worker.ca_file", cfg.Worker.CAFile)
	add("audit.key_file", cfg.Audit.KeyFile, func() (string, error) {
		k, err := postgres.NewAuditKeeper(cfg.Audit.KeyFile, cfg.Audit.HeadFile)
		if err != nil {
			return "", err
		}
		heads, err := k.Heads()
		if err != nil {
			return "", err
		}
		if len(heads) == 0 {
			says, err := writable(filepath.Dir(cfg.Audit.HeadFile))
			return "no head is signed yet; its folder " + says, err
		}
		h := heads[len(heads)-1]
		return fmt.Sprintf("the newest signed head is row %d of %s", h.Seq, stamp(h.At)), nil
	})
	return out
}

// readCA reads a PEM file of certificates as the clients do.
func readCA(file string) (string, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return "", errors.New("no PEM certificate is in it")
	}
	return "holds a CA", nil
}

// readPair reads a certificate with its key, and says until when it is good.
func readPair(cert, key string) (string, error) {
	p, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return "", err
	}
	if now := time.Now(); now.After(p.Leaf.NotAfter) {
		return "", fmt.Errorf("the certificate expired on %s", stamp(p.Leaf.NotAfter))
	}
	return "its key fits; good until " + stamp(p.Leaf.NotAfter), nil
}

// writable tells whether a folder can be written to, or made where it is not there. It makes no folder.
func writable(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(abs)
	if errors.Is(err, fs.ErrNotExist) {
		above := filepath.Dir(abs)
		for ; above != filepath.Dir(above); above = filepath.Dir(above) {
			if _, err := os.Stat(above); !errors.Is(err, fs.ErrNotExist) {
				break
			}
		}
		const writeAndEnter = 2 | 1
		if err := syscall.Access(above, writeAndEnter); err != nil {
			return "", fmt.Errorf("%s is not there, and cannot be made in %s: %w", abs, above, err)
		}
		return "is not there yet, and can be made: " + abs, nil
	}
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s is no folder", abs)
	}
	f, err := os.CreateTemp(abs, ".check-*")
	if err != nil {
		return "", err
	}
	return "can be written: " + abs, errors.Join(f.Close(), os.Remove(f.Name()))
}
