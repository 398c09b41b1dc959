package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// module is a module of the kernel, with what it says of itself.
type module struct {
	name  string // with _ for -
	file  string // below lib/modules/RELEASE
	needs []string
	soft  []string // to be loaded before, if they are there
	alias []string
}

// tree is a kernel's modules by name.
type tree map[string]*module

// readModules reads what the modules of a folder say of themselves: a package has no modules.dep.
func readModules(dir string) (tree, error) {
	t := tree{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(d.Name(), ".ko") {
			return err
		}
		if filepath.Ext(path) != ".ko" {
			return fmt.Errorf("%s is packed: unpack the modules first", path)
		}
		m, err := readModule(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if m.file, err = filepath.Rel(dir, path); err == nil {
			t[m.name] = m
		}
		return err
	})
	if err == nil && len(t) == 0 {
		err = fmt.Errorf("%s has no modules", dir)
	}
	return t, err
}

func readModule(path string) (*module, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("it has no .modinfo")
	}
	raw, err := s.Data()
	if err != nil {
		return nil, err
	}
	m := &module{name: plain(strings.TrimSuffix(filepath.Base(path), ".ko"))}
	for _, line := range bytes.Split(raw, []byte{0}) {
		key, value, _ := strings.Cut(string(line), "=")
		switch key {
		case "depends":
			if value != "" {
				m.needs = strings.Split(plain(value), ",")
			}
		case "softdep":
			if before, ok := strings.CutPrefix(value, "pre: "); ok {
				before, _, _ = strings.Cut(before, "post:")
				m.soft = append(m.soft, strings.Fields(plain(before))...)
			}
		case "alias":
			m.alias = append(m.alias, value)
		}
	}
	return m, nil
}

func plain(name string) string { return strings.ReplaceAll(name, "-", "_") }

// order gives a module behind everything that it needs, the first to be loaded first.
func (t tree) order(name string, before []*module) ([]*module, error) {
	m := t[name]
	if m == nil {
		return nil, fmt.Errorf("module %s is not in the kernel's package", name)
	}
	if slices.Contains(before, m) {
		return before, nil
	}
	var err error
	for _, n := range m.needs {
		if before, err = t.order(n, before); err != nil {
			return nil, fmt.Errorf("%s needs: %w", name, err)
		}
	}
	for _, n := range m.soft {
		if t[n] != nil {
			if before, err = t.order(n, before); err != nil {
				return nil, err
			}
		}
	}
	return append(before, m), nil
}

// choose gives modules with all that they need, by their files.
func (t tree) choose(names []string) ([]*module, error) {
	var out []*module
	var err error
	for _, n := range names {
		if out, err = t.order(plain(n), out); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b *module) int { return strings.Compare(a.file, b.file) })
	return out, nil
}

// depends is modules.dep as depmod writes it: a module, and what it needs, the last to be loaded first.
func (t tree) depends(chosen []*module) []byte {
	var b bytes.Buffer
	for _, m := range chosen {
		line := []string{}
		all, err := t.order(m.name, nil)
		if err != nil {
			panic(err) // choose went the same way
		}
		for _, n := range slices.Backward(all[:len(all)-1]) {
			line = append(line, " "+n.file)
		}
		fmt.Fprintf(&b, "%s:%s\n", m.file, strings.Join(line, ""))
	}
	return b.Bytes()
}

// aliases is modules.alias: which hardware a module is for.
func aliases(chosen []*module) []byte {
	var b bytes.Buffer
	for _, m := range chosen {
		for _, a := range m.alias {
			fmt.Fprintf(&b, "alias %s %s\n", a, m.name)
		}
	}
	return b.Bytes()
}
