package cli

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
	"github.com/cagenut/cagenut/bmc/ipmi"
)

// checkIPMI validates the flags of a reading over IPMI and gives the BMC's address as a URL.
func (f *bmcRead) checkIPMI() (*url.URL, error) {
	for flag, set := range map[string]bool{
		"--fingerprint": f.fingerprint != "", "--ca-file": f.caFile != "", "--old-ciphers": f.oldCiphers, "--system": f.system != "",
	} {
		if set {
			return nil, usage("%s is about Redfish; leave it out with --protocol ipmi", flag)
		}
	}
	address := strings.TrimSuffix(strings.TrimPrefix(f.url, "ipmi://"), "/")
	_, hostPort, err := broker.SplitAddress(address, "623")
	switch {
	case err != nil:
		return nil, usage("--url %q: give host[:port] with --protocol ipmi", f.url)
	case f.user == "":
		return nil, usage("--user is missing: IPMI has no service without login")
	case f.cipherSuite < 0 || f.cipherSuite > 255:
		return nil, usage("--cipher-suite %d is none; give 3 or 17, or leave it out", f.cipherSuite)
	}
	return &url.URL{Scheme: "ipmi", Host: hostPort}, nil
}

// weakSuite is what nearly all BMCs have, strongSuite what newer ones have too (IPMI 2.0 table 22-20).
const (
	strongSuite = 17
	weakSuite   = ipmi.DefaultCipherSuite
)

// readIPMI logs in and reads. Where no cipher suite is named, the stronger one is tried first: a BMC that
// lacks it says so, or is silent for a moment. Asking which it has would cost 10 to 25 s on some.
func (f *bmcRead) readIPMI(ctx context.Context, target *url.URL, password string) (*bmc.Inventory, error) {
	cfg := ipmi.Config{
		Endpoint:    bmc.Endpoint{Protocol: bmc.IPMI, Address: target.Host},
		Credentials: bmc.Credentials{User: f.user, Password: password},
		Explicit:    true,
		CipherSuite: f.cipherSuite,
	}
	var c *ipmi.Controller
	var err error
	if cfg.CipherSuite == 0 {
		first := cfg
		first.CipherSuite, first.Attempts, first.Timeout = strongSuite, 2, time.Second
		c, err = ipmi.Open(ctx, first)
		cfg.CipherSuite = weakSuite
	}
	if c == nil && (err == nil || errors.Is(err, bmc.ErrUnsupported) || errors.Is(err, bmc.ErrUnreachable)) {
		c, err = ipmi.Open(ctx, cfg)
	}
	if err != nil {
		return nil, err
	}
	inv, err := c.Read(ctx, bmc.Scope(f.scope))
	if closeErr := c.Close(context.WithoutCancel(ctx)); closeErr != nil && err == nil {
		inv.Unread = append(inv.Unread, bmc.Unread{URI: "session", Reason: "rejected", Detail: "log out: " + closeErr.Error()})
		inv.Complete = false
	}
	return inv, err
}
