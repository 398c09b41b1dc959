package linux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cagenut/cagenut/internal/agent"
	"github.com/cagenut/cagenut/internal/bootproto"
)

// Erase makes disks read as zeroes: a drive's own format first, where NVMe has it, then discard, then
// zeroes over everything, whatever the drive makes of the first two. What is read back goes past the
// page cache.
func (m *Machine) Erase(ctx context.Context, args bootproto.DiskArgs, say agent.Say) (bootproto.DiskResult, error) {
	disks, err := m.chosen(args.Disks)
	if err != nil {
		return bootproto.DiskResult{}, err
	}
	var out bootproto.DiskResult
	for _, d := range disks {
		how, err := m.erase(ctx, d, say)
		if err != nil {
			return out, fmt.Errorf("erase %s: %w", d.Path, err)
		}
		out.Disks = append(out.Disks, d.Disk)
		out.How = append(out.How, d.Path+": "+how)
	}
	return out, nil
}

func (m *Machine) erase(ctx context.Context, d drive, say agent.Say) (string, error) {
	f, err := open(d.dev, os.O_RDWR)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var did []string
	if d.Bus == "NVMe" && f.block {
		say("the drive formats "+d.Path, -1)
		switch err := f.format(m.siblings(d.name)); {
		case err == nil:
			did = append(did, "NVMe format")
		case !errors.Is(err, errNoFormat):
			m.o.Log.Warn("NVMe format failed: erasing by writing", "disk", d.Path, "error", err)
		}
	}
	if err := f.discard(); err == nil {
		did = append(did, "discarded")
	} else if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		m.o.Log.Warn("discard failed: erasing by writing", "disk", d.Path, "error", err)
	}
	const step = 256 << 20
	for at := int64(0); at < f.size; at += step {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if err := f.zero(at, min(step, f.size-at)); err != nil {
			return "", fmt.Errorf("zeroes at byte %d: %w", at, err)
		}
		progress(say, "zeroes on "+d.Path, at+step, f.size)
	}
	if err := f.settle(); err != nil {
		return "", err
	}
	read, err := readsZero(ctx, d, f.size, say)
	if err != nil {
		return "", err
	}
	return strings.Join(append(did, "zeroes written", fmt.Sprintf("%d of %d bytes read back", read, f.size)), ", "), nil
}

// wholeUpTo is how large a disk may be to be read back from end to end. Of a larger one that is its
// first and last GiB, where everything that finds partitions, arrays and file systems looks, and a
// sample of every GiB between: reading terabytes takes hours.
const wholeUpTo = 8 << 30

// readsZero proves that a disk reads as zeroes, past the page cache.
func readsZero(ctx context.Context, d drive, size int64, say agent.Say) (int64, error) {
	f, err := open(d.dev, os.O_RDONLY|unix.O_DIRECT)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b, free, err := buffer()
	if err != nil {
		return 0, err
	}
	defer free()
	const gib = 1 << 30
	zero := make([]byte, chunk)
	read := int64(0)
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return read, err
		}
		n, err := readAt(f, b, at)
		if err != nil {
			return read, fmt.Errorf("read back at byte %d: %w", at, err)
		}
		if !bytes.Equal(b[:n], zero[:n]) {
			return read, fmt.Errorf("at byte %d it does not read as zeroes: the drive did not do what it said", at)
		}
		read += int64(n)
		at += int64(n)
		if size > wholeUpTo && at > gib && at < size-gib {
			at = min(at-int64(n)+gib, size-gib) / chunk * chunk
		}
		progress(say, "reads back "+d.Path, at, size)
	}
	return read, nil
}

// progress says how far something is.
func progress(say agent.Say, what string, at, size int64) {
	at = min(at, size)
	say(fmt.Sprintf("%s: %d of %d MB", what, at/1e6, size/1e6), int(at*100/size))
}
