package linux

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cagenut/cagenut/internal/agent"
	"github.com/cagenut/cagenut/internal/bootproto"
	"github.com/cagenut/cagenut/internal/profile"
)

// burn is one burn-in, with what it found.
type burn struct {
	m     *Machine
	limit profile.Thresholds
	say   agent.Say
	done  time.Duration // of the tests before
	all   time.Duration

	mu     sync.Mutex
	errors []string
	seen   []string
}

func (b *burn) bad(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if text := fmt.Sprintf(format, args...); !slices.Contains(b.errors, text) && len(b.errors) < 100 {
		b.errors = append(b.errors, text)
	}
}

func (b *burn) saw(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen = append(b.seen, fmt.Sprintf(format, args...))
}

// BurnIn loads processors, memory and disks one after another, each for its minutes, and judges what
// the machine then shows. An error is found by a result that differs, by what a counter of the hardware
// gained, or by a threshold.
func (m *Machine) BurnIn(ctx context.Context, args bootproto.BurnInArgs, say agent.Say) (bootproto.BurnInResult, error) {
	out := bootproto.BurnInResult{Errors: []string{}}
	switch {
	case args.NetworkMinutes > 0:
		return out, errors.New("network_minutes: this agent has no partner to load the network with: leave it out of the profile")
	case args.CPUMinutes+args.MemoryMinutes+args.DiskMinutes <= 0:
		return out, errors.New("no minutes are given")
	}
	minutes := func(n int) time.Duration { return time.Duration(n) * m.o.Minute }
	b := &burn{m: m, limit: args.Thresholds, say: say, all: minutes(args.CPUMinutes + args.MemoryMinutes + args.DiskMinutes)}
	corrected, uncorrected := m.memoryErrors()
	for _, test := range []struct {
		name    string
		minutes int
		run     func(ctx context.Context) error
	}{
		{"processors", args.CPUMinutes, b.processors},
		{"memory", args.MemoryMinutes, b.memory},
		{"disks", args.DiskMinutes, func(ctx context.Context) error { return b.disks(ctx, args.DiskWrites) }},
	} {
		if test.minutes <= 0 {
			continue
		}
		if err := b.phase(ctx, test.name, minutes(test.minutes), test.run); err != nil {
			return out, err
		}
		out.Minutes += test.minutes
	}
	c, u := m.memoryErrors()
	if c -= corrected; c > b.limit.MaxCorrectable {
		b.bad("memory: %d errors were corrected, at most %d may be", c, b.limit.MaxCorrectable)
	}
	if u -= uncorrected; u > 0 {
		b.bad("memory: %d errors could not be corrected", u)
	}
	out.Errors, out.Seen = append(out.Errors, b.errors...), b.seen
	if len(out.Errors) > 0 {
		return out, errors.New(strings.Join(out.Errors, "; "))
	}
	return out, nil
}

// phase runs one test for a time, and watches temperatures meanwhile. The test ends with its context.
func (b *burn) phase(ctx context.Context, name string, d time.Duration, run func(context.Context) error) error {
	timed, stop := context.WithTimeout(ctx, d)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- run(timed) }()
	begun, tick := time.Now(), time.NewTicker(b.m.o.Minute/12)
	defer tick.Stop()
	hottest, drive := -1.0, -1.0
	for {
		hottest, drive = max(hottest, b.m.celsius("coretemp", "k10temp", "zenpower")), max(drive, b.m.celsius("nvme", "drivetemp"))
		select {
		case err := <-ended:
			b.done += d
			if hottest >= 0 {
				b.saw("%s: processors at most %.0f °C", name, hottest)
			}
			if most := b.limit.MaxCPUCelsius; most > 0 && hottest > most {
				b.bad("processors: %.0f °C, at most %.0f may be", hottest, most)
			}
			if most := b.limit.MaxDriveCelsius; most > 0 && drive > most {
				b.bad("drives: %.0f °C, at most %.0f may be", drive, most)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		case <-tick.C:
			b.say(fmt.Sprintf("%s: %s of %s", name, time.Since(begun).Round(time.Second), d), int((b.done+time.Since(begun))*100/b.all))
		}
	}
}

