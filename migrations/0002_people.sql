create table token (
    id        text primary key,
    sum       bytea not null unique check (length(sum) = 32), -- SHA-256 of the secret
    person    text not null,
    role      text not null,
    sites     text[] not null,
    created   timestamptz not null,
    by_actor  text not null,
    expires   timestamptz,
    last_used timestamptz,
    revoked   timestamptz
);

create table heartbeat (
    worker text primary key,
    site   text not null,
    at     timestamptz not null,
    body   jsonb not null
);

create table firmware_file (
    sha256   text primary key check (sha256 ~ '^[0-9a-f]{64}$'),
    name     text not null,
    size     bigint not null check (size >= 0),
    added    timestamptz not null,
    by_actor text not null
);

-- Passwords, each sealed with AES-256-GCM by a key that the database never sees (internal/secret).
create table secret (
    ref     text primary key,
    key_id  text not null,
    sealed  bytea not null,
    version bigint not null,
    updated timestamptz not null
);
