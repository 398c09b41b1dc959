// Package pgdev runs a private PostgreSQL for development and for tests. Production points at a
// server of its own; nothing there imports this package.
//
// Words
//
//   - Cluster: one PostgreSQL data folder, here always with one server, in Options.DataDir together
//     with its socket folder, its log and the file that locks it.
//   - Binaries: initdb, postgres and pg_ctl. The machine's own are used when it has them (Debian's
//     folders, pg_config, PATH); else a build is downloaded once into the cache folder.
//   - Keeper: a small shell process that holds one end of a pipe. When this process ends, by
//     whatever means, the pipe closes and the keeper stops the server. It holds the cluster's lock
//     until then, so whoever starts the cluster next waits for the end of the last one.
//
// PostgreSQL refuses to run as root. When this process is root, everything of PostgreSQL's runs as
// user nobody (65534), and DataDir must be reachable for that user.
//
// Clients connect through a Unix socket in a folder that only the server's user (and root) can
// enter, so there is no password in a URL; Options.TCP adds a loopback port with a password.
//
// A Server is safe for concurrent use. Start may be called by many processes at once; of those
// that name the same DataDir one gets it and the others are refused.
package pgdev

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// User is the superuser of the cluster, and the name of the database that Start makes.
const User = "cagenut"

// Options say where and how the cluster runs.
type Options struct {
	// DataDir holds all of the cluster. It is made when it is missing and kept by Stop.
	DataDir string
	// CacheDir keeps downloaded binaries. Empty: DefaultCacheDir.
	CacheDir string
	// TCP adds a port on 127.0.0.1, found by binding 0; see Server.TCPURL.
	TCP bool
	// Port is the port to use with TCP, for clients that keep an address over a restart; 0: a free one.
	Port int
	// Downloaded asks for the downloaded build although this machine may have its own.
	Downloaded bool
	// Ephemeral is for tests: nothing is flushed to disk, and DataDir is removed when the server ends.
	Ephemeral bool
}

// Server is a running PostgreSQL.
type Server struct {
	socketURL, tcpURL string
	pid               int
	keeper            *exec.Cmd
	pipe              io.Closer
	exited            chan struct{} // closed when the server process has ended
	stop              sync.Once
	stopErr           error
}

// URL is the connection string of database "cagenut", through the Unix socket.
func (s *Server) URL() string { return s.socketURL }

// TCPURL is the same through 127.0.0.1, with a password; empty without Options.TCP.
func (s *Server) TCPURL() string { return s.tcpURL }

// Exited is closed when the server process has ended, for whatever reason.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// PID is the server's process, for tests that kill it.
func (s *Server) PID() int { return s.pid }

// Stop ends the server in order and waits until it is gone, at most a minute. Calling it again is
// harmless.
func (s *Server) Stop() error {
	s.stop.Do(func() {
		s.stopErr = errors.Join(s.pipe.Close(), s.keeper.Wait())
		<-s.exited
	})
	return s.stopErr
}

// cluster is what Start works on.
type cluster struct {
	o        Options
	bin      string // folder of the binaries
	data     string // PostgreSQL's own folder
	sockets  string
	password string
	as       *syscall.SysProcAttr // user of every PostgreSQL process, in a session of its own
	lock     *os.File
}

// Start starts the cluster, making it when it is new, and returns when it answers. A server that a
// killed process left running is stopped first. It waits up to 30 seconds for a cluster that is
// being stopped, and fails when another process keeps it.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.DataDir == "" {
		return nil, errors.New("pgdev: DataDir is empty: name the folder that keeps the database")
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return nil, fmt.Errorf("pgdev: data directory %s: %w", o.DataDir, err)
	}
	o.DataDir = dir
	c := &cluster{o: o, data: filepath.Join(dir, "pgdata"), as: serverUser()}
	if err := c.prepareFolder(ctx); err != nil {
		return nil, err
	}
	// The keeper inherits the lock; this process keeps its own descriptor only while starting.
	defer c.lock.Close()
	if c.bin, err = findBinaries(ctx, o, c.version()); err != nil {
		return nil, err
	}
	if err := c.endLeftover(ctx); err != nil {
		return nil, err
	}
	if err := c.initialise(ctx); err != nil {
		return nil, err
	}
	return c.start(ctx)
}

// serverUser gives the attributes of PostgreSQL's processes. The session of their own keeps a
// Ctrl-C on the terminal from reaching the server before the programs that use it.
func serverUser() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true}
	if os.Geteuid() == 0 {
		a.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return a
}

const nobody = 65534

