package salt_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/configmgmt/configmgmttest"
	"github.com/cagenut/cagenut/configmgmt/salt"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/saltsim"
)

// enrolled gives a box whose host is enrolled, and a driver on it.
func enrolled(t *testing.T) (*world, configmgmt.Driver) {
	t.Helper()
	w := start(t)
	d := w.open(t)
	t.Cleanup(func() { _ = d.Close() })
	if err := d.Enroll(t.Context(), w.Target(), w.Fingerprint(t)); err != nil {
		t.Fatal(err)
	}
	return w, d
}

func request(kind configmgmttest.Kind) configmgmt.Request {
	return configmgmt.Request{Operation: "op_1", Step: string(kind), Attempt: 1, Target: configmgmt.Target{Name: "srv-101"},
		Spec: configmgmt.Spec{Salt: &configmgmt.SaltSpec{States: []string{string(kind)}}}}
}

const (
	publish = "^local_async state.apply"
	lookUp  = "^runner jobs.list_job"
	noJob   = `{"return": [{"jid": "x", "Error": "Cannot contact returner or no job with this jid", "Result": {}}]}`
)

// TestSubmitFaults spoils a submit: whatever comes out, asking again gives one run.
func TestSubmitFaults(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault sim.Fault
		want  error // of the first call
		found bool  // by the second
	}{
		{"the answer is lost", sim.Fault{Path: publish, Phase: sim.After, Action: sim.ActReset}, configmgmt.ErrUnreachable, true},
		{"an HTML page after the effect", sim.Fault{Path: publish, Phase: sim.After, Action: sim.ActHTML}, configmgmt.ErrMalformed, true},
		{"a server error after the effect", sim.Fault{Path: publish, Phase: sim.After, Action: sim.ActStatus, Status: 504}, configmgmt.ErrServer, true},
		{"a server error before the effect", sim.Fault{Path: publish, Action: sim.ActStatus, Status: 500}, configmgmt.ErrServer, false},
		{"a list of strings with HTTP 200", sim.Fault{Path: publish, Action: sim.ActStatus, Status: 200, Body: `{"return": [["no", "way"]]}`}, configmgmt.ErrMalformed, false},
		{"a text with HTTP 200", sim.Fault{Path: publish, Action: sim.ActStatus, Status: 200, Body: `{"return": ["an exception"]}`}, configmgmt.ErrMalformed, false},
		{"nothing at all with HTTP 200", sim.Fault{Path: publish, Action: sim.ActStatus, Status: 200, Body: `{"return": []}`}, configmgmt.ErrMalformed, false},
		{"nobody was targeted", sim.Fault{Path: publish, Action: sim.ActStatus, Status: 200, Body: `{"return": [{}]}`}, configmgmt.ErrNotEnrolled, false},
		{"another job ID", sim.Fault{Path: publish, Action: sim.ActStatus, Status: 200, Body: `{"return": [{"jid": "1", "minions": ["srv-101"]}]}`}, configmgmt.ErrMalformed, false},
		{"more than anybody should read", sim.Fault{Path: publish, Action: sim.ActBig, Size: 64 << 20}, configmgmt.ErrTooLarge, false},
		{"salt-api restarts before", sim.Fault{Path: publish, Action: sim.ActExpiredSession}, nil, true},
		{"salt-api restarts after", sim.Fault{Path: publish, Phase: sim.After, Action: sim.ActExpiredSession}, nil, true},
		{"salt-api forgets for ever", sim.Fault{Path: publish, Action: sim.ActExpiredSession, Count: 2}, configmgmt.ErrDenied, false},
		{"the look-up fails", sim.Fault{Path: lookUp, Action: sim.ActStatus, Status: 500}, configmgmt.ErrServer, false},
		{"the look-up is a text", sim.Fault{Path: lookUp, Action: sim.ActStatus, Status: 200, Body: `{"return": ["Exception occurred in runner jobs.list_job"]}`}, configmgmt.ErrMalformed, false},
		{"the login fails", sim.Fault{Path: "^login", Action: sim.ActStatus, Status: 401}, configmgmt.ErrDenied, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, d := enrolled(t)
			w.Release(t)
			w.Restart() // so that there is a login to spoil
			w.spoil(t, test.fault)
			_, err := d.Apply(t.Context(), request(configmgmttest.Slow))
			var e *configmgmt.Error
			if !errors.Is(err, test.want) || err != nil && !errors.As(err, &e) {
				t.Fatalf("error %v, want a *configmgmt.Error that is %v", err, test.want)
			}
			if err != nil && (strings.Contains(err.Error(), "<") || strings.Contains(err.Error(), password)) {
				t.Errorf("error %q shows markup or the password", err)
			}
			w.faults.Remove("")
			h, err := d.Apply(t.Context(), request(configmgmttest.Slow))
			if err != nil || h.Found != test.found {
				t.Fatalf("asked again: %+v, %v; want found %t", h, err, test.found)
			}
			r, err := d.Poll(t.Context(), h)
			if err != nil || r.State != configmgmt.Succeeded || w.Marks(t) != 1 {
				t.Errorf("report %+v, %v after %d marks; want success after one", r, err, w.Marks(t))
			}
		})
	}
}

