// Command initrd writes the agent's initramfs: the agent as /init, and of a kernel's modules those that
// are named, with what they need. The same input gives the same bytes. scripts/agent.sh runs it.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

func main() {
	init := flag.String("init", "", "the agent's program")
	dir := flag.String("modules", "", "lib/modules/RELEASE of the kernel's package")
	list := flag.String("list", "", "a file of names of modules, one a line; # begins a comment")
	ca := flag.String("ca", "", "a file of CAs in PEM that the boot service is known by; empty: none")
	out := flag.String("out", "", "the initramfs to write")
	flag.Parse()
	if err := run(*init, *dir, *list, *ca, *out); err != nil {
		fmt.Fprintln(os.Stderr, "initrd:", err)
		os.Exit(1)
	}
}

func run(init, dir, list, ca, out string) error {
	names, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	found, err := readModules(dir)
	if err != nil {
		return err
	}
	chosen, err := found.choose(words(string(names)))
	if err != nil {
		return err
	}
	a := archive{}
	if err := a.copy("init", init, 0o755); err != nil {
		return err
	}
	a.node("dev/console", 5, 1)
	for _, folder := range []string{"proc", "sys", "etc/cagenut", "tmp"} {
		a.folder(folder)
	}
	if ca != "" {
		if err := a.copy("etc/cagenut/ca.pem", ca, 0o644); err != nil {
			return err
		}
	}
	at := "lib/modules/" + filepath.Base(dir) + "/"
	for _, m := range chosen {
		if err := a.copy(at+m.file, filepath.Join(dir, m.file), 0o644); err != nil {
			return err
		}
	}
	a.file(at+"modules.dep", found.depends(chosen), 0o644)
	a.file(at+"modules.alias", aliases(chosen), 0o644)
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	if _, err := z.Write(a.cpio()); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(out, packed.Bytes(), 0o644) //nolint:gosec // it holds no secrets
}

// words are the words of a list without its comments.
func words(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		out = append(out, strings.Fields(line)...)
	}
	return out
}

// entry is a file of an archive.
type entry struct {
	mode         uint32 // with its kind
	data         []byte
	major, minor uint32
}

// archive is an initramfs by path, without the leading slash.
type archive map[string]entry

const kindFolder, kindFile, kindNode = 0o040000, 0o100000, 0o020000

// folder adds a folder and those above it.
func (a archive) folder(path string) {
	for ; path != "." && path != "/"; path = filepath.Dir(path) {
		a[path] = entry{mode: kindFolder | 0o755}
	}
}

func (a archive) file(path string, data []byte, mode uint32) {
	a.folder(filepath.Dir(path))
	a[path] = entry{mode: kindFile | mode, data: data}
}

func (a archive) copy(path, from string, mode uint32) error {
	data, err := os.ReadFile(from)
	if err == nil {
		a.file(path, data, mode)
	}
	return err
}

// node adds a character device.
func (a archive) node(path string, major, minor uint32) {
	a.folder(filepath.Dir(path))
	a[path] = entry{mode: kindNode | 0o600, major: major, minor: minor}
}

// cpio gives the archive in the form that the kernel reads ("newc"), sorted, everything of root and of
// no time.
func (a archive) cpio() []byte {
	var b bytes.Buffer
	pad := func() {
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
	}
	write := func(ino int, path string, e entry) {
		links := 1
		if e.mode&kindFolder == kindFolder && e.mode&kindFile != kindFile {
			links = 2
		}
		// inode, mode, user, group, links, time, size, device of the file, device that it is, length of the name, sum
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", ino, e.mode, 0, 0, links, 0, len(e.data), 0, 0, e.major, e.minor, len(path)+1, 0)
		b.WriteString(path + "\x00")
		pad()
		b.Write(e.data)
		pad()
	}
	paths := make([]string, 0, len(a))
	for path := range a {
		paths = append(paths, path)
	}
	slices.Sort(paths) // a folder stands before what is in it
	for i, path := range paths {
		write(i+1, path, a[path])
	}
	write(0, "TRAILER!!!", entry{})
	return b.Bytes()
}