// processors has every core compute the same thing, whose answer is known, again and again.
func (b *burn) processors(ctx context.Context) error {
	known := compute()
	var rounds sync.WaitGroup
	n := runtime.GOMAXPROCS(0)
	counts := make([]int, n)
	for i := range n {
		rounds.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for ; ctx.Err() == nil; counts[i]++ {
				if compute() != known {
					b.bad("processors: a computation gave another result than before")
				}
			}
		})
	}
	rounds.Wait()
	total := 0
	for _, c := range counts {
		total += c
	}
	b.saw("processors: %d computations on %d threads", total, n)
	return nil
}

// compute takes some milliseconds of integer, vector and floating point work.
func compute() [32]byte {
	var block [64 << 10]byte
	sum, f := sha256.Sum256(block[:]), 1.0
	for i := range 16 {
		copy(block[i*32:], sum[:])
		sum = sha256.Sum256(block[:])
		for j := 1; j < 20_000; j++ {
			f = f*1.0000001 + float64(j)/3
			f /= 1.5
		}
		binary.LittleEndian.PutUint64(block[len(block)-8:], uint64(f*1e6))
	}
	return sum
}

// patterns are what memory must hold: each bit and its neighbour, and all of them.
var patterns = []uint64{0x5555555555555555, 0xaaaaaaaaaaaaaaaa, 0, ^uint64(0)}

// memory writes patterns over what is free and reads them again, a part of it on every thread. A system
// that runs in RAM is not itself tested; that part is small.
func (b *burn) memory(ctx context.Context) error {
	free := b.m.memory("MemAvailable")
	free -= max(free/10, 128<<20) // for the kernel and us
	n := runtime.GOMAXPROCS(0)
	each := int(free / int64(n) / (1 << 20) * (1 << 20))
	if each < 1<<20 {
		return fmt.Errorf("memory: %d MB are free, which is too little to test", free>>20)
	}
	var threads sync.WaitGroup
	var proved atomic.Int64
	for i := range n {
		raw, err := unix.Mmap(-1, 0, each, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			b.bad("memory: %d MB cannot be had: %v", each>>20, err)
			break
		}
		threads.Go(func() {
			defer func() { _ = unix.Munmap(raw) }()
			for round := uint64(0); ctx.Err() == nil; round++ {
				proved.Add(b.pass(ctx, raw, round, uint64(i)))
			}
		})
	}
	threads.Wait()
	b.saw("memory: %d MB, %d MB read back in all", each*n>>20, proved.Load()>>20)
	return nil
}

// pass is one pattern over a piece of memory: of the table, and then numbers that differ at every
// address, so that two that are one are seen.
func (b *burn) pass(ctx context.Context, raw []byte, round, seed uint64) (proved int64) {
	const page = 1 << 20
	value := func(at int) uint64 {
		if r := round % uint64(len(patterns)+1); r < uint64(len(patterns)) {
			return patterns[r]
		}
		return (uint64(at)+seed<<40+round)*0x9e3779b97f4a7c15 + 1
	}
	for from := 0; from < len(raw) && ctx.Err() == nil; from += page {
		for at := from; at < from+page; at += 8 {
			binary.NativeEndian.PutUint64(raw[at:], value(at))
		}
	}
	if ctx.Err() != nil {
		return 0 // not all of it was written
	}
	for from := 0; from < len(raw) && ctx.Err() == nil; from += page {
		for at := from; at < from+page; at += 8 {
			if got, want := binary.NativeEndian.Uint64(raw[at:]), value(at); got != want {
				b.bad("memory: read %#x where %#x was written", got, want)
				break
			}
		}
		proved += page
	}
	return proved
}

