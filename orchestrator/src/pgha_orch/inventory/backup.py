"""The `backup` section: where backups go, when they are made, how they are proven."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from pgha_orch.inventory.fields import Strict


class S3(Strict):
    bucket: str
    """Name of the bucket."""
    endpoint: str
    """Host name of the store, with a port if it is not 443, without https://."""
    region: str
    """Region of the bucket."""
    path: str = "/pgbackrest"
    """Directory in the bucket that holds the repository."""
    uri_style: Literal["host", "path"] = "host"
    """Where the bucket's name goes: `host` (bucket.endpoint) or `path` (endpoint/bucket)."""
    verify_tls: bool = True
    """Check the store's certificate."""


class Repository(Strict):
    """Where backups go: the `backup` role's host (default), or S3."""

    s3: S3 | None = None
    """An S3 bucket in place of a backup host; its keys are no part of the inventory."""
    cipher: Literal["none", "aes-256-cbc"] = "none"
    """Encryption of the repository; the key is generated and kept in the state directory."""


class Retention(Strict):
    full: Annotated[int, Field(ge=1, le=9_999_999)] = 2
    """Full backups to keep; with them the WAL to restore to any time since the oldest."""
    differential: Annotated[int, Field(ge=1, le=9_999_999)] | None = None
    """Differential backups to keep; without it, as many as the full ones have."""


class Schedule(Strict):
    """systemd OnCalendar expressions, in UTC (systemd.time(7)); None: never."""

    full: str | None = "Sun *-*-* 01:00:00"
    """When full backups start."""
    differential: str | None = "Mon..Sat *-*-* 01:00:00"
    """When differential backups (changes since the full one) start."""
    incremental: str | None = None
    """When incremental backups (changes since any one) start."""


# database.schema.table, of names that PostgreSQL needs no quoting for.
TableName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62}){2}$")]


class Prove(Strict):
    """Proofs that a backup can be restored: restored beside everything else, started, read in full."""

    schedule: str | None = None
    """When a restore is proven (systemd OnCalendar, UTC); null: only by `pgha-orch backup prove`."""
    tables: tuple[TableName, ...] = ()
    """Tables whose rows a proof counts and records, as database.schema.table."""


class BackupAlarm(Strict):
    """When `pgha-orch status` warns."""

    backup_hours: Annotated[int, Field(ge=1, le=8784)] = 36
    """Hours that the newest backup may be old."""
    proof_days: Annotated[int, Field(ge=1, le=366)] = 35
    """Days that the newest proven restore may be old."""


class Backup(Strict):
    repository: Repository = Repository()
    """Where backups go."""
    retention: Retention = Retention()
    """How many backups are kept."""
    schedule: Schedule = Schedule()
    """When backups are made."""
    compress: Literal["none", "gz", "lz4", "zst"] = "lz4"
    """Compression of backups and archived WAL."""
    process_max: Annotated[int, Field(ge=1, le=64)] = 2
    """Processes that compress and copy at once."""
    wal_queue_mib: Annotated[int, Field(ge=64, le=16_777_216)] = 8192
    """MiB of WAL that the leader keeps while the repository is down; beyond it the WAL archive gets a gap rather
    than the database a full disk, and a new backup is due."""
    prove: Prove = Prove()
    """When and how restores are proven."""
    alarm: BackupAlarm = BackupAlarm()
    """How old backups and proofs may be."""
