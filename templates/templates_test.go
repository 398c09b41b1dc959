package templates

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata anew")

func builtin(t *testing.T) *Set {
	t.Helper()
	s, err := Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func machine(t *testing.T, name string) Machine {
	t.Helper()
	for _, s := range Samples() {
		if s.Name == name {
			return s.Machine
		}
	}
	t.Fatalf("no sample %s", name)
	return Machine{}
}

// Every file of every sample, byte for byte: look at every line of the diff, then run with -update.
// test/e2e/templates gives what stands in testdata to the formats' own checkers.
func TestGolden(t *testing.T) {
	s := builtin(t)
	if *update {
		if err := os.RemoveAll("testdata"); err != nil {
			t.Fatal(err)
		}
	}
	want, got := map[string]string{}, map[string]string{}
	for _, sample := range Samples() {
		files, err := s.Files(sample.Machine)
		if err != nil {
			t.Fatalf("%s: %v", sample.Name, err)
		}
		for _, f := range files {
			name := filepath.Join("testdata", sample.Name, f.Name)
			got[name] = string(f.Data)
			if *update {
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	stored, err := filepath.Glob("testdata/*/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range stored {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want[name] = string(raw)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What a file tells a machine to fetch from its one-time URL is served, or is a stage.
func TestEverythingAdvertisedIsServed(t *testing.T) {
	s := builtin(t)
	for _, sample := range Samples() {
		files, err := s.Files(sample.Machine)
		if err != nil {
			t.Fatal(err)
		}
		served := map[string]bool{"": true} // NoCloud adds the names itself
		for _, f := range files {
			served[f.Name] = true
		}
		for _, f := range files {
			for _, rest := range strings.Split(string(f.Data), sample.Machine.Boot.Base+"/")[1:] {
				name := rest[:strings.IndexAny(rest+" ", "' \n\"")]
				if !served[name] {
					t.Errorf("%s: %s names %q, which is not served", sample.Name, f.Name, name)
				}
			}
		}
	}
}

func TestListNamesEveryEmbeddedFile(t *testing.T) {
	var have []string
	err := fs.WalkDir(embedded, "files", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			have = append(have, strings.TrimSuffix(strings.TrimPrefix(path, "files/"), suffix))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, i := range builtin(t).List() {
		listed = append(listed, i.Name)
		if i.What == "" || i.Overridden {
			t.Errorf("%+v", i)
		}
	}
	if diff := cmp.Diff(have, listed); diff != "" || !slices.IsSorted(listed) {
		t.Errorf("(-embedded +listed):\n%s", diff)
	}
}

func TestOverrides(t *testing.T) {
	file := func(text string) fstest.MapFS {
		return fstest.MapFS{"nocloud/meta-data.tmpl": {Data: []byte(text)}, "README.md": {Data: []byte("{{")}, ".git/x.tmpl": {Data: []byte("{{")}}
	}
	s, err := Load(file("instance-id: mine-{{.Operation}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if errs := s.Check(); len(errs) > 0 {
		t.Errorf("Check: %v", errs)
	}
	f, err := s.File(machine(t, "image-uefi"), "meta-data")
	if err != nil || string(f.Data) != "instance-id: mine-op_01JCAGENUT0000000000000000\n" {
		t.Errorf("%q, %v", f.Data, err)
	}
	for _, i := range s.List() {
		if i.Overridden != (i.Name == "nocloud/meta-data") {
			t.Errorf("%+v", i)
		}
	}
	for name, tc := range map[string]struct {
		overrides fs.FS
		want      []string
	}{
		"syntax":           {file("a\nb\n{{if}}\n"), []string{"nocloud/meta-data.tmpl:3: ", "correct the template"}},
		"unknown function": {file("\n{{shell .Operation}}"), []string{"nocloud/meta-data.tmpl:2: ", `"shell" not defined`}},
		"unknown name":     {fstest.MapFS{"debian/preseed.tmpl": {Data: []byte("x")}}, []string{"debian/preseed.tmpl: no template has this name", "debian/preseed.cfg"}},
		"empty":            {file(" \n"), []string{"it is empty"}},
		"defines another":  {file(`{{define "hook/hook.sh"}}{{end}}x`), []string{`it defines "hook/hook.sh"`}},
		"two at once": {fstest.MapFS{"a.tmpl": {Data: []byte("x")}, "hook/hook.sh.tmpl": {Data: []byte("{{")}},
			[]string{"a.tmpl: ", "hook/hook.sh.tmpl:1: "}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(tc.overrides)
			for _, part := range tc.want {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("Load: %v; want %q", err, part)
				}
			}
		})
	}
	// What only fails when it is rendered is seen by Check, with file and line.
	s, err = Load(file("a\n{{.Hostname}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if errs := s.Check(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "nocloud/meta-data.tmpl:2: ") {
		t.Errorf("Check: %v", errs)
	}
	var loadErr LoadError
	if _, err := s.Files(machine(t, "image-uefi")); !errors.As(err, &loadErr) || loadErr.Line != 2 {
		t.Errorf("Files: %v", err)
	}
}

func TestFile(t *testing.T) {
	s := builtin(t)
	if _, err := s.File(machine(t, "image-uefi"), "preseed.cfg"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a preseed for an image: %v", err)
	}
	var problems Problems
	if _, err := s.File(Machine{}, "hook.sh"); !errors.As(err, &problems) {
		t.Errorf("no machine: %v", err)
	}
	local, err := s.Local()
	if err != nil || !strings.HasPrefix(string(local), "#!ipxe\n") {
		t.Errorf("local boot: %q, %v", local, err)
	}
}

// The hook really finishes a system: here in a folder, as whoever runs the tests.
func TestHookFinishesTheSystem(t *testing.T) {
	for _, name := range []string{"debian-bios-plain", "ubuntu-uefi-plain", "rhel-bios-plain"} {
		m := machine(t, name)
		f, err := builtin(t).File(m, "hook.sh")
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		root := filepath.Join(dir, "root")
		script := regexp.MustCompile(`(?m)^root=.*$`).ReplaceAllString(string(f.Data), "root="+root)
		for file, text := range map[string]string{"bin/curl": "#!/bin/sh\n", "bin/chroot": "#!/bin/sh\n", "hook.sh": script, "root/etc/netplan/00-installer.yaml": "",
			"root/etc/NetworkManager/system-connections/ens3.nmconnection": ""} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o700); err != nil { //nolint:gosec // it is run
				t.Fatal(err)
			}
		}
		cmd := exec.Command("sh", filepath.Join(dir, "hook.sh"), "installed")
		cmd.Env = []string{"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH")}
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		files, err := m.NetworkFiles()
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"/etc/hostname":                "-rw-r--r-- srv-101\n",
			"/root/.ssh/authorized_keys":   "-rw------- " + strings.Join(m.AuthorizedKeys(), "\n") + "\n",
			"/usr/local/sbin/cagenut-hook": "-rwx------ " + script,
			"/etc/systemd/system/multi-user.target.wants/cagenut-first-boot.service": "-> ../cagenut-first-boot.service",
		}
		for _, file := range files {
			want[file.Path] = fs.FileMode(file.Mode).String() + " " + file.Text
		}
		got := map[string]string{}
		err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			name := strings.TrimPrefix(path, root)
			if link, err := os.Readlink(path); err == nil {
				got[name] = "-> " + link
				return nil
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			got[name] = info.Mode().String() + " " + string(raw)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if unit := got[unitPath]; !strings.Contains(unit, "\nExecStart=/bin/sh /usr/local/sbin/cagenut-hook first-boot\n") {
			t.Errorf("%s: the first boot's unit is %q", name, unit)
		}
		delete(got, unitPath)
		if ntp := got["/etc/systemd/timesyncd.conf.d/cagenut.conf"]; m.Method() != "kickstart" && ntp != "-rw-r--r-- [Time]\nNTP=192.0.2.10 ntp2.ams01.example.net\n" {
			t.Errorf("%s: time servers are %q", name, ntp)
		}
		for _, other := range []string{"/etc/systemd/timesyncd.conf.d/cagenut.conf", "/etc/cloud/cloud.cfg.d/99-cagenut-network.cfg"} {
			delete(got, other)
		}
		// The network of another installer is not touched.
		if m.Method() != "autoinstall" {
			delete(got, "/etc/netplan/00-installer.yaml")
		}
		if m.Method() != "kickstart" {
			delete(got, "/etc/NetworkManager/system-connections/ens3.nmconnection")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Installers get the kernel's names of the chosen disks, and of no others.
func TestHookNamesTheDisks(t *testing.T) {
	for name, want := range map[string]string{
		"debian-bios-plain": "partman-auto/disk DEV/sdb\ngrub-installer/bootdev DEV/sdb\n",
		"debian-uefi-raid-lvm": "partman-auto/disk DEV/sdb DEV/nvme0n1\ngrub-installer/bootdev DEV/sdb DEV/nvme0n1\n" +
			"partman-auto-raid/recipe 1 2 0 ext4 /boot DEV/sdb2#DEV/nvme0n1p2 . 1 2 0 lvm - DEV/sdb3#DEV/nvme0n1p3 . \n",
		"ubuntu-bios-raid-lvm": "a:\n- path: DEV/sdb\n- path: DEV/nvme0n1\n- path: DEV/by-id/ata-Contoso_SSD_480_S1AB\n",
	} {
		f, err := builtin(t).File(machine(t, name), "hook.sh")
		if err != nil {
			t.Fatal(err)
		}
		dir, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(dir, "out")
		script := strings.NewReplacer("/dev/disk/", dir+"/", "[ -b ", "[ -e ", "/autoinstall.yaml", out).Replace(string(f.Data))
		// The CA would be written where only root may.
		script = strings.NewReplacer("/run/", dir+"/", "[ -d /run ]", "true").Replace(script)
		for file, text := range map[string]string{"sdb": "", "nvme0n1": "", "hook.sh": script, "debconf-set": "#!/bin/sh\nprintf '%s %s\\n' \"$1\" \"$2\" >>" + out + "\n"} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o700); err != nil { //nolint:gosec // it is run
				t.Fatal(err)
			}
		}
		if err := os.Mkdir(filepath.Join(dir, "by-id"), 0o755); err != nil {
			t.Fatal(err)
		}
		for i, target := range []string{"../sdb", "../nvme0n1"} {
			if err := os.Symlink(target, filepath.Join(dir, "by-id", filepath.Base(twoDisks()[i].Path))); err != nil {
				t.Fatal(err)
			}
		}
		if strings.HasPrefix(name, "ubuntu") { // as the installer writes it out again
			id := dir + "/by-id/ata-Contoso_SSD_480_"
			if err := os.WriteFile(out, []byte("a:\n- path: "+id+"S1A\n- path: '"+id+"S1B'\n- path: "+id+"S1AB\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command("sh", filepath.Join(dir, "hook.sh"), "disks")
		cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
		if text, err := cmd.CombinedOutput(); err != nil || len(text) > 0 {
			t.Fatalf("%s: %v: %s", name, err, text)
		}
		got, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, strings.ReplaceAll(string(got), dir, "DEV")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// The hook really reports: here a failure, to a curl that writes down what it was asked.
func TestHookReportsAFailure(t *testing.T) {
	m := machine(t, "debian-bios-plain")
	f, err := builtin(t).File(m, "hook.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	curl := "#!/bin/sh\nfor a; do case $a in @*) cp \"${a#@}\" " + dir + "/body ;; esac; last=$a; done\nprintf '%s' \"$last\" >" + dir + "/url\n"
	for name, text := range map[string]string{"curl": curl, "hook.sh": string(f.Data)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil { //nolint:gosec // it is run
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", filepath.Join(dir, "hook.sh"), "failed", "two\nlines; $(id)")
	cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	body, _ := os.ReadFile(filepath.Join(dir, "body"))
	url, _ := os.ReadFile(filepath.Join(dir, "url"))
	if string(url) != m.Boot.Base+"/stage/failed" {
		t.Errorf("posted to %q", url)
	}
	if s := string(body); !strings.HasPrefix(s, "stage=failed\n") || !strings.Contains(s, "\nkernel=") || !strings.HasSuffix(s, "\nreason=two lines; $(id)") {
		t.Errorf("posted %q", s)
	}
}
