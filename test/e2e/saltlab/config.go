//go:build e2e

package saltlab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// masterConfig is the master's and salt-api's: the folder, the two ports, the shared secret, the user,
// and salt-api's port. With root_dir set, a path such as /s means one below it; of the SLS files that
// is not true.
const masterConfig = `root_dir: %[1]s/m
user: root
interface: 127.0.0.1
publish_port: %[2]s
ret_port: %[3]s
sock_dir: /s
pki_dir: /pki
cachedir: /cache
log_file: /master.log
key_logfile: /key.log
pidfile: /master.pid
worker_threads: 3
timeout: 5
gather_job_timeout: 5
fileserver_backend: [roots]
file_roots: {base: [%[1]s/srv/salt]}
pillar_roots: {base: [%[1]s/srv/pillar]}
netapi_enable_clients: [local, local_async, runner, wheel]
sharedsecret: %[4]s
external_auth:
  sharedsecret:
    %[5]s:
      - state.apply
      - test.ping
      - saltutil.find_job
      - saltutil.term_job
      - saltutil.kill_job
      - service.status
      - mount.active
      - disk.usage
      - network.interfaces
      - network.ping
      - status.time
      - '*':
        - file.read$:
            args: ['(/etc/os-release|/proc/sys/kernel/osrelease)$']
      - '@runner':
        - jobs.list_job
      - '@wheel':
        - key.print
        - key.accept_dict
        - key.delete
rest_cherrypy:
  host: 127.0.0.1
  port: %[6]s
  ssl_crt: %[1]s/etc/api.crt
  ssl_key: %[1]s/etc/api.key
  thread_pool: 20
`

// minionConfig is a minion's: its ID, its folder, the master's two ports.
const minionConfig = `id: %[1]s
root_dir: %[2]s
user: root
master: 127.0.0.1
master_port: %[3]s
publish_port: %[4]s
sock_dir: /s
pki_dir: /pki
cachedir: /cache
log_file: /minion.log
acceptance_wait_time: 1
acceptance_wait_time_max: 2
random_reauth_delay: 1
recon_default: 200
recon_max: 2000
recon_randomize: true
retry_dns: 0
auth_timeout: 10
startup_states: ''
enable_fqdns_grains: false
`

// certificate makes salt-api's certificate.
func (l *Lab) certificate(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "salt-api"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	l.Roots = x509.NewCertPool()
	l.Roots.AddCert(cert)
	l.File(t, "etc/api.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	l.File(t, "etc/api.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})))
}
