package activities

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/profile"
)

const (
	probeTimeout = 5 * time.Second
	probeBody    = 64 << 10 // bytes of a page that are looked at
)

func (a *Site) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if a.Dial != nil {
		return a.Dial(ctx, network, address)
	}
	return (&net.Dialer{Timeout: probeTimeout}).DialContext(ctx, network, address)
}

// tryTCP connects to a port of the machine.
func (a *Site) tryTCP(ctx context.Context, address netip.Addr, port int) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := a.dial(ctx, "tcp", net.JoinHostPort(address.String(), strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return conn.Close()
}

func statusOf(k profile.HTTPCheck) int { return cmp.Or(k.Status, http.StatusOK) }

// tryHTTP fetches a page of the machine. Whatever the URL's host is, the machine's own address is
// dialled, and no redirect leads elsewhere. A certificate must be one that the worker's system trusts.
func (a *Site) tryHTTP(ctx context.Context, network netconf.Network, k profile.HTTPCheck) error {
	address := network.Address()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.For(network.FQDN(), address), nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, kind, at string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(at)
			if err != nil {
				return nil, err
			}
			return a.dial(ctx, kind, net.JoinHostPort(address.String(), port))
		},
		DisableKeepAlives: true,
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != statusOf(k) {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	if k.Contains == "" {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, probeBody))
	if err == nil && !bytes.Contains(body, []byte(k.Contains)) {
		err = errors.New("the page does not have it")
	}
	return err
}
