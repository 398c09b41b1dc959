-- What machines boot for. Only the SHA-256 of a token stands here.
create table boot_record (
    id        bigint generated always as identity primary key,
    operation text not null,
    asset     bigint not null,
    purpose   text not null check (purpose in ('agent', 'install')),
    attempt   int not null check (attempt > 0),
    macs      text[] not null check (cardinality(macs) > 0),
    serial    text not null,
    uuid      text not null,
    machine   jsonb not null,
    stages    text[] not null default '{}', -- seen, in the order in which they came first
    opened    timestamptz not null,
    expires   timestamptz not null,
    revoked   timestamptz,
    claimed   jsonb, -- the identity of the machine whose agent took it; null: none
    unique (operation, asset, purpose, attempt),
    foreign key (operation, asset) references run
);
-- An asset boots for one thing at a time.
create unique index boot_open on boot_record (asset) where revoked is null;
create index boot_mac on boot_record using gin (macs) where revoked is null;

create table boot_token (
    sum  bytea primary key check (length(sum) = 32),
    boot bigint not null references boot_record,
    at   timestamptz not null
);
create index boot_token_of on boot_token (boot);

-- What machines told, once each; the outbox tells the runs.
create table boot_event (
    id     bigint generated always as identity primary key, -- operation.Reached.Sequence
    boot   bigint not null references boot_record,
    stage  text not null,
    digest text not null,
    body   bytea not null,
    sender text not null,
    at     timestamptz not null,
    unique (boot, digest)
);

create table agent_command (
    id       text primary key,
    boot     bigint not null references boot_record,
    ordinal  bigint generated always as identity,
    kind     text not null,
    args     jsonb,
    state    text not null default 'queued' check (state in ('queued', 'running', 'done', 'failed')),
    progress text,
    percent  int,
    result   jsonb,
    error    text not null default '',
    queued   timestamptz not null,
    started  timestamptz,
    ended    timestamptz
);
create index agent_command_next on agent_command (boot, ordinal) where state in ('queued', 'running');
