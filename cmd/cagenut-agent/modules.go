package main

import (
	"bufio"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// modules are the kernel's modules that the initramfs has.
type modules struct {
	dir   string
	needs map[string][]string           // module -> its file, and those of what it needs, the last needed first
	alias []struct{ form, name string } // which hardware a module is for
	tried map[string]bool
	log   *slog.Logger
}

// always are modules that no hardware asks for by name, or too late: drives behind a controller may take
// a minute to come.
var always = []string{"sd_mod", "efivarfs", "drivetemp", "ipmi_devintf"}

// loadModules loads what the hardware asks for, and what then comes to light, until nothing new does.
func loadModules(log *slog.Logger) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		log.Error("uname", "error", err)
		return
	}
	m := &modules{dir: "/lib/modules/" + unix.ByteSliceToString(name.Release[:]), needs: map[string][]string{}, tried: map[string]bool{}, log: log}
	if err := m.read(); err != nil {
		log.Warn("no modules are loaded", "error", err)
		return
	}
	for _, name := range always {
		m.load(name)
	}
	for before := -1; before != len(m.tried); {
		before = len(m.tried)
		for _, form := range []string{"/sys/bus/*/devices/*/modalias", "/sys/class/dmi/id/modalias"} {
			files, _ := filepath.Glob(form) // it is a good pattern
			for _, f := range files {
				if raw, err := os.ReadFile(f); err == nil {
					m.probe(strings.TrimSpace(string(raw)))
				}
			}
		}
	}
	log.Info("modules", "loaded", len(m.tried))
}

// read reads modules.dep and modules.alias.
func (m *modules) read() error {
	each := func(file string, do func(line string)) error {
		f, err := os.Open(filepath.Join(m.dir, file))
		if err != nil {
			return err
		}
		defer f.Close()
		s := bufio.NewScanner(f)
		for s.Scan() {
			do(s.Text())
		}
		return s.Err()
	}
	return errors.Join(each("modules.dep", func(line string) {
		file, needs, _ := strings.Cut(line, ":")
		m.needs[moduleName(file)] = append([]string{file}, strings.Fields(needs)...)
	}), each("modules.alias", func(line string) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "alias" {
			m.alias = append(m.alias, struct{ form, name string }{f[1], f[2]})
		}
	}))
}

func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".ko"), "-", "_")
}

// probe loads what a device asks for.
func (m *modules) probe(device string) {
	for _, a := range m.alias {
		if ok, err := filepath.Match(a.form, strings.ReplaceAll(device, "/", "_")); err == nil && ok {
			m.load(a.name)
		}
	}
}

// load loads a module after what it needs.
func (m *modules) load(name string) {
	files := m.needs[name]
	if m.tried[name] || files == nil {
		return
	}
	m.tried[name] = true
	for i := len(files) - 1; i >= 0; i-- {
		f, err := os.Open(filepath.Join(m.dir, files[i]))
		if err == nil {
			err = unix.FinitModule(int(f.Fd()), "", 0)
			_ = f.Close()
		}
		if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) { // it is loaded, or finds nothing to do
			m.log.Warn("module", "file", files[i], "error", err)
		}
	}
}
