//go:build e2e

// Package compose holds docker-compose.yml, the Containerfile, docs/containers.md and the example
// configuration to what the program really takes. There is no container engine: docker-compose checks
// and resolves the file, the program is built by the Containerfile's line, and every command runs in a
// root folder of its own with the file's paths, environment and user.
package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/test/e2e/stack"
)

// user is the Containerfile's.
const user = 65534

// composition is what `docker-compose config` resolves.
type composition struct {
	Services map[string]struct {
		Build struct {
			Context    string `yaml:"context"`
			Dockerfile string `yaml:"dockerfile"`
		} `yaml:"build"`
		Command     []string          `yaml:"command"`
		Environment map[string]string `yaml:"environment"`
		Volumes     []any             `yaml:"volumes"`
		Image       string            `yaml:"image"`
	} `yaml:"services"`
}

func TestComposition(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root: commands run with the image's user in a root folder of their own")
	}
	repo := repository(t)
	var c composition
	if err := yaml.Unmarshal(run(t, repo, "docker-compose", "--profile", "setup", "-f", "docker-compose.yml", "config"), &c); err != nil {
		t.Fatal(err)
	}
	container := read(t, filepath.Join(repo, "Containerfile"))
	root := newRoot(t)
	build(t, repo, container, filepath.Join(root, "cagenut"))

	s := stack.Start(t, stack.Options{})
	conf := filepath.Join(root, "conf")
	run(t, repo, filepath.Join(repo, "scripts", "compose-init.sh"), conf)
	edit(t, s, conf)

	api, serve := port(t), port(t)
	env := func(service string) []string {
		// Ports differ from the file's, since others may hold those; so does the namespace, since the
		// stack's own programs work beside these.
		out := []string{
			"CAGENUT_TEMPORAL_HOST=temporal:" + temporalPort(t, s), "CAGENUT_TEMPORAL_NAMESPACE=compose",
			fmt.Sprintf("CAGENUT_API_LISTEN=0.0.0.0:%d", api), fmt.Sprintf("CAGENUT_WORKER_URL=https://serve:%d", api),
		}
		for k, v := range c.Services[service].Environment {
			out = append(out, k+"="+v)
		}
		return out
	}
	replace(t, filepath.Join(conf, "cagenut.yaml"), `":8080"`, fmt.Sprintf("\":%d\"", serve))
	command := func(service string, args ...string) *exec.Cmd {
		cmd := exec.Command("/cagenut", args...) //nolint:noctx // the test ends it
		cmd.Env, cmd.Dir = env(service), "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: user, Gid: user}, Pdeathsig: syscall.SIGKILL}
		return cmd
	}
	for _, name := range []string{"migrate", "serve", "worker", "site"} {
		svc := c.Services[name]
		if svc.Build.Dockerfile != "Containerfile" || svc.Environment["CAGENUT_CONFIG"] != "/conf/cagenut.yaml" {
			t.Errorf("service %s: build %+v, environment %v", name, svc.Build, svc.Environment)
		}
		if got := fmt.Sprint(svc.Volumes); !strings.Contains(got, "/conf") || !strings.Contains(got, "/state") {
			t.Errorf("service %s mounts %s", name, got)
		}
	}

	if out, err := command("migrate", c.Services["migrate"].Command...).CombinedOutput(); err != nil {
		t.Fatalf("migrate: %v\n%s", err, out)
	}
	admin := ""
	for _, line := range regexp.MustCompile(`docker-compose run --rm serve (token create .*)`).FindAllStringSubmatch(read(t, filepath.Join(repo, "docs", "containers.md")), -1) {
		cmd := command("serve", strings.Fields(line[1])...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		secret, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line[1], err, errs.Bytes())
		}
		if strings.Contains(line[1], "--role worker") {
			write(t, filepath.Join(conf, "worker-token"), secret)
		} else {
			admin = filepath.Join(t.TempDir(), "admin-token")
			write(t, admin, secret)
		}
	}
	for _, name := range []string{"serve", "worker", "site"} {
		start(t, name, command(name, c.Services[name].Command...))
	}
	if out, err := command("serve", "version").Output(); err != nil || !strings.Contains(string(out), "container") {
		t.Errorf("version: %v: %s; want the one that the build was given", err, out)
	}
	cli := func(args ...string) ([]byte, error) {
		base := []string{"--url", fmt.Sprintf("https://localhost:%d", api), "--ca-file", filepath.Join(conf, "api.crt"), "--token-file", admin, "-o", "json"}
		return exec.CommandContext(t.Context(), filepath.Join(root, "cagenut"), append(base, args...)...).CombinedOutput()
	}
	s.Until(time.Minute, "the site's worker is up, as the API tells", func() error {
		out, err := cli("site", "list")
		type site struct{ Slug, State string }
		var sites []site
		if err == nil {
			err = json.Unmarshal(out, &sites)
		}
		switch {
		case err != nil:
			return fmt.Errorf("site list: %w: %s", err, out)
		case !slices.Contains(sites, site{"ams01", "up"}):
			return fmt.Errorf("site list: %s", out)
		}
		return nil
	})
	s.Until(time.Minute, "doctor finds nothing", func() error {
		out, err := cli("doctor")
		if err != nil {
			return fmt.Errorf("doctor: %w\n%s", err, out)
		}
		return nil
	})
}

