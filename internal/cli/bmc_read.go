package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
	"github.com/cagenut/cagenut/bmc/quirks"
	"github.com/cagenut/cagenut/bmc/redfish/reader"
)

// passwordVariable holds the password where there is no file. A flag would show it in ps.
const passwordVariable = "CAGENUT_BMC_PASSWORD"

// bmcRead are the flags of `cagenut bmc read`.
type bmcRead struct {
	url, user, passwordFile, fingerprint, caFile string
	protocol, scope, system, output              string
	inFlight, cipherSuite                        int
	timeout                                      time.Duration
	strict, oldCiphers                           bool
}

func newBMCReadCommand(s Streams) *cobra.Command {
	var f bmcRead
	c := &cobra.Command{
		Use:   "read --url https://host[:port]",
		Short: "Read everything that a BMC knows about its machine",
		Long: `Reads a Redfish BMC by following its links and prints one inventory, the same form for every vendor.
With --protocol ipmi it reads the FRUs, sensors, users and event log of a BMC without Redfish.
It works without a control plane: --url is the permission to talk to that one host and no other.

What could not be read stands in "unread" with its reason and is warned of; --strict makes it a failure.
The certificate is verified by its fingerprint or by a CA. Give neither to be shown the fingerprint.`,
		Example: `  cagenut bmc read --url https://10.0.0.17 --user root --password-file pw --fingerprint 4F:8A:...
  cagenut bmc read --url https://bmc17.oob --user root --password-file - --ca-file oob-ca.pem -o json < pw
  CAGENUT_BMC_PASSWORD=... cagenut bmc read --url https://10.0.0.17 --user root --fingerprint 4f8a... --scope identity
  cagenut bmc read --protocol ipmi --url 10.0.0.18 --user ADMIN --password-file pw`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f.output, _ = c.Flags().GetString("output")
			if f.output == "" {
				f.output = "table"
			}
			return f.run(c.Context(), s, c)
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.protocol, "protocol", string(bmc.Redfish), "redfish or ipmi")
	fl.StringVar(&f.url, "url", "", "the BMC, as https://host[:port]; http:// only for a loopback address; host[:port] for ipmi")
	fl.StringVar(&f.user, "user", "", "account to log in with; left out for a service without login")
	fl.StringVar(&f.passwordFile, "password-file", "", "file with the password, - for standard input (or set "+passwordVariable+")")
	fl.StringVar(&f.fingerprint, "fingerprint", "", "SHA-256 of the BMC's certificate; colons and case do not matter")
	fl.StringVar(&f.caFile, "ca-file", "", "PEM file of the CA that signed the BMC's certificate")
	fl.StringVar(&f.scope, "scope", string(bmc.ScopeComplete), "how much to read: identity, hardware or complete")
	fl.StringVar(&f.system, "system", "", "Id of the system to identify, on a BMC that serves several")
	fl.IntVar(&f.inFlight, "in-flight", 4, "most requests to have open at once, 1 to 16")
	fl.DurationVar(&f.timeout, "timeout", 10*time.Minute, "time for the whole reading")
	fl.IntVar(&f.cipherSuite, "cipher-suite", 0, "of IPMI: 3 or 17; without it 17, and 3 where the BMC lacks that")
	fl.BoolVar(&f.strict, "strict", false, "exit with 1 when anything could not be read")
	fl.BoolVar(&f.oldCiphers, "old-ciphers", false, "also offer the RSA key exchange that old BMCs need (iLO 4, iDRAC 7 and 8)")
	return c
}

func usage(format string, args ...any) error {
	return &ExitError{Code: ExitUsage, Err: fmt.Errorf(format, args...)}
}

