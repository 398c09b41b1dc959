package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// lastUsedEvery bounds how often using a token is noted.
const lastUsedEvery = time.Minute

// CreateToken keeps a token by the SHA-256 of its secret, which the database never sees.
func (s *Store) CreateToken(ctx context.Context, t operation.Token, sum [32]byte) error {
	switch {
	case t.ID == "" || t.Person == "" || t.Created.IsZero():
		return fault.New(fault.Invalid, "token %q: needs an ID, a person (has %q) and a time of creation", t.ID, t.Person)
	case !slices.Contains(operation.Roles(), t.Role):
		return fault.New(fault.Invalid, "token %s: role is %q, want one of %v", t.ID, t.Role, operation.Roles())
	case t.Role == operation.Worker && len(t.Sites) == 0:
		return fault.New(fault.Invalid, "token %s: a worker token names its sites", t.ID)
	}
	_, err := s.pool.Exec(ctx, `insert into token (id, sum, person, role, sites, created, by_actor, expires)
		values ($1, $2, $3, $4, $5, $6, $7, $8)`,
		t.ID, sum[:], clean(t.Person), t.Role, nonNil(t.Sites), t.Created, clean(t.By), nullTime(t.Expires))
	return translate("create token "+t.ID, err)
}

const tokenColumns = `id, person, role, sites, created, by_actor, expires, last_used, revoked`

func scanToken(row pgx.CollectableRow) (t operation.Token, err error) {
	var expires, used, revoked *time.Time
	err = row.Scan(&t.ID, &t.Person, &t.Role, &t.Sites, &t.Created, &t.By, &expires, &used, &revoked)
	t.Created, t.Expires, t.LastUsed, t.Revoked = t.Created.UTC(), timeOf(expires), timeOf(used), timeOf(revoked)
	return t, err
}

// ListTokens gives all tokens, also those that are revoked or expired, oldest first.
func (s *Store) ListTokens(ctx context.Context) ([]operation.Token, error) {
	rows, err := s.pool.Query(ctx, `select `+tokenColumns+` from token order by created, id`)
	if err != nil {
		return nil, translate("list tokens", err)
	}
	out, err := pgx.CollectRows(rows, scanToken)
	if out == nil {
		out = []operation.Token{}
	}
	return out, translate("list tokens", err)
}

// RevokeToken ends a token for good. Revoking it again changes nothing; an
// unknown ID is fault.NotFound.
func (s *Store) RevokeToken(ctx context.Context, id, by string, at time.Time) error {
	tag, err := s.pool.Exec(ctx, `update token set revoked = coalesce(revoked, $2) where id = $1`, id, at)
	if err == nil && tag.RowsAffected() == 0 {
		e := fault.New(fault.NotFound, "there is no token %s", id)
		e.Remedy = "`cagenut token list` shows them"
		return e
	}
	return translate("revoke token "+id+" for "+by, err)
}

// Authenticate gives the token with this SHA-256, live or not, and notes its use, at most once a
// minute. fault.Unauthenticated when there is none.
func (s *Store) Authenticate(ctx context.Context, sum [32]byte, now time.Time) (operation.Token, error) {
	rows, err := s.pool.Query(ctx, `select `+tokenColumns+` from token where sum = $1`, sum[:])
	if err != nil {
		return operation.Token{}, translate("authenticate", err)
	}
	t, err := pgx.CollectExactlyOneRow(rows, scanToken)
	if noRows(err) {
		return operation.Token{}, fault.New(fault.Unauthenticated, "no such token")
	}
	if err != nil {
		return operation.Token{}, translate("authenticate", err)
	}
	if t.Live(now) && now.Sub(t.LastUsed) >= lastUsedEvery {
		if _, err := s.pool.Exec(ctx, `update token set last_used = $2 where id = $1 and (last_used is null or last_used < $2)`, t.ID, now); err != nil {
			return operation.Token{}, translate("authenticate", err)
		}
		t.LastUsed = now
	}
	return t, nil
}

// SaveHeartbeat keeps the last heartbeat of a worker, by site and name, and gives how far the worker's
// clock is ahead of PostgreSQL's. That clock is the one which all programs share: a central worker, too,
// is measured by another's clock than its own.
func (s *Store) SaveHeartbeat(ctx context.Context, h operation.Heartbeat) (skew time.Duration, err error) {
	if h.Worker == "" || h.Clock.IsZero() {
		return 0, fault.New(fault.Invalid, "heartbeat: needs the worker's name (has %q) and its clock", h.Worker)
	}
	h.At, h.SkewMS = time.Time{}, 0 // columns say the one, the row's own time and the clock the other
	body, err := jsonOf(h)
	if err != nil {
		return 0, fault.Wrap(err, fault.Invalid, "heartbeat of %s: %v", h.Worker, err)
	}
	var at time.Time
	err = s.pool.QueryRow(ctx, `insert into heartbeat (worker, site, at, body) values ($1, $2, clock_timestamp(), $3)
		on conflict (site, worker) do update set at = excluded.at, body = excluded.body
		returning at`, clean(h.Worker), clean(h.Site), body).Scan(&at)
	return h.Clock.Sub(at), translate("heartbeat of "+h.Worker, err)
}

// Heartbeats gives the last heartbeat of each worker that was seen within a week, by site and name. At
// is told by this process's clock, so that an age computed from it is right whatever PostgreSQL's says.
func (s *Store) Heartbeats(ctx context.Context) ([]operation.Heartbeat, error) {
	rows, err := s.pool.Query(ctx, `select body, at, clock_timestamp() from heartbeat where at > now() - interval '7 days' order by site, worker`)
	if err != nil {
		return nil, translate("heartbeats", err)
	}
	out := []operation.Heartbeat{}
	var body []byte
	var at, theirs time.Time
	_, err = pgx.ForEachRow(rows, []any{&body, &at, &theirs}, func() error {
		var h operation.Heartbeat
		if err := json.Unmarshal(body, &h); err != nil {
			return err
		}
		h.SkewMS = h.Clock.Sub(at).Milliseconds()
		h.At = time.Now().Add(at.Sub(theirs)).UTC()
		out = append(out, h)
		return nil
	})
	return out, translate("heartbeats", err)
}

// SaveFirmware notes a file of the firmware store. A file that is known keeps its first name.
func (s *Store) SaveFirmware(ctx context.Context, f operation.FirmwareFile) error {
	if len(f.SHA256) != 64 || f.Name == "" || f.Added.IsZero() {
		return fault.New(fault.Invalid, "firmware file %q: needs a SHA-256 in hex (has %q), a name and a time", f.Name, f.SHA256)
	}
	_, err := s.pool.Exec(ctx, `insert into firmware_file (sha256, name, size, added, by_actor) values ($1, $2, $3, $4, $5)
		on conflict do nothing`, f.SHA256, clean(f.Name), f.Size, f.Added, clean(f.By))
	return translate("save firmware file "+f.Name, err)
}

// ListFirmware gives the files of the firmware store by name.
func (s *Store) ListFirmware(ctx context.Context) ([]operation.FirmwareFile, error) {
	rows, err := s.pool.Query(ctx, `select sha256, name, size, added, by_actor from firmware_file order by name, sha256`)
	if err != nil {
		return nil, translate("list firmware", err)
	}
	out := []operation.FirmwareFile{}
	var f operation.FirmwareFile
	_, err = pgx.ForEachRow(rows, []any{&f.SHA256, &f.Name, &f.Size, &f.Added, &f.By}, func() error {
		f.Added = f.Added.UTC()
		out = append(out, f)
		return nil
	})
	return out, translate("list firmware", err)
}
