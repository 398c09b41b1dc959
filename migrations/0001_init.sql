-- What an asset's status may become. internal/asset holds the same rows; a test proves them equal.
create table lifecycle_move (
    from_status text not null,
    to_status   text not null,
    primary key (from_status, to_status),
    check (from_status <> to_status)
);
insert into lifecycle_move (from_status, to_status) values
    ('planned', 'staged'),
    ('staged', 'planned'),
    ('staged', 'active'),
    ('active', 'failed'),
    ('failed', 'active'),
    ('failed', 'staged'),
    ('staged', 'decommissioning'),
    ('active', 'decommissioning'),
    ('failed', 'decommissioning'),
    ('decommissioning', 'offline'),
    ('decommissioning', 'inventory'),
    ('offline', 'planned'),
    ('inventory', 'planned');

-- The status in which we last saw or left an asset. NetBox owns the status: what a person did there
-- is 'observed' and taken as it is; what we did is 'moved' and must be a move of the lifecycle.
create table asset_status (
    asset     bigint primary key check (asset > 0),
    status    text not null,
    cause     text not null check (cause in ('observed', 'moved')),
    operation text not null default '',
    at        timestamptz not null
);
create table asset_move (
    id          bigint generated always as identity primary key,
    asset       bigint not null,
    from_status text not null, -- empty: not seen before
    to_status   text not null,
    cause       text not null,
    operation   text not null,
    at          timestamptz not null
);
create index asset_move_asset on asset_move (asset, to_status);

create function asset_status_check() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' then
        if new.status = old.status then
            return new;
        end if;
        if new.cause = 'moved' and not exists (
            select from lifecycle_move where from_status = old.status and to_status = new.status) then
            raise exception 'asset % cannot go from % to %', new.asset, old.status, new.status
                using errcode = 'CG001';
        end if;
        insert into asset_move (asset, from_status, to_status, cause, operation, at)
            values (new.asset, old.status, new.status, new.cause, new.operation, new.at);
    else
        insert into asset_move (asset, from_status, to_status, cause, operation, at)
            values (new.asset, '', new.status, new.cause, new.operation, new.at);
    end if;
    return new;
end $$;
create trigger asset_status_check before insert or update on asset_status
    for each row execute function asset_status_check();

-- What the state of an operation or of a run may become. internal/operation holds the same rows.
create table state_move (
    from_state text not null,
    to_state   text not null,
    primary key (from_state, to_state),
    check (from_state <> to_state)
);
insert into state_move (from_state, to_state) values
    ('queued', 'running'), ('queued', 'paused'), ('queued', 'aborted'), ('queued', 'failed');
insert into state_move (from_state, to_state)
    select f, t
    from unnest(array['running', 'paused', 'waiting', 'waiting-for-site']) f,
         unnest(array['running', 'paused', 'waiting', 'waiting-for-site', 'done', 'aborted', 'failed']) t
    where f <> t;

create function state_check() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        if new.state <> 'queued' then
            raise exception 'a % begins as queued, not %', tg_table_name, new.state using errcode = 'CG002';
        end if;
    elsif new.state <> old.state and not exists (
        select from state_move where from_state = old.state and to_state = new.state) then
        raise exception '% cannot go from % to %', tg_table_name, old.state, new.state using errcode = 'CG002';
    end if;
    return new;
end $$;

-- Operations: who asked for what, and why.
create table operation (
    id         text primary key check (id ~ '^op_[0-9A-HJKMNP-TV-Z]{26}$'),
    kind       text not null,
    until      text not null,
    capacity   text not null,
    schema     int  not null,
    plan_hash  text not null,
    state      text not null default 'queued',
    actor      text not null,
    reason     text not null,
    ticket     text not null,
    run_window int  not null,
    key        text not null, -- empty: none
    digest     text not null,
    sites      text[] not null,
    created    timestamptz not null,
    started    timestamptz,
    ended      timestamptz,
    -- Runs by state, kept by run_count.
    queued  int not null,
    running int not null default 0,
    paused  int not null default 0,
    waiting int not null default 0,
    away    int not null default 0,
    done    int not null default 0,
    aborted int not null default 0,
    failed  int not null default 0,
    check (queued >= 0 and running >= 0 and paused >= 0 and waiting >= 0
       and away >= 0 and done >= 0 and aborted >= 0 and failed >= 0)
);
create unique index operation_key on operation (actor, key) where key <> '';
create index operation_state on operation (state, id desc);
create index operation_actor on operation (actor, id desc);
create trigger operation_state_check before insert or update of state on operation
    for each row execute function state_check();

create table approval (
    operation text not null references operation,
    plan_hash text not null,
    actor     text not null,
    kind      text not null check (kind in ('request', 'person')), -- request: asking was the approval
    at        timestamptz not null,
    primary key (operation, actor)
);

-- Runs: one asset's part of an operation, with its part of the plan.
create table run (
    operation text not null references operation,
    asset     bigint not null check (asset > 0),
    ordinal   int  not null,
    name      text not null,
    serial    text not null,
    site      text not null,
    rack      text not null,
    profile   text not null,
    target    jsonb not null,
    state     text not null default 'queued',
    run_id    text not null default '', -- the workflow run that claimed it
    step      text not null default '',
    seq       bigint not null default 0,
    error     jsonb,
    left_over text[] not null default '{}',
    started   timestamptz,
    updated   timestamptz,
    ended     timestamptz,
    primary key (operation, asset)
);
-- The lock: of all runs of an asset at most one has not ended.
create unique index run_lock on run (asset) where state not in ('done', 'aborted', 'failed');
create index run_asset on run (asset, operation desc);
create index run_site on run (site, operation desc);
create trigger run_state_check before insert or update of state on run
    for each row execute function state_check();