// disks reads all disks at once, or writes them and reads that back, past the page cache, from a random
// place on; then it judges what they say of themselves.
func (b *burn) disks(ctx context.Context, writes bool) error {
	all := b.m.drives()
	if len(all) == 0 {
		return errors.New("disks: the machine shows none")
	}
	var each sync.WaitGroup
	for _, d := range all {
		each.Go(func() {
			if err := b.disk(ctx, d, writes); err != nil {
				b.bad("%s: %v", d.Path, err)
			}
			if h, ok := b.m.health(d); ok {
				b.judge(h)
			}
		})
	}
	each.Wait()
	return nil
}

func (b *burn) disk(ctx context.Context, d drive, writes bool) error {
	mode := os.O_RDONLY
	if writes {
		mode = os.O_RDWR
	}
	f, err := open(d.dev, mode|unix.O_DIRECT)
	if err != nil {
		return err
	}
	defer f.Close()
	data, free, err := buffer()
	if err != nil {
		return err
	}
	defer free()
	want := make([]byte, chunk)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(want) // it never fails
	var read, wrote rate
	for at := rand.Int64N(f.size/chunk+1) * chunk; ctx.Err() == nil; at += chunk { //nolint:gosec // any place will do
		if at+chunk > f.size {
			at = 0
		}
		n := min(chunk, int(f.size))
		if writes {
			binary.LittleEndian.PutUint64(want, uint64(at)) // what lands elsewhere is seen
			copy(data, want)
			if err := wrote.time(n, func() error { _, err := f.WriteAt(data[:n], at); return err }); err != nil {
				return fmt.Errorf("write at byte %d: %w", at, err)
			}
		}
		if err := read.time(n, func() error { _, err := readAt(f, data, at); return err }); err != nil {
			return fmt.Errorf("read at byte %d: %w", at, err)
		}
		if writes && !bytes.Equal(data[:n], want[:n]) {
			return fmt.Errorf("at byte %d something else is read than was written", at)
		}
	}
	b.fast(d, "read", read, b.limit.MinReadMBs)
	if writes {
		b.fast(d, "write", wrote, b.limit.MinWriteMBs)
	}
	return nil
}

// fast judges how fast a disk was.
func (b *burn) fast(d drive, what string, r rate, least float64) {
	b.saw("%s: %s %.0f MB/s", d.Path, what, r.mbs())
	if least > 0 && r.mbs() < least {
		b.bad("%s: %s %.0f MB/s, at least %.0f must be", d.Path, what, r.mbs(), least)
	}
}

// judge compares what a drive says of itself with the thresholds; -1 is not judged.
func (b *burn) judge(h bootproto.DiskHealth) {
	t := b.limit
	b.saw("%s: %.0f °C, %.0f %% worn, %d sectors reallocated, %d hours", h.Path, h.Celsius, h.WearPercent, h.Reallocated, h.Hours)
	if h.Failing {
		b.bad("%s: the drive says that it fails", h.Path)
	}
	if t.MaxDriveCelsius > 0 && h.Celsius > t.MaxDriveCelsius {
		b.bad("%s: %.0f °C, at most %.0f may be", h.Path, h.Celsius, t.MaxDriveCelsius)
	}
	if t.MaxWearPercent > 0 && h.WearPercent > t.MaxWearPercent {
		b.bad("%s: %.0f %% worn, at most %.0f may be", h.Path, h.WearPercent, t.MaxWearPercent)
	}
	if h.Reallocated > t.MaxReallocated {
		b.bad("%s: %d sectors reallocated, at most %d may be", h.Path, h.Reallocated, t.MaxReallocated)
	}
}

// rate is how much was done in which time.
type rate struct {
	bytes int64
	took  time.Duration
}

func (r *rate) time(n int, do func() error) error {
	begun := time.Now()
	err := do()
	r.took += time.Since(begun)
	r.bytes += int64(n)
	return err
}

func (r rate) mbs() float64 {
	if r.took == 0 {
		return 0
	}
	return float64(r.bytes) / 1e6 / r.took.Seconds()
}
