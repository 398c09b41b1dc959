-- Large evidence is named by its row in a column of its own: data alone could look like a reference.
alter table evidence add column blob text;
update evidence e set blob = e.data ->> 'sha256'
where e.data ? 'sha256' and e.data ? 'size' and exists (select from evidence_blob b where b.sha256 = e.data ->> 'sha256');
create index evidence_blob_rows on evidence (blob) where blob is not null;

-- The whole is paused: its workflow starts no queued run, whatever the runs that live are doing.
alter table operation add column held boolean not null default false;

-- Two sites may name their workers alike.
alter table heartbeat drop constraint heartbeat_pkey;
alter table heartbeat add primary key (site, worker);

-- Whether a use of a password stands in the audit log already, and what one actor did.
create index audit_secret on audit (operation, asset) where action = 'secret.read';
create index audit_actor on audit (actor, id);
