package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/redfish/reader"
)

// The bounds.
const (
	wantPlain        = 3.5 // times faster than bmclib, at most 4 in flight
	wantExpand       = 8.0
	wantPlainTwo     = 1.8 // where the BMC answers two at once
	wantExpandTwo    = 4.0
	wantFirstCPU     = 20 * time.Millisecond
	wantUnchangedCPU = 12 * time.Millisecond
)

// measure prints all numbers, then fails if one is out of its bound.
func measure(o options) error {
	var misses []error
	check := func(ok bool, format string, args ...any) string {
		if ok {
			return "ok"
		}
		misses = append(misses, fmt.Errorf(format, args...))
		return "MISSED"
	}
	fmt.Println("The same fields, first reading over TLS, 4 in flight:")
	fmt.Printf("%-8s %-8s %-10s %-22s %-30s %s\n", "latency", "at once", "bmclib", "ours", "ours with $expand", "faster (wanted)")
	for _, atOnce := range []int{0, 2} {
		for _, latency := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond} {
			o.latency, o.atOnce, o.expand = latency, atOnce, false
			plain, theirs, err := pair(o, true)
			if err != nil {
				return err
			}
			o.expand = true
			expand, _, err := pair(o, false)
			if err != nil {
				return err
			}
			want, wantX := wantPlain, wantExpand
			if atOnce == 2 {
				want, wantX = wantPlainTwo, wantExpandTwo
			}
			a, b := ratio(theirs, plain.took), ratio(theirs, expand.took)
			fmt.Printf("%-8v %-8s %-10v %-22s %-30s %.1fx (%.1f) %s, %.1fx (%.1f) %s\n", latency, atOnceName(atOnce), theirs.Round(time.Millisecond),
				plain, expand, a, want, check(a >= want, "%v, %s at once: %.1f times faster, want %.1f", latency, atOnceName(atOnce), a, want),
				b, wantX, check(b >= wantX, "%v, %s at once with $expand: %.1f times faster, want %.1f", latency, atOnceName(atOnce), b, wantX))
		}
	}
	if err := complete(o); err != nil {
		return err
	}
	fmt.Printf("\nClient CPU, medians of %d readings of the same fields:\n", o.runs)
	o.latency, o.atOnce = 0, 0
	for _, expand := range []bool{false, true} {
		for _, etags := range []bool{false, true} {
			o.expand, o.etags = expand, etags
			first, unchanged, err := cpuOf(o)
			if err != nil {
				return err
			}
			fmt.Printf("$expand %-5v ETags %-5v  first %-9v %s   unchanged %-9v %s\n", expand, etags, first.Round(10*time.Microsecond),
				check(first <= wantFirstCPU, "first reading took %v CPU, want %v", first, wantFirstCPU), unchanged.Round(10*time.Microsecond),
				check(unchanged <= wantUnchangedCPU, "unchanged reading took %v CPU, want %v", unchanged, wantUnchangedCPU))
		}
	}
	return errors.Join(misses...)
}

func atOnceName(n int) string {
	if n == 0 {
		return "any"
	}
	return fmt.Sprint(n)
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// result is one reading.
type result struct {
	took     time.Duration
	requests int
}

func (r result) String() string {
	return fmt.Sprintf("%v (%d requests)", r.took.Round(time.Millisecond), r.requests)
}

// pair reads with bmclib, where asked, and with ours from the same BMC process, each three times,
// and gives the medians.
func pair(o options, bmclib bool) (ours result, theirs time.Duration, err error) {
	t, err := start(o)
	if err != nil {
		return ours, 0, err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	var mine, other []time.Duration
	for range 3 {
		inv, took, err := t.ours(reader.Options{Scope: bmc.ScopeHardware, Sections: sameFields}, 4)
		if err != nil {
			return ours, 0, err
		}
		mine, ours.requests = append(mine, took), inv.Requests.Count
		if !bmclib {
			continue
		}
		parts, took, err := t.bmclib()
		if err != nil {
			return ours, 0, err
		}
		if have := len(inv.Memory) + len(inv.Drives) + len(inv.Processors) + len(inv.PowerSupplies); parts == 0 || have == 0 {
			return ours, 0, fmt.Errorf("nothing was read: bmclib %d parts, ours %d", parts, have)
		}
		other = append(other, took)
	}
	ours.took = median(mine)
	if bmclib {
		theirs = median(other)
	}
	return ours, theirs, nil
}

// complete reports the complete reading beside it.
func complete(o options) (err error) {
	fmt.Println("\nThe complete reading, 4 in flight:")
	for _, expand := range []bool{false, true} {
		for _, latency := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond} {
			o.latency, o.atOnce, o.expand = latency, 0, expand
			t, err := start(o)
			if err != nil {
				return err
			}
			inv, took, err := t.ours(reader.Options{}, 4)
			if err := errors.Join(err, t.stop()); err != nil {
				return err
			}
			fmt.Printf("latency %-6v $expand %-5v  %v, %d requests, %d KB, %d unread\n", latency, expand, took.Round(time.Millisecond),
				inv.Requests.Count, inv.Requests.Bytes>>10, len(inv.Unread))
		}
	}
	return nil
}

// cpuOf gives the median CPU time of a first reading, with its connection and login, and of reading
// an unchanged machine again over the kept connection.
func cpuOf(o options) (first, unchanged time.Duration, err error) {
	t, err := start(o)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	ctx := context.Background()
	opts := reader.Options{URL: "https://" + t.address, Scope: bmc.ScopeHardware, Sections: sameFields}
	timed := func(f func() error) (time.Duration, error) {
		before, err := cpu()
		if err != nil {
			return 0, err
		}
		if err := f(); err != nil {
			return 0, err
		}
		after, err := cpu()
		return after - before, err
	}
	var firsts, repeats []time.Duration
	for range o.runs {
		d, err := timed(func() error { _, _, err := t.ours(opts, 4); return err })
		if err != nil {
			return 0, 0, err
		}
		firsts = append(firsts, d)
	}
	opts.Cache = reader.NewCache()
	conn, err := t.dial(ctx, 4)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	for i := range o.runs + 1 {
		d, err := timed(func() error { _, err := reader.Read(ctx, conn, opts); return err })
		if err != nil {
			return 0, 0, err
		}
		if i > 0 { // the first fills the cache
			repeats = append(repeats, d)
		}
	}
	return median(firsts), median(repeats), nil
}