// TestInFlight is the crash between the request and its effect: the next worker sees no job yet, and
// both requests reach the master.
func TestInFlight(t *testing.T) {
	w, d := enrolled(t)
	w.Release(t)
	for range 2 {
		w.spoil(t, sim.Fault{Path: lookUp, Action: sim.ActStatus, Status: 200, Body: noJob})
		if h, err := d.Apply(t.Context(), request(configmgmttest.Slow)); err != nil || h.Found {
			t.Fatalf("Apply = %+v, %v; want a run that seems new", h, err)
		}
	}
	if got := w.Marks(t); got != 1 {
		t.Errorf("it ran %d times, want once", got)
	}
}

func TestPollFaults(t *testing.T) {
	const find = "^local saltutil.find_job"
	for _, test := range []struct {
		name  string
		fault sim.Fault
		want  error
		state configmgmt.State
	}{
		{"the minion does not answer", sim.Fault{Path: find, Action: sim.ActStatus, Status: 200, Body: `{"return": [{"srv-101": {"out": "no_return", "ret": "Minion did not return", "retcode": 1}}]}`}, configmgmt.ErrHostAway, ""},
		{"the master speaks for the minion", sim.Fault{Path: find, Action: sim.ActStatus, Status: 200, Body: `{"return": [{"srv-101": "Minion did not return. [No response]"}]}`}, configmgmt.ErrHostAway, ""},
		{"the minion says false", sim.Fault{Path: find, Action: sim.ActStatus, Status: 200, Body: `{"return": [{"srv-101": false}]}`}, configmgmt.ErrHostAway, ""},
		{"the key was taken away", sim.Fault{Path: find, Action: sim.ActStatus, Status: 200, Body: `{"return": [{}]}`}, configmgmt.ErrNotEnrolled, ""},
		{"the minion fails", sim.Fault{Path: find, Action: sim.ActStatus, Status: 200, Body: `{"return": [{"srv-101": {"ret": "a traceback", "retcode": 1}}]}`}, configmgmt.ErrRejected, ""},
		{"the minion does not know it once", sim.Fault{Path: find, Action: sim.ActStatus, Status: 200, Body: `{"return": [{"srv-101": {"ret": {}, "retcode": 0}}]}`}, nil, configmgmt.Running},
		{"the minion does not know it", sim.Fault{Path: find, Action: sim.ActStatus, Status: 200, Count: -1, Body: `{"return": [{"srv-101": {"ret": {}, "retcode": 0}}]}`}, nil, configmgmt.Lost},
		{"the master does not know it once", sim.Fault{Path: lookUp, Action: sim.ActStatus, Status: 200, Body: noJob}, nil, configmgmt.Running},
		{"the master does not know it", sim.Fault{Path: lookUp, Action: sim.ActStatus, Status: 200, Count: -1, Body: noJob}, nil, configmgmt.Lost},
		{"salt-api restarts", sim.Fault{Path: lookUp, Action: sim.ActExpiredSession}, nil, configmgmt.Running},
		{"salt-api is away", sim.Fault{Path: lookUp, Action: sim.ActReset}, configmgmt.ErrUnreachable, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, d := enrolled(t)
			h, err := d.Apply(t.Context(), request(configmgmttest.Slow))
			if err != nil {
				t.Fatal(err)
			}
			w.spoil(t, test.fault)
			r, err := d.Poll(t.Context(), h)
			if !errors.Is(err, test.want) || r.State != test.state || configmgmt.Over(err) {
				t.Errorf("Poll = %+v, %v; want %q, %v, and not over", r, err, test.state, test.want)
			}
		})
	}
}

