package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cagenut/cagenut/internal/agent"
	"github.com/cagenut/cagenut/internal/agent/linux"
	"github.com/cagenut/cagenut/internal/bootproto"
)

// caFile is where the initramfs has the CAs that the boot service is known by, if it has any.
const caFile = "/etc/cagenut/ca.pem"

// first is the machine's first process: it never returns, for its end is the kernel's.
func first(log *slog.Logger) {
	for _, m := range []struct{ kind, at string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}} {
		if err := mount(m.kind, m.at); err != nil {
			log.Error("mount", "kind", m.kind, "error", err)
		}
	}
	loadModules(log)
	if _, err := os.Stat("/sys/firmware/efi"); err == nil {
		if err := mount("efivarfs", "/sys/firmware/efi/efivars"); err != nil {
			log.Warn("mount", "kind", "efivarfs", "error", err)
		}
	}
	if _, err := unix.Getrandom(make([]byte, 1), unix.GRND_NONBLOCK); errors.Is(err, unix.EAGAIN) {
		log.Warn("waiting for the kernel to have random numbers: this machine has no source of them (a virtual one needs virtio-rng)")
	}
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		log.Error("the kernel's command line cannot be read", "error", err)
	}
	s := arguments(string(line))
	ctx := context.Background()
	n := &network{log: log, mac: s.bootMAC}
	ports := n.up(ctx)
	var neighbours func(context.Context) map[string]bootproto.Neighbour
	if heard, err := linux.Listen(ctx, ports); err == nil {
		neighbours = heard.Heard
	} else {
		log.Warn("no neighbours are reported", "error", err)
	}
	setClock(ctx, log, s.url)
	end, err := serve(ctx, log, s, "", neighbours)
	var refused *agent.Refused
	switch {
	case err == nil && end == agent.Stop:
		log.Info("switching off")
		leave(log, unix.LINUX_REBOOT_CMD_POWER_OFF)
	case err == nil, errors.As(err, &refused) && refused.Ended():
		log.Info("restarting", "why", err)
		leave(log, unix.LINUX_REBOOT_CMD_RESTART)
	default:
		log.Error("this machine stands still until a person has looked", "error", err)
	}
	select {}
}

func mount(kind, at string) error {
	if err := os.MkdirAll(at, 0o755); err != nil { //nolint:gosec // nobody else is on this machine
		return err
	}
	err := unix.Mount(kind, at, kind, unix.MS_NOSUID|unix.MS_NOEXEC, "")
	if errors.Is(err, unix.EBUSY) { // it is there
		return nil
	}
	return err
}

func leave(log *slog.Logger, how int) {
	unix.Sync()
	if err := unix.Reboot(how); err != nil {
		log.Error("the kernel does not do it", "error", err)
	}
}

// arguments reads the kernel's command line. One that stands twice counts as it stands last.
func arguments(line string) settings {
	s := settings{caFile: caFile}
	for _, word := range strings.Fields(line) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "cagenut.url":
			s.url = value
		case "cagenut.ca":
			s.fingerprint = strings.TrimPrefix(value, "sha256:")
		case "BOOTIF": // 01-aa-bb-cc-dd-ee-ff: the kind of hardware, and the MAC
			if kind, mac, ok := strings.Cut(value, "-"); ok && kind == "01" {
				s.bootMAC = strings.ToLower(strings.ReplaceAll(mac, "-", ":"))
			}
		}
	}
	return s
}

// setClock takes the time of the boot service where the machine's own is far off: certificates are judged
// by it. The question carries no token, and whoever answers it is not trusted with anything else.
func setClock(ctx context.Context, log *slog.Logger, base string) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return // the agent says so
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, u.Scheme+"://"+u.Host+"/", nil)
	if err != nil {
		return
	}
	c := agent.NewHTTP(&tls.Config{InsecureSkipVerify: true}) //nolint:gosec // see above
	defer c.CloseIdleConnections()
	res, err := c.Do(req)
	if err != nil {
		log.Warn("the boot service does not tell the time", "error", err)
		return
	}
	_ = res.Body.Close()
	at, err := http.ParseTime(res.Header.Get("Date"))
	if off := time.Since(at).Abs(); err != nil || off < 5*time.Minute {
		return
	}
	t := unix.NsecToTimeval(at.UnixNano())
	if err := unix.Settimeofday(&t); err != nil {
		log.Warn("the clock cannot be set", "error", err)
		return
	}
	log.Info("the clock was far off and is set", "to", at)
}
