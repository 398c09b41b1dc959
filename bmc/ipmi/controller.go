// Package ipmi drives a management controller over IPMI 2.0 (RMCP+). It is the driver of package bmc
// for machines without Redfish. What IPMI cannot do answers bmc.ErrUnsupported.
//
// Words
//
//   - FRU: field replaceable unit, a small record of part and serial numbers (IPMI Platform
//     Management FRU Information Storage Definition). The machine's identity is in the FRU of the BMC.
//   - SDR: sensor data record: which sensors there are. SEL: system event log.
//   - Cipher suite: how a session is authenticated and encrypted; 3 (RAKP-HMAC-SHA1, AES-CBC-128) is
//     what nearly all BMCs have, 17 (SHA256) what newer ones prefer.
//
// One session is open for as long as the Controller is. IPMI pairs questions with answers by a
// number of 6 bits over UDP, so one command is in flight at a time: a Controller is safe for
// concurrent use, and its calls take turns. Wrong passwords count in the same login budget as over
// Redfish (broker.Guard).
package ipmi

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
)

// DefaultCipherSuite is named to the BMC when Config does not name another: asking a BMC which it
// has costs 10 to 25 s on some.
const DefaultCipherSuite = 3

// maxPassword is IPMI 2.0's limit (22.30 Set User Password); 16 in the older form.
const (
	maxPassword   = 20
	shortPassword = 16
)

// Config says which BMC to talk to, and how.
type Config struct {
	Endpoint    bmc.Endpoint
	Credentials bmc.Credentials
	// Allow are the out-of-band prefixes; Explicit says that a person typed the endpoint. As in
	// broker.Config.
	Allow    []netip.Prefix
	Explicit bool
	// CipherSuite of IPMI table 22-20; 0 is DefaultCipherSuite.
	CipherSuite int
	// NoValidBit is a quirk: the BMC keeps the device of the boot flags and never shows their valid
	// bit (IPMI 2.0 table 28-14, parameter 5), so the device alone counts.
	NoValidBit bool
	// Guard is the BMC's login budget, shared with other Controllers; nil: one of its own.
	Guard *broker.Guard
	// Timeout of one attempt, 1 s by default, of which there are up to Attempts, 5 by default.
	Timeout  time.Duration
	Attempts int
	Clock    broker.Clock
}

// Controller is one BMC with an open session. It implements bmc.Controller.
type Controller struct {
	cfg  Config
	host string
	c    *client.Client
	conn net.Conn

	turn chan struct{} // full while a command is in flight
	once sync.Once
	err  error
}

var _ bmc.Controller = (*Controller)(nil)

// Open logs in. The errors are bmc's: ErrNotAllowed, ErrUnreachable, ErrBadCredentials, ErrBusy,
// ErrBreakerOpen.
func Open(ctx context.Context, cfg Config) (*Controller, error) {
	name, hostPort, err := broker.SplitAddress(cfg.Endpoint.Address, "623")
	if err != nil {
		return nil, err
	}
	_, portText, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, &bmc.Error{Kind: bmc.ErrNotAllowed, Op: "dial", Host: hostPort, Detail: "port " + portText + " is not a number"}
	}
	cfg.setDefaults()
	op := "log in as " + cfg.Credentials.User
	if len(cfg.Credentials.Password) > maxPassword {
		return nil, &bmc.Error{Kind: bmc.ErrBadCredentials, Op: op, Host: hostPort, Detail: "IPMI passwords have at most 20 characters"}
	}
	if err := cfg.Guard.AllowRequest(hostPort, op); err != nil {
		return nil, err
	}
	if err := cfg.Guard.AllowLogin(hostPort, op, cfg.Credentials); err != nil {
		cfg.Guard.Abandoned()
		return nil, err
	}
	c := &Controller{cfg: cfg, host: hostPort, turn: make(chan struct{}, 1)}
	dial := net.Dialer{Timeout: 5 * time.Second, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		return broker.CheckAddress(cfg.Allow, cfg.Explicit, hostPort, address)
	}}
	if c.conn, err = dial.DialContext(ctx, "udp", hostPort); err != nil {
		cfg.Guard.Abandoned()
		return nil, c.failure(ctx, op, err)
	}
	if c.c, err = client.NewClient(name, port, cfg.Credentials.User, cfg.Credentials.Password); err != nil {
		cfg.Guard.Abandoned()
		c.conn.Close()
		return nil, &bmc.Error{Kind: bmc.ErrBadCredentials, Op: op, Host: hostPort, Err: err}
	}
	c.c.WithUDPProxy(dialed{c.conn}).WithTimeout(cfg.Timeout).WithRetry(cfg.Attempts - 1).
		WithCipherSuiteID(types.CipherSuiteID(cfg.CipherSuite))
	if err := c.connect(ctx, op); err != nil {
		// Not through the client's Close, which would wait for a session that is not there.
		c.conn.Close()
		return nil, err
	}
	return c, nil
}

