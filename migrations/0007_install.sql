-- What is known of a machine besides its BMC: its network, the disks chosen, the system on them.
alter table asset_known add network jsonb, add disks jsonb, add installed jsonb;

-- Several steps of a run boot the machine, each in attempts of its own.
alter table boot_record add step text not null default '';
alter table boot_record alter step drop default;
alter table boot_record drop constraint boot_record_operation_asset_purpose_attempt_key;
alter table boot_record add unique (operation, asset, step, purpose, attempt);