-- An operation's counters and state follow from its runs. The rule is operation.Combine in Go.
create function run_count() returns trigger language plpgsql as $$
begin
    if new.state = old.state then
        return null;
    end if;
    update operation o set
        queued  = o.queued  + (new.state = 'queued')::int  - (old.state = 'queued')::int,
        running = o.running + (new.state = 'running')::int - (old.state = 'running')::int,
        paused  = o.paused  + (new.state = 'paused')::int  - (old.state = 'paused')::int,
        waiting = o.waiting + (new.state = 'waiting')::int - (old.state = 'waiting')::int,
        away    = o.away    + (new.state = 'waiting-for-site')::int - (old.state = 'waiting-for-site')::int,
        done    = o.done    + (new.state = 'done')::int    - (old.state = 'done')::int,
        aborted = o.aborted + (new.state = 'aborted')::int - (old.state = 'aborted')::int,
        failed  = o.failed  + (new.state = 'failed')::int  - (old.state = 'failed')::int
    where o.id = new.operation;
    update operation o set
        state   = s.state,
        started = coalesce(o.started, case when s.state not in ('queued', 'aborted', 'failed') then new.updated end),
        ended   = case when s.state in ('done', 'aborted', 'failed') then new.updated end
    from (select id, case
            when running + paused + waiting + away + done + aborted + failed = 0 then 'queued'
            when queued + running + paused + waiting + away = 0 then
                case when failed > 0 then 'failed' when aborted > 0 then 'aborted' else 'done' end
            when waiting > 0 then 'waiting'
            when away > 0 then 'waiting-for-site'
            when paused > 0 and running = 0 then 'paused'
            else 'running' end as state
          from operation where id = new.operation) s
    where o.id = s.id and o.state <> s.state;
    return null;
end $$;
create trigger run_count after update of state on run for each row execute function run_count();

create table step (
    operation   text not null,
    asset       bigint not null,
    name        text not null,
    ordinal     int  not null,
    kind        text not null,
    version     int  not null,
    title       text not null,
    unskippable boolean not null,
    state       text not null,
    attempt     int  not null default 0,
    round       int  not null default 0,
    progress    text,
    percent     int,
    error       jsonb,
    summary     text not null default '',
    started     timestamptz,
    ended       timestamptz,
    primary key (operation, asset, name),
    foreign key (operation, asset) references run
);
create index step_kind on step (kind, version);

-- Every attempt of a step, with how it ended.
create table step_attempt (
    operation text not null,
    asset     bigint not null,
    step      text not null,
    attempt   int  not null,
    state     text not null,
    rounds    int  not null,
    error     jsonb,
    summary   text not null,
    started   timestamptz not null,
    ended     timestamptz,
    primary key (operation, asset, step, attempt),
    foreign key (operation, asset, step) references step
);

-- What was really changed outside.
create table step_write (
    id           bigint generated always as identity primary key,
    operation    text not null,
    asset        bigint not null,
    step         text not null,
    attempt      int  not null,
    system       text not null,
    object       text not null,
    field        text not null,
    before_value text not null,
    after_value  text not null,
    at           timestamptz not null,
    foreign key (operation, asset, step) references step
);
create index step_write_run on step_write (operation, asset);

create table evidence_blob (
    sha256 text primary key,
    data   bytea not null
);
create table evidence (
    id        bigint generated always as identity primary key,
    operation text not null,
    asset     bigint not null,
    step      text not null,
    attempt   int  not null,
    kind      text not null,
    title     text not null,
    data      jsonb not null,
    digest    text not null, -- SHA-256 of the canonical JSON of data; the audit chain names it
    at        timestamptz not null,
    foreign key (operation, asset, step) references step
);
create index evidence_run on evidence (operation, asset);

-- What happened, append-only. Rows become visible out of the order of id; seq is given afterwards,
-- in one place at a time, so that a reader who saw n has seen all before it.
create table event (
    id        bigint generated always as identity primary key,
    seq       bigint unique,
    at        timestamptz not null,
    operation text not null references operation,
    asset     bigint not null,
    run_seq   bigint not null,
    site      text not null, -- empty: about the whole operation
    body      jsonb not null
);
create index event_unnumbered on event (id) where seq is null;
create index event_operation on event (operation, seq);

-- What is known of an asset's BMC: references and fingerprints, never secrets.
create table asset_known (
    asset     bigint primary key check (asset > 0),
    serial    text not null,
    pin       text not null,
    secret    text not null,
    quirks    text[] not null,
    operation text not null,
    updated   timestamptz not null
);

-- What is to be sent to Temporal, written with its cause, sent at least once.
create table outbox (
    id         bigint generated always as identity primary key,
    kind       text not null,
    key        text not null unique, -- makes sending twice harmless
    operation  text not null references operation,
    payload    jsonb not null,
    created    timestamptz not null,
    attempts   int not null default 0,
    next_at    timestamptz not null,
    last_error text not null default '',
    sent       timestamptz
);
create index outbox_due on outbox (next_at, id) where sent is null;