func (c *cluster) prepareFolder(ctx context.Context) error {
	if err := os.MkdirAll(c.o.DataDir, 0o700); err != nil {
		return fmt.Errorf("pgdev: data directory: %w", err)
	}
	if cred := c.as.Credential; cred != nil {
		for p := filepath.Dir(c.o.DataDir); ; p = filepath.Dir(p) {
			info, err := os.Stat(p)
			if err != nil {
				return fmt.Errorf("pgdev: data directory: %w", err)
			}
			if info.Mode().Perm()&0o001 == 0 {
				return fmt.Errorf("pgdev: PostgreSQL refuses to run as root, and user nobody (%d) may not enter %s: "+
					"choose a data directory outside of it, or run as another user", nobody, p)
			}
			if p == filepath.Dir(p) {
				break
			}
		}
		if err := os.Chown(c.o.DataDir, nobody, nobody); err != nil {
			return fmt.Errorf("pgdev: data directory: %w", err)
		}
	}
	lock, err := acquire(ctx, filepath.Join(c.o.DataDir, "lock"), 30*time.Second)
	if err != nil {
		return err
	}
	c.lock = lock
	return nil
}

// version is the major version that made the data folder; empty when it is new.
func (c *cluster) version() string {
	raw, err := os.ReadFile(filepath.Join(c.data, "PG_VERSION"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// endLeftover stops a server whose keeper was killed too, and removes the pid file of one that is
// gone. Holding the lock, we are the only ones who may.
func (c *cluster) endLeftover(ctx context.Context) error {
	file := filepath.Join(c.data, "postmaster.pid")
	raw, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pgdev: %w", err)
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err == nil && runsPostgres(pid, c.data) {
		if out, err := c.run(ctx, "pg_ctl", "-D", c.data, "-m", "fast", "-w", "-t", "30", "stop"); err != nil {
			return fmt.Errorf("pgdev: stop the server (process %d) that was left running on %s: %w: %s", pid, c.data, err, out)
		}
		return nil
	}
	// The number may belong to another process by now, which would make PostgreSQL refuse to start.
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("pgdev: %w", err)
	}
	return nil
}

// runsPostgres tells whether a process is a PostgreSQL server on a data folder. Where there is no
// /proc it is assumed from the process being there.
func runsPostgres(pid int, data string) bool {
	if pid <= 0 {
		return false
	}
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	if _, err := os.Stat("/proc/self/cmdline"); err != nil {
		return true
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(cmdline), data)
}

// initialise makes the cluster. initdb works in a folder beside it, so that a kill leaves no half.
func (c *cluster) initialise(ctx context.Context) error {
	secret := filepath.Join(c.o.DataDir, "password")
	if c.version() == "" {
		fresh := c.data + ".new"
		if err := errors.Join(os.RemoveAll(fresh), os.RemoveAll(c.data)); err != nil {
			return fmt.Errorf("pgdev: %w", err)
		}
		if err := c.writeFile(secret, rand.Text()+"\n"); err != nil {
			return err
		}
		out, err := c.run(ctx, "initdb", "-N", "-D", fresh, "-U", User, "-E", "UTF8", "--locale=C",
			"--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile="+secret)
		if err != nil {
			return fmt.Errorf("pgdev: initdb in %s: %w: %s", fresh, err, out)
		}
		if err := os.Rename(fresh, c.data); err != nil {
			return fmt.Errorf("pgdev: %w", err)
		}
	}
	raw, err := os.ReadFile(secret)
	if err != nil {
		return fmt.Errorf("pgdev: password of the cluster: %w", err)
	}
	c.password = strings.TrimSpace(string(raw))

	c.sockets = filepath.Join(c.o.DataDir, "run")
	// A socket's path has room for about 100 bytes.
	if len(c.sockets) > 80 {
		if c.sockets, err = os.MkdirTemp("", "cagenut-pg-"); err != nil {
			return fmt.Errorf("pgdev: socket folder: %w", err)
		}
	}
	// A killed server leaves a lock file beside its socket; no server of ours runs at this point.
	if err := errors.Join(os.RemoveAll(c.sockets), os.MkdirAll(c.sockets, 0o700)); err != nil {
		return fmt.Errorf("pgdev: socket folder: %w", err)
	}
	return c.chown(c.sockets)
}

func (c *cluster) writeFile(name, content string) error {
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		return fmt.Errorf("pgdev: %w", err)
	}
	return c.chown(name)
}

func (c *cluster) chown(name string) error {
	if c.as.Credential == nil {
		return nil
	}
	if err := os.Chown(name, nobody, nobody); err != nil {
		return fmt.Errorf("pgdev: %w", err)
	}
	return nil
}

func (c *cluster) run(ctx context.Context, tool string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, tool), args...)
	cmd.SysProcAttr, cmd.Dir, cmd.Env = c.as, c.o.DataDir, environment()
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// environment is this process's without PostgreSQL's own variables, which would redirect it.
func environment() []string {
	env := []string{"LC_ALL=C"}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PG") && !strings.HasPrefix(e, "LC_") {
			env = append(env, e)
		}
	}
	return env
}

func (c *cluster) start(ctx context.Context) (*Server, error) {
	// Two things pass by themselves: a port that was free a moment ago and is taken now (the next try
	// finds another), and the last processes of a killed server that hold its shared memory.
	for attempt := 1; ; attempt++ {
		s, err := c.tryStart(ctx)
		if err == nil || attempt == 5 || !errors.Is(err, errEnded) {
			return s, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(time.Duration(attempt) * 200 * time.Millisecond):
		}
	}
}

