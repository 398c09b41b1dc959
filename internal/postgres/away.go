package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// whereAndWhy says which address did not answer and the cause in a few words, e.g.
// " at 10.0.0.5:5432: connection refused". The driver's own text is not used: it holds the user, the
// database and every attempt. The password is in neither.
func whereAndWhy(err error, to *pgconn.Config) string {
	var failed *pgconn.ConnectError
	if errors.As(err, &failed) && failed.Config != nil {
		to = failed.Config
	}
	out := ""
	var op *net.OpError
	switch {
	case to != nil:
		out = " at " + addresses(to)
	case errors.As(err, &op) && op.Addr != nil && op.Addr.String() != "":
		out = " at " + op.Addr.String()
	}
	if why := cause(err); why != "" {
		out += ": " + why
	}
	return out
}

// refusedAt is the address of a PostgreSQL that answered a login with a refusal.
func refusedAt(err error) string {
	var failed *pgconn.ConnectError
	if !errors.As(err, &failed) || failed.Config == nil {
		return ""
	}
	return " at " + addresses(failed.Config)
}

// addresses lists the hosts with ports, or sockets, that are tried.
func addresses(c *pgconn.Config) string {
	var out []string
	add := func(host string, port uint16) {
		if _, address := pgconn.NetworkAddress(host, port); !slices.Contains(out, address) {
			out = append(out, address) // the same host is tried with and without TLS
		}
	}
	add(c.Host, c.Port)
	for _, f := range c.Fallbacks {
		add(f.Host, f.Port)
	}
	return strings.Join(out, ", ")
}

func cause(err error) string {
	var dns *net.DNSError
	var errno syscall.Errno
	var op *net.OpError
	var network net.Error
	switch {
	case errors.As(err, &dns):
		return "the name " + dns.Name + " is not found (" + dns.Err + ")"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &network) && network.Timeout():
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "the connection was closed"
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return ""
}