func (cfg *Config) setDefaults() {
	if cfg.CipherSuite == 0 {
		cfg.CipherSuite = DefaultCipherSuite
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = time.Second
	}
	if cfg.Attempts <= 0 {
		cfg.Attempts = 5
	}
	if cfg.Clock == nil {
		cfg.Clock = broker.SystemClock()
	}
	if cfg.Guard == nil {
		cfg.Guard = broker.NewGuard(broker.Limits{}, cfg.Clock)
	}
}

// dialed gives the client the connection that was dialled with our checks.
type dialed struct{ conn net.Conn }

func (d dialed) Dial(_, _ string) (net.Conn, error) { return d.conn, nil }

func (c *Controller) connect(ctx context.Context, op string) error {
	err := c.c.Connect(ctx)
	if err == nil {
		c.cfg.Guard.Answered()
		c.cfg.Guard.LoginOK(c.cfg.Credentials)
		return nil
	}
	e := c.failure(ctx, op, err)
	switch {
	case errors.Is(e.Kind, bmc.ErrBadCredentials):
		c.cfg.Guard.Answered()
		c.cfg.Guard.LoginRefused(c.cfg.Credentials)
	case errors.Is(e.Kind, bmc.ErrUnreachable):
		c.cfg.Guard.Failed(e.Kind.Error())
	default:
		c.cfg.Guard.Abandoned()
	}
	return e
}

// Close ends the session, within 5 s also when ctx has ended. A second Close does nothing.
func (c *Controller) Close(ctx context.Context) error {
	c.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		c.turn <- struct{}{} // no command may be in flight, and none comes after
		if err := c.c.Close(ctx); err != nil {
			c.err = c.failure(ctx, "close the session", err)
		}
		c.conn.Close()
	})
	return c.err
}

// do carries out one command, in turn.
func (c *Controller) do(ctx context.Context, op string, command func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return &bmc.Error{Kind: bmc.ErrIncomplete, Op: op, Host: c.host, Err: err}
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return &bmc.Error{Kind: bmc.ErrIncomplete, Op: op, Host: c.host, Err: ctx.Err()}
	}
	err := command(ctx)
	if err == nil {
		return nil
	}
	return c.failure(ctx, op, err)
}

// failure names an error. go-ipmi tells a refused login by words only: Connect loses the chain of
// errors of the cipher suites that it tried.
func (c *Controller) failure(ctx context.Context, op string, err error) *bmc.Error {
	e := &bmc.Error{Kind: bmc.ErrUnreachable, Op: op, Host: c.host, Err: err}
	var known *bmc.Error
	if errors.As(err, &known) {
		e.Kind, e.Detail, e.Err = known.Kind, known.Detail, known.Err
		return e
	}
	if r, ok := types.IsResponseError(err); ok {
		e.Kind, e.Status = kindOf(r.CompletionCode()), int(r.CompletionCode())
		return e
	}
	text := err.Error()
	switch {
	case ctx.Err() != nil:
		e.Kind, e.Err = bmc.ErrIncomplete, ctx.Err()
	case strings.Contains(text, client.ErrRAKPAuthentication.Error()), says(text, types.RmcpStatusCodeUnauthorizedName),
		says(text, types.RmcpStatusCodeInvalidIntegrityCheckValue), says(text, types.RmcpStatusCodeUnauthorizedRoleOfPriLevel):
		e.Kind = bmc.ErrBadCredentials
	case says(text, types.RmcpStatusCodeNoResToCreateSess), says(text, types.RmcpStatusCodeNoResToCreateSessAtRole):
		e.Kind = bmc.ErrBusy
	case says(text, types.RmcpStatusCodeNoCipherSuiteMatch), says(text, types.RmcpStatusCodeInvalidAuthAlg),
		says(text, types.RmcpStatusCodeInvalidIntegrityAlg), says(text, types.RmcpStatusCodeInvalidConfidentAlg):
		e.Kind = bmc.ErrUnsupported
		e.Detail = "cipher suite " + strconv.Itoa(c.cfg.CipherSuite) + "; name another"
	}
	return e
}

func says(text string, code types.RmcpStatusCode) bool {
	return strings.Contains(text, types.NewRmcpStatusError(code).Error())
}

// kindOf sorts completion codes (IPMI 2.0 table 5-2).
func kindOf(code types.CompletionCode) error {
	switch code {
	case types.CodeInvalidCommand, types.CodeInvalidCommandForLUN, types.CodeNotSupported, types.CodeSubFnDisabled, types.CodeParameterNotSupported:
		return bmc.ErrUnsupported
	case types.CodeNodeBusy, types.CodeOutOfSpace, types.CodeCannotProvideResponse, types.CodeCannotProvideResponseSDRRInUpdate,
		types.CodeCannotProvideResponseFirmwareUpdate, types.CodeCannotProvideResponseBMCInitialize:
		return bmc.ErrBusy
	case types.CodeUnspecifiedError, types.CodeProcessTimeout:
		return bmc.ErrServer
	}
	return bmc.ErrRejected
}
