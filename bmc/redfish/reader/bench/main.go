// Command bench measures what reading a BMC costs, beside bmclib's Inventory in the same run, and
// fails when the bounds that this project promises are not met.
//
// It starts itself once more as the BMC: a process of its own that serves a recorded or synthetic
// tree over TLS, so that the client's CPU time is the client's alone.
package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bmc-toolbox/bmclib/v2"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
	"github.com/cagenut/cagenut/bmc/redfish/reader"
	"github.com/cagenut/cagenut/bmc/redfish/reader/readertest"
)

// sameFields are the sections that bmclib's Inventory reads.
const sameFields = reader.SectionProcessors | reader.SectionMemory | reader.SectionStorage | reader.SectionNetwork |
	reader.SectionPower | reader.SectionFirmware | reader.SectionBIOS

type options struct {
	tree    string
	runs    int
	serve   bool
	latency time.Duration
	atOnce  int
	expand  bool
	etags   bool
}

func main() {
	var o options
	flag.StringVar(&o.tree, "tree", "", ".tar.gz or folder of a recorded BMC; empty: a synthetic one")
	flag.IntVar(&o.runs, "runs", 1000, "readings for each CPU median")
	flag.BoolVar(&o.serve, "serve", false, "be the BMC (used by the program itself)")
	flag.DurationVar(&o.latency, "latency", 0, "with -serve: before each answer")
	flag.IntVar(&o.atOnce, "at-once", 0, "with -serve: answers at the same time")
	flag.BoolVar(&o.expand, "expand", false, "with -serve: understand $expand")
	flag.BoolVar(&o.etags, "etags", false, "with -serve: send ETags and answer 304")
	flag.Parse()
	run := measure
	if o.serve {
		run = serve
	}
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// serve is the BMC. It prints its address and fingerprint and ends with its standard input.
func serve(o options) error {
	tree, err := load(o.tree)
	if err != nil {
		return err
	}
	cert, err := selfSigned()
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	handler := readertest.NewService(readertest.Config{Tree: tree, Latency: o.latency, AtOnce: o.atOnce, Expand: o.expand, ETags: o.etags})
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return err
	}
	fmt.Println(l.Addr(), broker.Fingerprint(leaf))
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close()
	}()
	if err := server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func load(name string) (readertest.Tree, error) {
	if name == "" {
		return readertest.Synthetic(), nil
	}
	return readertest.Load(name)
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bmc"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// target is a running BMC process.
type target struct {
	address, pin string
	stop         func() error
}

func start(o options) (target, error) {
	self, err := os.Executable()
	if err != nil {
		return target{}, err
	}
	args := []string{"-serve", "-tree", o.tree, "-latency", o.latency.String(), "-at-once", fmt.Sprint(o.atOnce)}
	if o.expand {
		args = append(args, "-expand")
	}
	if o.etags {
		args = append(args, "-etags")
	}
	c := exec.CommandContext(context.Background(), self, args...)
	c.Stderr = os.Stderr
	stdin, err := c.StdinPipe()
	if err != nil {
		return target{}, err
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		return target{}, err
	}
	if err := c.Start(); err != nil {
		return target{}, err
	}
	stop := func() error { return errors.Join(stdin.Close(), c.Wait()) }
	line, err := bufio.NewReader(stdout).ReadString('\n')
	address, pin, ok := strings.Cut(strings.TrimSpace(line), " ")
	if err != nil || !ok {
		return target{}, errors.Join(fmt.Errorf("the BMC process said %q", line), err, stop())
	}
	return target{address: address, pin: pin, stop: stop}, nil
}

// ours reads once over a new connection, as a first reading does.
func (t target) ours(o reader.Options, inFlight int) (*bmc.Inventory, time.Duration, error) {
	ctx := context.Background()
	began := time.Now()
	conn, err := t.dial(ctx, inFlight)
	if err != nil {
		return nil, 0, err
	}
	o.URL, o.InFlight = "https://"+t.address, inFlight
	inv, err := reader.Read(ctx, conn, o)
	return inv, time.Since(began), errors.Join(err, conn.Close(ctx))
}

func (t target) dial(ctx context.Context, inFlight int) (*broker.Conn, error) {
	return broker.Dial(ctx, broker.Config{Endpoint: bmc.Endpoint{Protocol: bmc.Redfish, Address: t.address, Pin: t.pin},
		Credentials: bmc.Credentials{User: "root", Password: "calvin"}, Explicit: true, Limits: broker.Limits{InFlight: inFlight}})
}

// bmclib reads once as its own documentation does, but with the one provider that can: probing the
// others costs half a minute more.
func (t target) bmclib() (int, time.Duration, error) {
	host, port, err := net.SplitHostPort(t.address)
	if err != nil {
		return 0, 0, err
	}
	ctx := context.Background()
	began := time.Now()
	c := bmclib.NewClient(host, "root", "calvin", bmclib.WithRedfishPort(port))
	c.Registry.Drivers = c.Registry.For("gofish")
	if err := c.Open(ctx); err != nil {
		return 0, 0, fmt.Errorf("bmclib: %w", err)
	}
	d, err := c.Inventory(ctx)
	took := time.Since(began)
	if err != nil {
		return 0, 0, fmt.Errorf("bmclib: %w", err)
	}
	return len(d.Memory) + len(d.Drives) + len(d.CPUs) + len(d.PSUs) + len(d.NICs), took, c.Close(ctx)
}

func cpu() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