func (f *bmcRead) run(ctx context.Context, s Streams, c *cobra.Command) error {
	target, err := f.check()
	if err != nil {
		return err
	}
	password, err := f.password(s.In)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	opts := reader.Options{URL: target.String(), Scope: bmc.Scope(f.scope), InFlight: f.inFlight, System: f.system}
	inv, err := f.read(ctx, target, password, opts)
	if err != nil {
		if inv == nil || len(inv.Unread) == 0 {
			return readFailure(err)
		}
		// Nothing useful was read, but why is worth printing where a program may look for it.
		if f.output != "table" {
			if printErr := printInventory(s.Out, f.output, inv); printErr != nil {
				return printErr
			}
		}
		return readFailure(err)
	}
	if f.system != "" && !hasSystem(inv, f.system) {
		return usage("--system %q: the BMC serves %s", f.system, systemIDs(inv))
	}
	if err := printInventory(s.Out, f.output, inv); err != nil {
		return err
	}
	if inv.Complete {
		return nil
	}
	warning := fmt.Errorf("incomplete: %s could not be read (%s)", count(len(inv.Unread), "resource"), reasons(inv.Unread))
	if f.strict {
		return &ExitError{Code: ExitFailure, Err: warning}
	}
	fmt.Fprintln(s.Err, "cagenut: warning:", warning)
	return nil
}

