package temporaldev_test

import (
	"net/url"
	"os"
	"testing"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/devstack/pgdev"
	"github.com/cagenut/cagenut/internal/devstack/temporaldev"
	"github.com/cagenut/cagenut/internal/operation"
)

// The whole on PostgreSQL, and again on the databases that are there already.
func TestPostgres(t *testing.T) {
	dir, err := os.MkdirTemp("", "cagenut-pg") // short: a socket's path has a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	pg, err := pgdev.Start(t.Context(), pgdev.Options{DataDir: dir, TCP: true, Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Stop(); err != nil {
			t.Errorf("stop PostgreSQL: %v", err)
		}
	})
	u, err := url.Parse(pg.TCPURL())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	onPostgres := func(o *temporaldev.Options) {
		o.File = ""
		o.Postgres = &temporaldev.Postgres{Address: u.Host, User: u.User.Username(), Password: password, Database: "temporal"}
	}
	for i := range 2 {
		s := begin(t, onPostgres)
		c, err := dial(t.Context(), s.Address())
		if err != nil {
			t.Fatal(err)
		}
		l := newLedger(noop("a", kindSlow))
		stop, err := work(c, l, hurried(), "", "ams01")
		if err != nil {
			t.Fatal(err)
		}
		id := op[:len(op)-1] + operation.ID(rune('A'+i))
		first := operation.Start{Operation: id, Assets: []asset.ID{1}, Window: 1}
		if err := operation.NewClient(c).Start(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		var tally operation.Tally
		if err := c.GetWorkflow(t.Context(), operation.WorkflowID(id), "").Get(t.Context(), &tally); err != nil {
			t.Fatal(err)
		}
		if tally.Done != 1 {
			t.Errorf("start %d: tally %+v", i+1, tally)
		}
		// The run tells its end and then ends: a worker that stops in between takes its last task along,
		// and Temporal gives that to another only after ten seconds, longer than the next start waits.
		if err := c.GetWorkflow(t.Context(), operation.AssetWorkflowID(1), "").Get(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		stop()
		c.Close()
		if err := s.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
}
