//go:build e2e

package stack

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Processes lists the processes that a stack consists of.
func Processes() []string { return []string{Temporal, Serve, Worker, Site, Postgres, Box} }

// Usage is what a process has used so far.
type Usage struct {
	CPU    time.Duration // user and system
	Memory int64         // bytes now: proportional set size, so that shared pages count once
}

// Usage reads what a process uses. Of Postgres it is the server with all of its own processes, those that have
// ended too.
func (s *Stack) Usage(name string) (Usage, error) {
	if name != Postgres {
		s.mu.Lock()
		p := s.procs[name]
		s.mu.Unlock()
		return usageOf(p.cmd.Process.Pid, false)
	}
	server, err := s.postmaster()
	if err != nil {
		return Usage{}, err
	}
	sum, err := usageOf(server, true)
	if err != nil {
		return sum, err
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return sum, err
	}
	for _, stat := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if err != nil {
			return sum, err
		}
		f, err := fieldsOf(pid)
		if err != nil || f[1] != strconv.Itoa(server) {
			continue // it has just ended, or is somebody else's
		}
		one, err := usageOf(pid, false)
		if err != nil {
			continue
		}
		sum.CPU += one.CPU
		sum.Memory += one.Memory
	}
	return sum, nil
}

// fieldsOf gives the fields of /proc/<pid>/stat from the third on, the state.
func fieldsOf(pid int) ([]string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	f := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:])) // the second is a name in brackets
	if len(f) < 15 {
		return nil, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f)+2)
	}
	return f, nil
}

// usageOf reads one process; with: and its children that have ended.
func usageOf(pid int, with bool) (u Usage, err error) {
	f, err := fieldsOf(pid)
	if err != nil {
		return u, err
	}
	last := 13 // utime, stime
	if with {
		last = 15 // cutime, cstime
	}
	for _, ticks := range f[11:last] {
		n, err := strconv.ParseInt(ticks, 10, 64)
		if err != nil {
			return u, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		u.CPU += time.Duration(n) * 10 * time.Millisecond // USER_HZ is 100 on every Linux
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(raw)) {
		if kb, found := strings.CutPrefix(line, "Pss:"); found {
			n, err := strconv.ParseInt(strings.Fields(kb)[0], 10, 64)
			if err != nil {
				return u, fmt.Errorf("/proc/%d/smaps_rollup: %w", pid, err)
			}
			u.Memory = n << 10
		}
	}
	return u, nil
}