// check validates the flags and gives the service's URL without a path; its scheme is ipmi for IPMI.
func (f *bmcRead) check() (*url.URL, error) {
	if f.url == "" {
		return nil, usage("--url is missing; give it as https://host[:port]")
	}
	if err := f.checkFormat(); err != nil {
		return nil, err
	}
	switch bmc.Protocol(f.protocol) {
	case bmc.Redfish:
	case bmc.IPMI:
		return f.checkIPMI()
	default:
		return nil, usage("--protocol %q is neither redfish nor ipmi", f.protocol)
	}
	u, err := url.Parse(f.url)
	switch {
	case err != nil:
		return nil, usage("--url is not a URL; give it as https://host[:port]") // err would repeat a password in it
	case u.User != nil:
		return nil, usage("--url holds a user name or password; use --user and --password-file")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, usage("--url %q: the scheme must be https", f.url)
	case u.Hostname() == "":
		return nil, usage("--url %q: no host in it; give it as https://host[:port]", f.url)
	case u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" && strings.Trim(u.Path, "/") != "redfish/v1":
		return nil, usage("--url %q: leave out what follows the host; the reading begins at /redfish/v1/", f.url)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, usage("--url %q: http would send the password in clear; use https (http is for loopback addresses only)", f.url)
	case u.Scheme == "http" && (f.fingerprint != "" || f.caFile != ""):
		return nil, usage("--fingerprint and --ca-file need an https URL")
	case f.fingerprint != "" && f.caFile != "":
		return nil, usage("--fingerprint and --ca-file exclude each other; give one")
	case f.cipherSuite != 0:
		return nil, usage("--cipher-suite is about IPMI; leave it out, or add --protocol ipmi")
	}
	if f.fingerprint != "" {
		if _, err := broker.ParseFingerprint(f.fingerprint); err != nil {
			return nil, usage("--fingerprint: %w", err)
		}
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// checkFormat validates the flags that do not depend on the protocol.
func (f *bmcRead) checkFormat() error {
	switch {
	case f.inFlight < 1 || f.inFlight > 16:
		return usage("--in-flight %d is not between 1 and 16", f.inFlight)
	case f.timeout <= 0:
		return usage("--timeout %v is not more than 0", f.timeout)
	}
	switch bmc.Scope(f.scope) {
	case bmc.ScopeIdentity, bmc.ScopeHardware, bmc.ScopeComplete:
	default:
		return usage("--scope %q is none of identity, hardware, complete", f.scope)
	}
	switch f.output {
	case "table", "json", "yaml":
	default:
		return usage("--output %q is none of table, json, yaml", f.output)
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// maxPassword bounds what is read from a password file: a wrong file is not sent to a BMC.
const maxPassword = 1024

// password gives the password without the line's end. The empty password of an account is given by
// an empty file.
func (f *bmcRead) password(in io.Reader) (string, error) {
	if f.user == "" {
		if f.passwordFile != "" {
			return "", usage("--password-file without --user; name the account")
		}
		return "", nil
	}
	var raw []byte
	switch f.passwordFile {
	case "":
		p, ok := os.LookupEnv(passwordVariable)
		if !ok {
			return "", usage("no password for --user %s: give --password-file or set %s", f.user, passwordVariable)
		}
		return p, nil
	case "-":
		var err error
		if raw, err = io.ReadAll(io.LimitReader(in, maxPassword+1)); err != nil {
			return "", usage("--password-file -: %w", err)
		}
	default:
		file, err := os.Open(f.passwordFile)
		if err != nil {
			return "", usage("--password-file: %w", err)
		}
		defer file.Close()
		if raw, err = io.ReadAll(io.LimitReader(file, maxPassword+1)); err != nil {
			return "", usage("--password-file: %w", err)
		}
	}
	p := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	if len(p) > maxPassword || strings.ContainsAny(p, "\n\x00") {
		return "", usage("--password-file %s: want one line of at most %d bytes", f.passwordFile, maxPassword)
	}
	return p, nil
}

// read connects and reads. An inventory may come with an error: then it says in unread why.
func (f *bmcRead) read(ctx context.Context, target *url.URL, password string, o reader.Options) (*bmc.Inventory, error) {
	switch target.Scheme {
	case "ipmi":
		return f.readIPMI(ctx, target, password)
	case "http":
		return reader.Read(ctx, newPlainGetter(target, f.user, password), o)
	}
	cfg := broker.Config{
		Endpoint:    bmc.Endpoint{Protocol: bmc.Redfish, Address: target.Host, Pin: f.fingerprint},
		Credentials: bmc.Credentials{User: f.user, Password: password},
		Explicit:    true,
		Limits:      broker.Limits{InFlight: f.inFlight, Request: 60 * time.Second},
	}
	if f.oldCiphers {
		cfg.TLS.CipherSuites = quirks.OldCipherSuites()
	}
	switch {
	case f.caFile != "":
		pem, err := os.ReadFile(f.caFile)
		if err != nil {
			return nil, usage("--ca-file: %w", err)
		}
		cfg.Endpoint.CA = string(pem)
	case f.fingerprint == "":
		seen, err := shownFingerprint(ctx, target, cfg.TLS.CipherSuites)
		if err != nil {
			return nil, err
		}
		return nil, &ExitError{Code: ExitRefused, Err: fmt.Errorf("the certificate of %s is not known yet, nothing was sent to it. It showed:\n"+
			"  %s\nCompare that with the BMC's own page or console, then add\n  --fingerprint %s", target.Host, seen, seen)}
	}
	conn, err := broker.Dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	inv, err := reader.Read(ctx, conn, o)
	if inv != nil {
		inv.Identity.Fingerprint = conn.Fingerprint()
	}
	// The logout must also happen when ctx is over; the broker sees to its time.
	if closeErr := conn.Close(context.WithoutCancel(ctx)); closeErr != nil && err == nil && inv != nil {
		inv.Unread = append(inv.Unread, bmc.Unread{URI: "/redfish/v1/SessionService/Sessions", Reason: reader.ReasonRejected, Detail: "log out: " + closeErr.Error()})
	}
	return inv, err
}

// readFailure gives an error its exit code and, where it helps, the remedy.
func readFailure(err error) error {
	var exit *ExitError
	switch {
	case errors.As(err, &exit):
		return err
	case errors.Is(err, bmc.ErrPinChanged):
		return &ExitError{Code: ExitRefused, Err: fmt.Errorf("%w\nIf the BMC was replaced or reset on purpose, pass its new --fingerprint; otherwise treat this as an intrusion", err)}
	case errors.Is(err, bmc.ErrBadCredentials):
		return &ExitError{Code: ExitRefused, Err: fmt.Errorf("%w\nCheck --user and the password; some BMCs lock an account after a few wrong ones", err)}
	case errors.Is(err, bmc.ErrCertificate), errors.Is(err, bmc.ErrNotAllowed), errors.Is(err, bmc.ErrPasswordChange):
		return &ExitError{Code: ExitRefused, Err: err}
	}
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "remote error" && strings.Contains(err.Error(), "handshake failure") {
		return fmt.Errorf("%w\nAn old BMC may need --old-ciphers", err)
	}
	return err
}

func hasSystem(inv *bmc.Inventory, id string) bool {
	for _, s := range inv.Systems {
		if s.ID == id {
			return true
		}
	}
	return false
}

func systemIDs(inv *bmc.Inventory) string {
	var ids []string
	for _, s := range inv.Systems {
		ids = append(ids, s.ID)
	}
	if len(ids) == 0 {
		return "no system"
	}
	return strings.Join(ids, ", ")
}
