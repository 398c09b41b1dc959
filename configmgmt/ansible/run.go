package ansible

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/atomicfile"
)

// Plan starts the playbook with --check.
func (d *Driver) Plan(ctx context.Context, r configmgmt.Request) (configmgmt.Handle, error) {
	return d.submit(ctx, r, true)
}

// Apply starts the playbook.
func (d *Driver) Apply(ctx context.Context, r configmgmt.Request) (configmgmt.Handle, error) {
	return d.submit(ctx, r, false)
}

// HandleOf gives the handle of a request's run.
func (d *Driver) HandleOf(r configmgmt.Request, test bool) configmgmt.Handle {
	return configmgmt.Handle{Driver: "ansible", Job: r.Key(test), Target: r.Target.Name, Test: test}
}

func (d *Driver) submit(ctx context.Context, r configmgmt.Request, test bool) (configmgmt.Handle, error) {
	op := "run Ansible"
	if err := r.Check(op, "ansible"); err != nil {
		return configmgmt.Handle{}, err
	}
	op += " playbook " + r.Spec.Ansible.Playbook
	if _, _, err := address(op, r.Target); err != nil {
		return configmgmt.Handle{}, err
	}
	h := d.HandleOf(r, test)
	lock, err := d.lock(ctx, op, r.Target.Name)
	if err != nil {
		return configmgmt.Handle{}, err
	}
	defer lock.Close()
	if ctx.Err() != nil {
		return configmgmt.Handle{}, program(op, r.Target.Name, context.Cause(ctx))
	}
	f := d.folder(h.Job)
	was, err := f.was()
	if err != nil {
		return configmgmt.Handle{}, program(op, r.Target.Name, err)
	}
	if was {
		h.Found = true
		return h, nil
	}
	if _, err := d.enrolled(op, r.Target); err != nil {
		return configmgmt.Handle{}, err
	}
	if err := d.free(op, r.Target.Name); err != nil {
		return configmgmt.Handle{}, err
	}
	if err := d.start(f, r, test); err != nil {
		return configmgmt.Handle{}, program(op, r.Target.Name, err)
	}
	return h, nil
}

