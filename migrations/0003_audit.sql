-- The audit chain. Rows come unchained, in the transaction of what they record; one sealer gives
-- them seq and hash, where hash = SHA-256(prev || canonical row). The head is signed and kept
-- outside of the database, so that a cut tail is seen.
create table audit (
    id        bigint generated always as identity primary key,
    at        timestamptz not null,
    actor     text not null,
    action    text not null,
    subject   text not null,
    operation text not null,
    asset     bigint not null,
    request   text not null,
    detail    text not null,
    seq       bigint unique,
    prev      bytea,
    hash      bytea,
    check ((seq is null) = (hash is null) and (seq is null) = (prev is null))
);
create index audit_unsealed on audit (id) where seq is null;
create index audit_operation on audit (operation, id) where operation <> '';

create function audit_guard() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and old.seq is null and new.seq is not null
       and (new.id, new.at, new.actor, new.action, new.subject, new.operation, new.asset, new.request, new.detail)
         = (old.id, old.at, old.actor, old.action, old.subject, old.operation, old.asset, old.request, old.detail) then
        return new;
    end if;
    raise exception 'the audit log is append-only: % refused', tg_op using errcode = 'CG003';
end $$;
create trigger audit_guard before update or delete on audit
    for each row execute function audit_guard();
create trigger audit_guard_truncate before truncate on audit
    for each statement execute function audit_guard();
