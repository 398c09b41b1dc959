// Command cagenut-agent is what runs in RAM on a machine: as its first process, out of an initramfs that
// `make agent` builds, it brings the machine up, and obeys the boot service that the kernel's command line
// names until it is told to restart or to switch off. Started by hand with --url it does the same on the
// system that it is started on, and ends where the machine would.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/cagenut/cagenut/internal/agent"
	"github.com/cagenut/cagenut/internal/agent/linux"
	"github.com/cagenut/cagenut/internal/bootproto"
	"github.com/cagenut/cagenut/internal/version"
)

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if os.Getpid() == 1 {
		first(log)
		return
	}
	at := flag.String("url", "", "the machine's one-time URL, http(s)://HOST/boot/TOKEN")
	ca := flag.String("ca", "", "a file of CAs in PEM that the boot service is known by")
	root := flag.String("root", "", "a folder in place of / for /sys, /proc and /dev: a machine made of files")
	flag.Parse()
	if *at == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "cagenut-agent: give --url; it erases and overwrites disks of THIS machine when it is told to")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	end, err := serve(ctx, log, settings{url: *at, caFile: *ca}, *root, nil)
	stop()
	if err != nil {
		log.Error("ended", "error", err)
		os.Exit(1)
	}
	log.Info("ended; the machine is left as it is", "asked", end)
}

// settings are what the kernel's command line says.
type settings struct {
	url         string
	caFile      string
	fingerprint string // of a certificate
	bootMAC     string // of the port that it booted from; empty: any
}

// serve runs the agent.
func serve(ctx context.Context, log *slog.Logger, s settings, root string, neighbours func(context.Context) map[string]bootproto.Neighbour) (agent.End, error) {
	var pem []byte
	if s.caFile != "" {
		var err error
		if pem, err = os.ReadFile(s.caFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	base, err := url.Parse(s.url)
	if err != nil {
		return "", errors.New("cagenut.url is not a URL") // it is a secret
	}
	trust, err := agent.Trust(pem, s.fingerprint, base.Hostname())
	if err != nil {
		return "", err
	}
	client := agent.NewHTTP(trust)
	a, err := agent.New(agent.Options{URL: s.url, HTTP: client, Log: log,
		Machine: linux.New(linux.Options{Root: root, HTTP: client, Log: log, Neighbours: neighbours})})
	if err != nil {
		return "", err
	}
	log.Info("cagenut-agent", "version", version.String())
	return a.Run(ctx)
}