// TestMinionFaults are what goes wrong on the minion's side.
func TestMinionFaults(t *testing.T) {
	w, d := enrolled(t)
	for _, test := range []struct {
		name  string
		fault sim.Fault
		want  error
		state configmgmt.State
	}{
		{"it never hears of the job", sim.Fault{Path: publish, Action: sim.ActMinionLost}, nil, configmgmt.Lost},
		{"a list of strings", sim.Fault{Path: publish, Action: sim.ActMinionSays, Status: 1, Body: `["Data failed to compile: password=hunter2"]`}, configmgmt.ErrRender, ""},
		{"it is busy", sim.Fault{Path: publish, Action: sim.ActMinionSays, Status: 1, Body: `["The function \"state.apply\" is running as PID 1"]`}, configmgmt.ErrBusy, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.spoil(t, test.fault)
			r := request(configmgmttest.Clean)
			r.Step = t.Name()
			h, err := d.Apply(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			report, err := d.Poll(t.Context(), h)
			if !errors.Is(err, test.want) || report.State != test.state || configmgmt.Over(err) != (err != nil) {
				t.Errorf("Poll = %+v, %v; want %q, %v", report, err, test.state, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q shows a password", err)
			}
		})
	}
}

// TestRulesNameTheMinion holds that every call tells the box's rules which minion it is about.
func TestRulesNameTheMinion(t *testing.T) {
	w, d := enrolled(t)
	w.Release(t)
	for _, call := range []string{"wheel key.print", "runner jobs.list_job", "local_async state.apply", "local test.ping"} {
		w.spoil(t, sim.Fault{Path: "^" + call + " srv-101$", Action: sim.ActLatency, DelayMS: 1})
	}
	_, err := d.Enrolled(t.Context(), w.Target())
	w.must(t, err)
	w.must(t, d.Reach(t.Context(), w.Target()))
	h, err := d.Apply(t.Context(), request(configmgmttest.Slow))
	w.must(t, err)
	_, err = d.Poll(t.Context(), h)
	w.must(t, err)
	for _, f := range w.faults.List() {
		if f.Fired != 1 {
			t.Errorf("%s: fired %d times", f.Path, f.Fired)
		}
	}
}

// minionSays is the answer of a minion, with its code.
func minionSays(ret string, code int) string {
	return fmt.Sprintf(`{"return": [{"srv-101": {"ret": %s, "retcode": %d, "jid": "1"}}]}`, ret, code)
}

// TestInspectFaults are odd answers: each is an error, and never a half of the facts.
func TestInspectFaults(t *testing.T) {
	const release = `"ID=debian\nVERSION_ID=12\n"`
	for _, test := range []struct {
		name, fun string
		body      string
		skip      int
		want      error
		says      string
	}{
		{"the master speaks for the minion", "file.read", `{"return": [{"srv-101": "Minion did not return. [No response]"}]}`, 0, configmgmt.ErrHostAway, "did not return"},
		{"the minion is lost in the middle", "mount.active", `{"return": [{"srv-101": {"out": "no_return", "ret": "Minion did not return", "retcode": 1}}]}`, 0, configmgmt.ErrHostAway, ""},
		{"its key was taken away in the middle", "status.time", `{"return": [{}]}`, 0, configmgmt.ErrNotEnrolled, ""},
		{"a text with HTTP 200", "status.time", `{"return": ["Exception occurred"]}`, 0, configmgmt.ErrMalformed, "Exception occurred"},
		{"no such file", "file.read", minionSays(`"ERROR: [Errno 2] No such file or directory: '/etc/os-release'"`, 1), 0, configmgmt.ErrRejected, "Remedy: the host must have the file"},
		{"a file that names no system", "file.read", minionSays(`"NAME=x"`, 0), 0, configmgmt.ErrMalformed, "NAME=x"},
		{"a kernel that is a page", "file.read", minionSays(release, 0), 1, configmgmt.ErrMalformed, "VERSION_ID=12"},
		{"a file that is an object", "file.read", minionSays(`{"a": 1}`, 0), 0, configmgmt.ErrMalformed, ""},
		{"a time in words", "status.time", minionSays(`"Monday, 27. July 2015"`, 0), 0, configmgmt.ErrMalformed, "Monday"},
		{"no module for services", "service.status", minionSays(`"'service.status' is not available."`, 1), 0, configmgmt.ErrRejected, "init"},
		{"a service by its process", "service.status", minionSays(`"4711"`, 0), 0, configmgmt.ErrRejected, "4711"},
		{"a service that is a pattern", "service.status", minionSays(`{"ssh": true}`, 0), 0, configmgmt.ErrMalformed, ""},
		{"df fails", "disk.usage", minionSays(`{"/": {"filesystem": "/dev/sda1", "available": "1024"}}`, 1), 0, configmgmt.ErrRejected, "stale"},
		{"df has nothing", "disk.usage", minionSays(`{}`, 0), 0, configmgmt.ErrRejected, "df -P"},
		{"df has words", "disk.usage", minionSays(`{"/": {"filesystem": "/dev/sda1", "available": "much"}}`, 0), 0, configmgmt.ErrMalformed, "much"},
		{"mounts in words", "mount.active", minionSays(`"ERROR: no /proc"`, 0), 0, configmgmt.ErrRejected, "no /proc"},
		{"no program for links", "network.interfaces", minionSays(`{}`, 0), 0, configmgmt.ErrRejected, "install iproute2"},
		{"a link with half an address", "network.interfaces", minionSays(`{"eth0": {"up": true, "inet": [{"address": "192.0.2.7"}]}}`, 0), 0, configmgmt.ErrMalformed, "eth0"},
		{"no function ping", "network.ping", minionSays(`"'network.ping' is not available."`, 1), 0, configmgmt.ErrRejected, "install iputils-ping"},
		{"no program ping", "network.ping", minionSays(`"ERROR: Unable to run command '['ping', ...' No such file or directory: 'ping'"`, 1), 0, configmgmt.ErrRejected, "install iputils-ping"},
		{"no program ping, in a shell", "network.ping", minionSays("false", 127), 0, configmgmt.ErrRejected, "code 127"},
		{"an answer that its code denies", "network.ping", minionSays("true", 1), 0, configmgmt.ErrRejected, "code 1"},
		{"ping's own words", "network.ping", minionSays(`"4 packets transmitted"`, 0), 0, configmgmt.ErrRejected, "4 packets"},
		{"we may not", "network.ping", "", 0, configmgmt.ErrDenied, "docs/salt.md"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, d := enrolled(t)
			f := sim.Fault{Path: "^local " + regexp.QuoteMeta(test.fun), Action: sim.ActStatus, Status: 200, Body: test.body, Skip: test.skip}
			if test.body == "" {
				f.Action, f.Status = sim.ActStatus, http.StatusForbidden
			}
			w.spoil(t, f)
			got, err := d.Inspect(t.Context(), w.Target(), configmgmt.Questions{Services: []string{"ssh"}, Mounts: true, Links: true, Clock: true, Reach: []netip.Addr{netip.MustParseAddr("127.0.0.1")}})
			if !errors.Is(err, test.want) || !strings.Contains(fmt.Sprint(err), test.says) {
				t.Errorf("error %v, want %v that says %q", err, test.want, test.says)
			}
			if diff := cmp.Diff(configmgmt.Facts{}, got); diff != "" {
				t.Errorf("half of the facts came with it:\n%s", diff)
			}
		})
	}
	t.Run("silence and no way are answers", func(t *testing.T) {
		for code, want := range map[int]bool{0: true, 1: false, 2: false} {
			w, d := enrolled(t)
			w.spoil(t, sim.Fault{Path: "^local network.ping", Action: sim.ActStatus, Status: 200, Body: minionSays(fmt.Sprint(want), code)})
			a := netip.MustParseAddr("192.0.2.1")
			if f, err := d.Inspect(t.Context(), w.Target(), configmgmt.Questions{Reach: []netip.Addr{a}}); err != nil || f.Reached[a] != want {
				t.Errorf("code %d: %+v, %v; want reached %t", code, f, err, want)
			}
		}
	})
	t.Run("what stands twice in the mounts", func(t *testing.T) {
		w, d := enrolled(t)
		w.spoil(t, sim.Fault{Path: "^local mount.active", Action: sim.ActStatus, Status: 200, Body: minionSays(
			`{"/": {"device": "/dev/sda1", "fstype": "ext4"}, "/srv": {"device": "/dev/sda1", "fstype": "ext4"}, "/run": {"device": "tmpfs", "fstype": "tmpfs"}, "/proc": {"device": "proc", "fstype": "proc"}}`, 0)})
		w.spoil(t, sim.Fault{Path: "^local disk.usage", Action: sim.ActStatus, Status: 200, Body: minionSays(
			`{"/": {"filesystem": "/dev/sda1", "available": "3000"}, "/run": {"filesystem": "tmpfs", "available": "2048"}}`, 0)})
		f, err := d.Inspect(t.Context(), w.Target(), configmgmt.Questions{Mounts: true})
		want := []configmgmt.Mount{{Path: "/", Filesystem: "ext4", FreeMiB: 2}, {Path: "/run", Filesystem: "tmpfs", FreeMiB: 2}, {Path: "/srv", Filesystem: "ext4", FreeMiB: 2}}
		if diff := cmp.Diff(want, f.Mounts); err != nil || diff != "" {
			t.Errorf("error %v, mounts (-want +got):\n%s", err, diff)
		}
	})
}