// free is ErrBusy while the last run on a host goes on.
func (d *Driver) free(op, name string) error {
	last, err := os.ReadFile(d.host(name, ".run"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return program(op, name, err)
	}
	f := d.folder(string(last))
	if _, over := f.code(); over || len(f.processes()) == 0 {
		return nil
	}
	return &configmgmt.Error{Kind: configmgmt.ErrBusy, Op: op, Host: name, Detail: "run " + string(last) + " works on it"}
}

// start makes the run folder and the child process. The caller holds the host's lock.
func (d *Driver) start(f folder, r configmgmt.Request, test bool) error {
	runner, err := d.find("ansible-runner")
	if err != nil {
		return err
	}
	// What is here was left by a crash before the child process existed.
	if err := os.RemoveAll(string(f)); err != nil {
		return err
	}
	for _, sub := range []string{"inventory", "env", "home", "tmp"} {
		if err := os.MkdirAll(f.path(sub), 0o700); err != nil {
			return err
		}
	}
	if err := os.Symlink(d.o.Project, f.path("project")); err != nil {
		return err
	}
	inventory, vars, err := d.variables(r)
	if err != nil {
		return err
	}
	if err := f.write("inventory/hosts.yml", inventory); err != nil { // JSON is YAML
		return err
	}
	if err := f.write("env/extravars", vars); err != nil {
		return err
	}
	// Before the child exists, so that a crash in between leaves a name whose run is not there.
	if err := atomicfile.Write(d.host(r.Target.Name, ".run"), []byte(r.Key(test))); err != nil {
		return err
	}
	log, err := os.OpenFile(f.path("log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"run", string(f), "--playbook", r.Spec.Ansible.Playbook, "--ident", ident, "--omit-env-files", "--quiet"}
	if options := options(*r.Spec.Ansible, test); options != "" {
		args = append(args, "--cmdline="+options)
	}
	cmd := exec.Command(runner, args...) //nolint:noctx // it outlives every context, and the worker
	cmd.Dir, cmd.Stdout, cmd.Stderr = string(f), log, log
	cmd.Env = d.environment(f)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	// It ends with the child, which is reaped; how it ended is read from the artefacts.
	go func() { _ = cmd.Wait() }()
	return f.write("started", started{PID: cmd.Process.Pid, Test: test, Playbook: r.Spec.Ansible.Playbook, Target: r.Target.Name, Time: time.Now().UTC()})
}

// options are ansible-playbook's.
func options(s configmgmt.AnsibleSpec, test bool) string {
	var out []string
	if test {
		out = append(out, "--check") // without --diff: what it shows of templates may be secret, and is kept on disk
	}
	if len(s.Tags) > 0 {
		out = append(out, "--tags="+strings.Join(s.Tags, ","))
	}
	if len(s.SkipTags) > 0 {
		out = append(out, "--skip-tags="+strings.Join(s.SkipTags, ","))
	}
	return strings.Join(out, " ")
}

// environment is all that the child processes get: nothing of the worker's own.
func (d *Driver) environment(f folder) []string {
	return []string{
		f.mark(), "PATH=" + d.o.Path, "LANG=C.UTF-8", "HOME=" + f.path("home"), // no TMPDIR: Ansible puts a unix socket there, whose path must be short
		"ANSIBLE_HOME=" + f.path("home/.ansible"), "ANSIBLE_LOCAL_TEMP=" + f.path("tmp"),
		"ANSIBLE_HOST_KEY_CHECKING=True", "ANSIBLE_NOCOLOR=1", "ANSIBLE_RETRY_FILES_ENABLED=False",
		// ssh gets a terminal, so that what runs on the host ends with the connection.
		"ANSIBLE_PIPELINING=False", "ANSIBLE_SSH_USETTY=True",
	}
}

// variables gives the inventory and the extra variables. What pins the host is among the latter:
// nothing in the project overrides those.
func (d *Driver) variables(r configmgmt.Request) (inventory, extra map[string]any, err error) {
	host, port, err := address("run Ansible", r.Target)
	if err != nil {
		return nil, nil, err
	}
	vars := map[string]any{
		"ansible_connection": "ssh", "ansible_host": host, "ansible_port": json.Number(port), "ansible_user": d.o.User,
		"ansible_ssh_private_key_file": d.o.KeyFile, "ansible_become": d.o.Become, "ansible_python_interpreter": "auto_silent",
	}
	if d.o.Interpreter != "" {
		vars["ansible_python_interpreter"] = d.o.Interpreter
	}
	all := map[string]any{"hosts": map[string]any{r.Target.Name: vars}}
	if len(r.Spec.Ansible.Groups) > 0 {
		groups := map[string]any{}
		for _, g := range r.Spec.Ansible.Groups {
			groups[g] = map[string]any{"hosts": map[string]any{r.Target.Name: map[string]any{}}}
		}
		all["children"] = groups
	}
	extra = maps.Clone(r.Spec.Ansible.Vars)
	if extra == nil {
		extra = map[string]any{}
	}
	extra["ansible_ssh_args"] = strings.Join(d.sshArgs(r.Target.Name), " ")
	extra["ansible_ssh_common_args"], extra["ansible_ssh_extra_args"] = "", ""
	extra["ansible_host_key_checking"], extra["ansible_pipelining"] = true, false
	return map[string]any{"all": all}, extra, nil
}

// Poll tells how far a run is.
func (d *Driver) Poll(ctx context.Context, h configmgmt.Handle) (configmgmt.Report, error) {
	op := "poll Ansible run " + h.Job
	f, err := d.known(op, h)
	if err != nil {
		return configmgmt.Report{}, err
	}
	if ctx.Err() != nil {
		return configmgmt.Report{}, program(op, h.Target, context.Cause(ctx))
	}
	lost := configmgmt.Report{State: configmgmt.Lost, Test: h.Test}
	s, err := f.started()
	if errors.Is(err, fs.ErrNotExist) {
		lost.Detail = "this worker has no folder of the run: it was another worker's, or it was removed for its age"
		return lost, nil
	}
	if err != nil {
		return configmgmt.Report{}, program(op, h.Target, err)
	}
	works := len(f.processes()) > 0 // before the code: a run that ends in between has one
	if problem := f.verify(s, h.Test); problem != "" {
		if err := d.Cancel(ctx, h); err != nil {
			return configmgmt.Report{}, err
		}
		return configmgmt.Report{}, &configmgmt.Error{Kind: configmgmt.ErrMode, Op: op, Host: h.Target, Detail: problem, Over: true}
	}
	if code, over := f.code(); over {
		return f.judge(op, h, code)
	}
	if works {
		return configmgmt.Report{State: configmgmt.Running, Test: h.Test}, nil
	}
	lost.Detail = "its processes are gone and left no result: they were killed, or the worker's machine was restarted"
	return lost, nil
}

// Cancel ends every process of a run: it asks, then kills.
func (d *Driver) Cancel(ctx context.Context, h configmgmt.Handle) error {
	op := "cancel Ansible run " + h.Job
	f, err := d.known(op, h)
	if err != nil {
		return err
	}
	lock, err := d.lock(ctx, op, h.Target) // a start in between would be missed
	if err != nil {
		return err
	}
	defer lock.Close()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		gone, err := f.end(ctx, signal, d.o.Grace)
		if err != nil {
			return program(op, h.Target, err)
		}
		if gone {
			return nil
		}
	}
	return &configmgmt.Error{Kind: configmgmt.ErrRejected, Op: op, Host: h.Target, Detail: fmt.Sprintf("processes %v do not end", f.processes())}
}

// known gives the folder of a handle of ours.
func (d *Driver) known(op string, h configmgmt.Handle) (folder, error) {
	hex := len(h.Job) == 32 && !slices.ContainsFunc([]rune(h.Job), func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) })
	if h.Driver != "ansible" || !hex {
		return "", &configmgmt.Error{Kind: configmgmt.ErrInvalid, Op: op, Host: h.Target, Detail: "not a handle of an Ansible run"}
	}
	if err := (configmgmt.Target{Name: h.Target}).Check(op); err != nil {
		return "", err
	}
	return d.folder(h.Job), nil
}
