package devstack

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/internal/sim/saltsim"
)

// config is the configuration file: what a real one looks like, with everything on this machine. What
// machines boot is named and never fetched, since the box's hosts run no kernels.
func (s *Stack) config() string {
	var oob, gateways []string
	for _, rack := range s.Racks() {
		for _, p := range rack.Prefixes {
			switch p.Role {
			case "oob":
				oob = append(oob, p.Prefix.String())
			case "primary":
				gateways = append(gateways, Gateway(p.Prefix).String())
			}
		}
	}
	gateways = slices.Compact(gateways) // racks may share a prefix
	site := s.rack.Site.Slug
	return fmt.Sprintf(`# Written by cagenut-dev at every start.
database: {url_file: database-url}
temporal: {host: "127.0.0.1:%d", namespace: cagenut}
netbox: {url: "http://%s", token_file: netbox-token, user: cagenut}
sites:
  %s:
    oob_prefixes: [%s]
    bmc_port: %d
    serve: "%s"
    serve_url: "http://%s"
    window: 12
    domain: %s.example.net
    gateways: [%s]
    dns: [192.0.2.53]
    search: [%s.example.net]
    ntp: [192.0.2.10, 192.0.2.11]
    boot:
      http_url: "http://%s/ipxe.efi"
      media_url: "http://%s/ipxe.iso"
      agent: {kernel: "http://boot.example/agent/vmlinuz", initrd: "http://boot.example/agent/initrd"}
      installers:
        - {distro: debian, kernel: "http://boot.example/debian/linux", initrd: "http://boot.example/debian/initrd.gz"}
        - {distro: ubuntu, kernel: "http://boot.example/ubuntu/vmlinuz", initrd: "http://boot.example/ubuntu/initrd",
           media: "http://boot.example/ubuntu/live-server.iso"}
        - {distro: rhel-family, kernel: "http://boot.example/rhel/vmlinuz", initrd: "http://boot.example/rhel/initrd.img"}
    sources:
      debian: {mirror: "http://mirror.example/debian", security: "http://mirror.example/debian-security"}
      ubuntu: {mirror: "http://mirror.example/ubuntu"}
      rhel-family: {mirror: "http://mirror.example/rhel/9/BaseOS", repos: [{name: AppStream, url: "http://mirror.example/rhel/9/AppStream"}]}
    images:
      debian-12-compute: {url: "http://boot.example/images/debian-12-compute.raw", sha256: "%s"}
    salt:
      url: "http://%s"
      user: %s
      password_file: salt-password
      masters: [salt.%s.example.net]
      master_finger: "%s"
ssh_keys: {ops: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0Xq2Hq1b3fJc9nLr3q0mPp8bRz1s7d1Zb3Xy6lT4aK ops@example.net"}
profiles: profiles
secrets: {driver: postgres, key_file: secrets.key}
state_dir: ../state
api: {listen: "%s"}
worker: {url: "http://%s", token_file: worker-token}
firmware: {dir: ../firmware}
audit: {key_file: audit.key, head_file: ../audit-head.json}
log: {level: info, format: json}
`, s.set.TemporalPorts[0], s.set.NetBox, site, strings.Join(oob, ", "), s.set.BMCPort, s.set.Serve, s.set.Serve, site,
		strings.Join(gateways, ", "), site, s.set.Serve, s.set.Serve, strings.Repeat("5a", 32), s.set.Salt, saltUser, site, saltsim.Fingerprint(saltsim.Key("master")),
		s.set.API, s.set.API)
}

// Gateway is the gateway of an IPv4 prefix: the last address that a host may have, where machines take the first ones.
func Gateway(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 31; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(b)
}