func TestEnrollFaults(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(*testing.T, *world)
		want    error
	}{
		{"accepting answers a text", func(t *testing.T, w *world) {
			w.spoil(t, sim.Fault{Path: "key.accept_dict", Action: sim.ActStatus, Status: 200, Body: `{"return": [{"data": {"return": "Usage: ...", "success": true}}]}`})
		}, configmgmt.ErrRejected},
		{"accepting fails", func(t *testing.T, w *world) {
			w.spoil(t, sim.Fault{Path: "key.accept_dict", Action: sim.ActStatus, Status: 200, Body: `{"return": [{"data": {"return": "Traceback", "success": false}}]}`})
		}, configmgmt.ErrRejected},
		{"reading answers a text", func(t *testing.T, w *world) {
			w.spoil(t, sim.Fault{Path: "key.print", Action: sim.ActStatus, Status: 200, Body: `{"return": [{"data": {"return": "Usage", "success": true}}]}`})
		}, configmgmt.ErrMalformed},
		{"somebody rejected the key", func(t *testing.T, w *world) { w.must(t, w.Reject("srv-101")) }, configmgmt.ErrRejected},
		{"another host has the name, and asks again", func(t *testing.T, w *world) {
			w.must(t, w.Server.Stop("srv-101"))
			w.key.Add(1)
			w.must(t, w.Server.Start("srv-101", w.pem()))
		}, configmgmt.ErrFingerprint},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := start(t)
			d := w.open(t)
			t.Cleanup(func() { _ = d.Close() })
			test.prepare(t, w)
			err := d.Enroll(t.Context(), w.Target(), w.Fingerprint(t))
			if !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			if got := w.Keys("minions"); len(got) != 0 {
				t.Errorf("accepted: %v", got)
			}
		})
	}
	t.Run("the key changes meanwhile", func(t *testing.T) {
		w := start(t)
		d := w.open(t)
		t.Cleanup(func() { _ = d.Close() })
		// The master shows the right key once, and has another one.
		w.spoil(t, sim.Fault{Path: "key.print", Action: sim.ActStatus, Status: 200,
			Body: `{"return": [{"data": {"return": {"minions_pre": {"srv-101": "` + strings.ReplaceAll(saltsim.Key("shown"), "\n", `\n`) + `"}}, "success": true}}]}`})
		err := d.Enroll(t.Context(), w.Target(), salt.Fingerprint(saltsim.Key("shown")))
		if !errors.Is(err, configmgmt.ErrFingerprint) || len(w.Keys("minions")) != 0 {
			t.Errorf("Enroll = %v with %v accepted; want %v and none", err, w.Keys("minions"), configmgmt.ErrFingerprint)
		}
	})
	t.Run("deleting deletes nothing", func(t *testing.T) {
		w, d := enrolled(t)
		w.spoil(t, sim.Fault{Path: "key.delete", Action: sim.ActStatus, Status: 200, Body: `{"return": [{"data": {"return": {}, "success": true}}]}`})
		if err := d.Revoke(t.Context(), w.Target()); !errors.Is(err, configmgmt.ErrRejected) {
			t.Errorf("error %v, want %v", err, configmgmt.ErrRejected)
		}
	})
}

