package templates

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hookRun is a hook in a folder of its own, where programs and files stand in for the machine's.
type hookRun struct {
	t    *testing.T
	dir  string
	base string
}

// newHook writes the hook of a sample, with paths replaced in pairs: DIR stands for the folder. Its curl
// appends the address and the body of each report to DIR/posts.
func newHook(t *testing.T, name string, replace ...string) hookRun {
	t.Helper()
	m := machine(t, name)
	f, err := builtin(t).File(m, "hook.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := hookRun{t, dir, m.Boot.Base}
	// The CA would be written where only root may.
	replace = append(replace, "ca=/run/", "ca=DIR/", "[ -d /run ]", "true")
	for i := range replace {
		replace[i] = strings.ReplaceAll(replace[i], "DIR", dir)
	}
	h.write("hook.sh", strings.NewReplacer(replace...).Replace(string(f.Data)))
	h.write("bin/curl", "#!/bin/sh\nfor a; do case $a in @*) body=${a#@} ;; esac; last=$a; done\n"+
		"{ printf '%s\\n' \"$last\"; cat \"$body\"; } >>"+dir+"/posts\n")
	return h
}

func (h hookRun) write(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil { //nolint:gosec // some are run
		h.t.Fatal(err)
	}
}

func (h hookRun) read(name string) string {
	h.t.Helper()
	raw, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(raw)
}

// run gives the exit code and what was printed.
func (h hookRun) run(args ...string) (int, string) {
	h.t.Helper()
	cmd := exec.Command("sh", append([]string{filepath.Join(h.dir, "hook.sh")}, args...)...)
	cmd.Env = []string{"PATH=" + filepath.Join(h.dir, "bin") + ":" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func TestHookReportsAFailure(t *testing.T) {
	h := newHook(t, "debian-bios-plain")
	if code, out := h.run("failed", "two\nlines; $(id)"); code != 1 || !strings.Contains(out, "cagenut: two\nlines; $(id)") {
		t.Errorf("exit %d: %s", code, out)
	}
	posts := h.read("posts")
	if !strings.HasPrefix(posts, h.base+"/stage/failed\nstage=failed\n") || !strings.Contains(posts, "\nkernel=") ||
		!strings.HasSuffix(posts, "\nreason=two lines; $(id)") {
		t.Errorf("posted %q", posts)
	}
	if code, _ := h.run("lunch"); code != 2 {
		t.Errorf("an unknown stage: exit %d", code)
	}
}

// Nothing goes on on a machine that is another than was meant.
func TestHookKnowsTheMachine(t *testing.T) {
	const mac = "02:00:00:00:65:01"
	for name, tc := range map[string]struct {
		sample, mac, firmware, disk string
		want                        string // the reason; empty: it goes on
	}{
		"the right one":   {"rhel-bios-plain", mac, "bios", "ata-Contoso_SSD_480_S1A", ""},
		"upper case":      {"rhel-bios-plain", strings.ToUpper(mac), "bios", "ata-Contoso_SSD_480_S1A", ""},
		"another MAC":     {"rhel-bios-plain", "02:00:00:00:65:0a", "bios", "ata-Contoso_SSD_480_S1A", "no port has the MAC 02:00:00:00:65:01"},
		"another disk":    {"rhel-bios-plain", mac, "bios", "ata-Contoso_SSD_480_S1B", "ata-Contoso_SSD_480_S1A is not here"},
		"UEFI for BIOS":   {"rhel-bios-plain", mac, "uefi", "ata-Contoso_SSD_480_S1A", "booted with UEFI"},
		"BIOS for UEFI":   {"ubuntu-uefi-plain", mac, "bios", "ata-Contoso_SSD_480_S1A", "booted without UEFI"},
		"one of two only": {"rhel-uefi-raid-lvm", mac, "uefi", "ata-Contoso_SSD_480_S1A", "ata-Contoso_SSD_480_S1B is not here"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHook(t, tc.sample, "/sys/", "DIR/sys/", "/dev/disk/", "DIR/", "[ -b ", "[ -e ")
			h.write("sys/class/net/eth0/address", tc.mac+"\n")
			h.write("sys/class/net/eth0/device/vendor", "")
			h.write("sys/class/net/lo/address", "00:00:00:00:00:00\n")
			h.write("sys/class/dmi/id/product_serial", "ABC1234\n")
			h.write("by-id/"+tc.disk, "")
			if tc.firmware == "uefi" {
				h.write("sys/firmware/efi/runtime", "")
			}
			code, out := h.run("early")
			posts := h.read("posts")
			if tc.want == "" {
				want := h.base + "/stage/early\nstage=early\nproduct_serial=ABC1234\nmac=" + tc.mac + "\nkernel="
				if code != 0 || out != "" || !strings.HasPrefix(posts, want) {
					t.Errorf("exit %d: %s%q", code, out, posts)
				}
				return
			}
			if code != 1 || !strings.HasPrefix(posts, h.base+"/stage/failed\n") || !strings.Contains(posts, tc.want) || strings.Contains(posts, "stage=early") {
				t.Errorf("exit %d: %s%q", code, out, posts)
			}
		})
	}
}

// The first boot proves the machine: its host keys, and its minion's key as the minion itself says it.
func TestHookReportsTheFirstBoot(t *testing.T) {
	h := newHook(t, "debian-uefi-raid-lvm", "/etc/salt/pki", "DIR/pki", "/etc/ssh/", "DIR/ssh/", "/etc/os-release", "DIR/os-release",
		"rm -f /etc/systemd", "rm -f DIR/systemd", " /etc/systemd", " DIR/systemd", " /usr/local/sbin/cagenut-hook", " DIR/hook.sh")
	body := "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAx\nQIDAQAB\n"
	h.write("pki/minion/minion.pub", "-----BEGIN PUBLIC KEY-----\n"+body+"-----END PUBLIC KEY-----\n")
	h.write("ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 AAAAC3Nz root@db1\n")
	h.write("ssh/ssh_host_rsa_key.pub", "ssh-rsa AAAAB3Nz root@db1\n")
	h.write("os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME='Debian $(id)'\n")
	h.write("bin/systemctl", "#!/bin/sh\nprintf '%s\\n' \"$*\" >>"+h.dir+"/systemctl\n")
	if code, out := h.run("first-boot"); code != 0 || out != "" {
		t.Fatalf("exit %d: %s", code, out)
	}
	sum := sha256.Sum256([]byte(body))
	want := "\nssh_host_key=ssh-ed25519 AAAAC3Nz\nssh_host_key=ssh-rsa AAAAB3Nz\nos=debian 12\nsalt_minion_fingerprint=" + hex.EncodeToString(sum[:]) + "\n"
	if posts := h.read("posts"); !strings.HasPrefix(posts, h.base+"/stage/first-boot\nstage=first-boot\n") || !strings.HasSuffix(posts, want) {
		t.Errorf("posted %q; want the end %q", posts, want)
	}
	if got := h.read("systemctl"); got != "enable --now salt-minion.service\n" {
		t.Errorf("systemctl %q", got)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "hook.sh")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the one-time URL stays on the disk: %v", err)
	}
}

// The hook really finishes a system: here in a folder, as whoever runs the tests.
func TestHookFinishesTheSystem(t *testing.T) {
	for _, name := range []string{"debian-bios-plain", "ubuntu-uefi-plain", "rhel-bios-plain"} {
		m := machine(t, name)
		h := newHook(t, name, "root=/target", "root=DIR/root", "root=/mnt/sysroot", "root=DIR/root")
		script, root := h.read("hook.sh"), filepath.Join(h.dir, "root")
		h.write("bin/chroot", "#!/bin/sh\n")
		h.write("root/etc/netplan/00-installer.yaml", "")
		h.write("root/etc/NetworkManager/system-connections/ens3.nmconnection", "")
		if code, out := h.run("installed"); code != 0 || out != "" {
			t.Fatalf("%s: exit %d: %s", name, code, out)
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
		h := newHook(t, name, "/dev/disk/", "DIR/", "[ -b ", "[ -e ", "/autoinstall.yaml", "DIR/out")
		h.write("sdb", "")
		h.write("nvme0n1", "")
		h.write("bin/debconf-set", "#!/bin/sh\nprintf '%s %s\\n' \"$1\" \"$2\" >>"+h.dir+"/out\n")
		if err := os.Mkdir(filepath.Join(h.dir, "by-id"), 0o755); err != nil {
			t.Fatal(err)
		}
		for i, target := range []string{"../sdb", "../nvme0n1"} {
			if err := os.Symlink(target, filepath.Join(h.dir, "by-id", filepath.Base(twoDisks()[i].Path))); err != nil {
				t.Fatal(err)
			}
		}
		if strings.HasPrefix(name, "ubuntu") { // as the installer writes it out again
			id := h.dir + "/by-id/ata-Contoso_SSD_480_"
			h.write("out", "a:\n- path: "+id+"S1A\n- path: '"+id+"S1B'\n- path: "+id+"S1AB\n")
		}
		if code, out := h.run("disks"); code != 0 || out != "" {
			t.Fatalf("%s: exit %d: %s", name, code, out)
		}
		if diff := cmp.Diff(want, strings.ReplaceAll(h.read("out"), h.dir, "DEV")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
