-- A trigger before an insert fires for a row that ends as an update by "on conflict" too, and so noted
-- a move that never was. The moves are noted after the row is really there.
create or replace function asset_status_check() returns trigger language plpgsql as $$
begin
    if new.status <> old.status and new.cause = 'moved' and not exists (
        select from lifecycle_move where from_status = old.status and to_status = new.status) then
        raise exception 'asset % cannot go from % to %', new.asset, old.status, new.status
            using errcode = 'CG001';
    end if;
    return new;
end $$;
drop trigger asset_status_check on asset_status;
create trigger asset_status_check before update on asset_status
    for each row execute function asset_status_check();

create function asset_status_moved() returns trigger language plpgsql as $$
declare
    was text := '';
begin
    if tg_op = 'UPDATE' then
        was := old.status;
        if was = new.status then
            return null;
        end if;
    end if;
    insert into asset_move (asset, from_status, to_status, cause, operation, at)
        values (new.asset, was, new.status, new.cause, new.operation, new.at);
    return null;
end $$;
create trigger asset_status_moved after insert or update on asset_status
    for each row execute function asset_status_moved();

delete from asset_move m where m.from_status = '' and exists (
    select from asset_move before where before.asset = m.asset and before.id < m.id);