// TestHang holds that every call ends with its context.
func TestHang(t *testing.T) {
	w, d := enrolled(t)
	w.spoil(t, sim.Fault{Path: lookUp, Action: sim.ActHang})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := d.Apply(ctx, request(configmgmttest.Clean)); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, configmgmt.ErrUnreachable) {
		t.Errorf("error %v, want an unreachable salt-api at the deadline", err)
	}
}

func TestCertificate(t *testing.T) {
	w := start(t)
	web := httptest.NewUnstartedServer(w.Server)
	web.Config.ErrorLog = log.New(io.Discard, "", 0) // it reports the handshake that fails on purpose
	web.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	web.StartTLS()
	t.Cleanup(web.Close)
	for _, test := range []struct {
		name  string
		roots *x509.CertPool
		want  error
	}{
		{"the right CA", pool(web.Certificate()), nil},
		{"another CA", x509.NewCertPool(), configmgmt.ErrCertificate},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := salt.New(salt.Options{URL: web.URL, User: "cagenut", Password: password, RootCAs: test.roots})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = d.Close() })
			if _, err := d.Ping(t.Context()); !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

func pool(c *x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c)
	return p
}

func TestPing(t *testing.T) {
	w := start(t)
	var seen []string
	for _, test := range []struct {
		password string
		want     error
	}{{password, nil}, {"wrong", configmgmt.ErrDenied}} {
		d, err := salt.New(salt.Options{URL: w.url, User: "cagenut", Password: test.password, Observe: func(r salt.Request) { seen = append(seen, r.Call) }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Ping(t.Context()); !errors.Is(err, test.want) {
			t.Errorf("Ping = %v, want %v", err, test.want)
		}
		_ = d.Close()
	}
	if diff := cmp.Diff([]string{"login", "runner jobs.list_job", "login"}, seen); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	redirect := httptest.NewServer(http.RedirectHandler("/elsewhere", http.StatusFound))
	t.Cleanup(redirect.Close)
	d, err := salt.New(salt.Options{URL: redirect.URL, User: "cagenut", Password: password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if _, err := d.Ping(t.Context()); !errors.Is(err, configmgmt.ErrMalformed) {
		t.Errorf("error %v of a redirect, want %v", err, configmgmt.ErrMalformed)
	}
}

func TestNew(t *testing.T) {
	for _, o := range []salt.Options{
		{}, {URL: "salt:8000", User: "u", Password: "p"}, {URL: "https://u:p@salt", User: "u", Password: "p"},
		{URL: "https://salt?x=1", User: "u", Password: "p"}, {URL: "https://salt", Password: "p"}, {URL: "https://salt", User: "u"},
	} {
		if _, err := salt.New(o); err == nil || o.Password != "" && strings.Contains(err.Error(), ":p@") {
			t.Errorf("New(%+v) = %v, want an error without the password", o, err)
		}
	}
}