var errEnded = errors.New("it ended at once")

func (c *cluster) tryStart(ctx context.Context) (*Server, error) {
	settings := []string{
		"unix_socket_directories=" + c.sockets, "listen_addresses=", "max_connections=200",
		"shared_buffers=64MB", "timezone=UTC", "log_timezone=UTC",
	}
	port := 5432
	if c.o.TCP {
		if port = c.o.Port; port == 0 {
			var err error
			if port, err = freePort(); err != nil {
				return nil, err
			}
		}
		settings = append(settings, "listen_addresses=127.0.0.1")
	}
	if c.o.Ephemeral {
		settings = append(settings, "fsync=off", "synchronous_commit=off", "full_page_writes=off",
			"autovacuum=off", "max_wal_size=4GB")
	}
	args := []string{"-D", c.data, "-p", strconv.Itoa(port)}
	for _, v := range settings {
		args = append(args, "-c", v)
	}
	logName := filepath.Join(c.o.DataDir, "server.log")
	log, err := os.OpenFile(logName, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("pgdev: %w", err)
	}
	defer log.Close()

	s := &Server{exited: make(chan struct{})}
	if err := c.startKeeper(s); err != nil {
		return nil, err
	}
	server := exec.Command(filepath.Join(c.bin, "postgres"), args...) //nolint:noctx // it outlives every call: Stop or the keeper ends it
	server.SysProcAttr, server.Dir, server.Env = c.as, c.o.DataDir, environment()
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		close(s.exited)
		return nil, errors.Join(fmt.Errorf("pgdev: start PostgreSQL: %w", err), s.Stop())
	}
	s.pid = server.Process.Pid
	go func() {
		_ = server.Wait() // how it ended stands in its log
		// Holding s until here keeps the pipe open for callers that need the server and not its handle.
		close(s.exited)
	}()

	query := url.Values{"host": {c.sockets}, "port": {strconv.Itoa(port)}}
	admin := url.URL{Scheme: "postgres", User: url.User(User), Path: "/postgres", RawQuery: query.Encode()}
	if err := ready(ctx, s.exited, admin.String()); err != nil {
		tail := tailOf(logName)
		return nil, errors.Join(fmt.Errorf("pgdev: PostgreSQL on %s: %w; its log ends: %s", c.data, err, tail), s.Stop())
	}
	admin.Path = "/" + User
	s.socketURL = admin.String()
	if c.o.TCP {
		tcp := url.URL{Scheme: "postgres", User: url.UserPassword(User, c.password), Path: "/" + User,
			Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), RawQuery: "sslmode=disable"}
		s.tcpURL = tcp.String()
	}
	return s, nil
}

// keeperScript waits for the end of its input, then stops the server and, when asked, removes the
// cluster. It holds the cluster's lock as descriptor 3.
const keeperScript = `cat >/dev/null
if [ -f "$2/postmaster.pid" ]; then "$1" -D "$2" -m "$3" -w -t 50 stop >/dev/null 2>&1; fi
if [ -n "$4" ]; then rm -rf -- "$4" "$5"; fi
true`

func (c *cluster) startKeeper(s *Server) error {
	mode, remove := "fast", ""
	if c.o.Ephemeral {
		mode, remove = "immediate", c.o.DataDir
	}
	keeper := exec.Command("/bin/sh", "-c", keeperScript, "cagenut-pg-keeper", //nolint:noctx // it outlives this process
		filepath.Join(c.bin, "pg_ctl"), c.data, mode, remove, c.sockets)
	keeper.SysProcAttr, keeper.Dir, keeper.Env = c.as, "/", environment()
	keeper.ExtraFiles = []*os.File{c.lock}
	pipe, err := keeper.StdinPipe()
	if err != nil {
		return fmt.Errorf("pgdev: keeper: %w", err)
	}
	if err := keeper.Start(); err != nil {
		return fmt.Errorf("pgdev: start the keeper: %w", err)
	}
	s.keeper, s.pipe = keeper, pipe
	return nil
}

// ready waits for the server to answer and makes the database.
func ready(ctx context.Context, exited <-chan struct{}, admin string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := makeDatabase(ctx, admin)
		if err == nil {
			return nil
		}
		select {
		case <-exited:
			return errEnded
		case <-ctx.Done():
			return fmt.Errorf("no answer: %w", err)
		case <-tick.C:
		}
	}
}

func makeDatabase(ctx context.Context, admin string) error {
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var there bool
	if err := conn.QueryRow(ctx, `select exists (select from pg_database where datname = $1)`, User).Scan(&there); err != nil || there {
		return err
	}
	_, err = conn.Exec(ctx, `create database `+User)
	return err
}

func freePort() (int, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("pgdev: find a port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func tailOf(name string) string {
	raw, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], " | ")
}