// build runs the Containerfile's line for the program, and checks what else it names.
func build(t *testing.T, repo, container, out string) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^RUN (CGO_ENABLED=0 go build .*) -o /cagenut (\./\S+)$`).FindStringSubmatch(container)
	if line == nil {
		t.Fatalf("the Containerfile builds /cagenut in no line of the form that is known:\n%s", container)
	}
	run(t, repo, "bash", "-c", "VERSION=container; "+line[1]+" -o '"+out+"' "+line[2])
	for _, want := range []string{fmt.Sprintf("USER %d:%d", user, user), fmt.Sprintf("install -d -o %d -g %d -m 0700 /state", user, user),
		`ENTRYPOINT ["/cagenut"]`, "COPY --from=build /cagenut /cagenut"} {
		if !strings.Contains(container, want) {
			t.Errorf("the Containerfile lacks %q", want)
		}
	}
}

// newRoot makes what the image is: the names of the other services, /state, a place for files.
func newRoot(t *testing.T) string {
	t.Helper()
	root, err := os.MkdirTemp("", "cagenut-compose-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	for dir, mode := range map[string]os.FileMode{"": 0o755, "state": 0o700, "etc": 0o755, "tmp": 0o777, "proc/self": 0o755} {
		path := filepath.Join(root, dir)
		if err := os.MkdirAll(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	// Temporal's SDK takes the program's checksum for a build ID.
	if err := os.Symlink("/cagenut", filepath.Join(root, "proc", "self", "exe")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(root, "state"), user, user); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc", "hosts"), []byte("127.0.0.1 localhost postgres temporal serve\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

// edit does what docs/containers.md asks a person to do, with the stack's services.
func edit(t *testing.T, s *stack.Stack, conf string) {
	t.Helper()
	theirs := filepath.Dir(s.Inner().ConfigFile())
	u, err := url.Parse(strings.TrimSpace(read(t, filepath.Join(theirs, "database-url"))))
	if err != nil {
		t.Fatal(err)
	}
	db, err := pgx.Connect(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(t.Context()))
	password := strings.TrimSpace(read(t, filepath.Join(conf, "postgres-password")))
	for _, q := range []string{"create role composed login password '" + password + "'", "create database composed owner composed"} {
		if _, err := db.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	address := fmt.Sprintf("postgres:%d", bridge(t, filepath.Join(u.Query().Get("host"), ".s.PGSQL."+u.Query().Get("port"))))
	replace(t, filepath.Join(conf, "database-url"), "cagenut:"+password+"@postgres:5432/cagenut", "composed:"+password+"@"+address+"/composed")
	netbox, _ := s.Inner().NetBox()
	replace(t, filepath.Join(conf, "cagenut.yaml"), "https://netbox.example", netbox)
	write(t, filepath.Join(conf, "netbox-token"), []byte(read(t, filepath.Join(theirs, "netbox-token"))))
	write(t, filepath.Join(conf, "profiles", "bare.yaml"), []byte("{name: bare, version: 1, match: {device_types: [server-1u]}, bmc: {protocol: redfish, account: root}}\n"))
}

// bridge lets a Unix socket be reached over TCP: the stack's PostgreSQL listens on nothing else.
func bridge(t *testing.T, socket string) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", socket)
			if err != nil {
				in.Close()
				continue
			}
			go func() { _, _ = io.Copy(out, in); out.Close() }()
			go func() { _, _ = io.Copy(in, out); in.Close() }()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func temporalPort(t *testing.T, s *stack.Stack) string {
	t.Helper()
	found := regexp.MustCompile(`temporal: \{host: "127\.0\.0\.1:(\d+)"`).FindStringSubmatch(read(t, s.Inner().ConfigFile()))
	if found == nil {
		t.Fatal("where is the stack's Temporal?")
	}
	return found[1]
}

// start runs a service until the test ends.
func start(t *testing.T, name string, cmd *exec.Cmd) {
	t.Helper()
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s ended with %v", name, err)
		}
		if t.Failed() {
			t.Logf("--- %s\n%s", name, log.Bytes())
		}
	})
}

func port(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func repository(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(string(run(t, ".", "git", "rev-parse", "--show-toplevel")))
}

func run(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, errs.Bytes())
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// write makes a file as the image's user must have it.
func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(path, "/conf/") {
		if err := os.Chown(path, user, user); err != nil {
			t.Fatal(err)
		}
	}
}

func replace(t *testing.T, path, from, to string) {
	t.Helper()
	old := read(t, path)
	if !strings.Contains(old, from) {
		t.Fatalf("%s does not hold %q:\n%s", path, from, old)
	}
	write(t, path, []byte(strings.Replace(old, from, to, 1)))
}
