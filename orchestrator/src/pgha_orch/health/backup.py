"""pgBackRest's own account of the repository: `pgbackrest info --output=json`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pgha_orch.errors import OperationError
from pgha_orch.machines import Machine

INFO_TIMEOUT_S = 30.0


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Times(_Lenient):
    start: int
    stop: int


class _Repository(_Lenient):
    size: int | None = None
    delta: int | None = None


class _Info(_Lenient):
    size: int
    repository: _Repository = _Repository()


class _Range(_Lenient):
    start: str | None = None
    stop: str | None = None


class _Backup(_Lenient):
    label: str
    type: str
    error: bool | None = None
    timestamp: _Times
    info: _Info
    archive: _Range = _Range()
    lsn: _Range = _Range()


class _Running(_Lenient):
    held: bool = False
    size: int | None = None
    size_done: int | None = Field(None, alias="size-cplt")


class _Locks(_Lenient):
    backup: _Running = _Running()


class _StatusText(_Lenient):
    code: int
    message: str = ""
    lock: _Locks = _Locks()


class _Archive(_Lenient):
    id: str
    min: str | None = None
    max: str | None = None


class _Stanza(_Lenient):
    name: str
    status: _StatusText
    backup: list[_Backup] = []
    archive: list[_Archive] = []


_STANZAS = TypeAdapter(list[_Stanza])


@dataclass(frozen=True)
class BackupSet:
    """One backup in the repository. `kind` is full, diff or incr; sizes in bytes.

    `wal_start` and `wal_stop` are the first and last WAL segment that make it consistent, 24 hex digits.
    `repository_bytes` is what this backup added to the repository. `error`: it holds pages with a bad checksum.
    """

    label: str
    kind: str
    started: datetime
    stopped: datetime
    database_bytes: int
    repository_bytes: int
    error: bool
    wal_start: str
    wal_stop: str
    lsn_stop: str

    @property
    def timeline(self) -> int:
        """The timeline that it ended on."""
        return int(self.wal_stop[:8], 16) if self.wal_stop else 0


@dataclass(frozen=True)
class Running:
    """A backup that runs now; bytes of the database, 0 when pgBackRest does not say."""

    done_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Repository:
    """A stanza as pgBackRest sees it; `status_code` 0 is ok, others are in its command reference under `info`."""

    status_code: int
    status: str
    backups: tuple[BackupSet, ...] = ()
    wal_min: str | None = None
    wal_max: str | None = None
    archive_id: str | None = None
    running: Running | None = None

    @property
    def newest(self) -> BackupSet | None:
        return self.backups[-1] if self.backups else None


def info(machine: Machine, stanza: str, *, user: str) -> Repository:
    """Ask pgBackRest on `machine`, as `user`. Raises OperationError when it cannot tell."""
    done = machine.exec(
        [
            "runuser",
            "-u",
            user,
            "--",
            "pgbackrest",
            f"--stanza={stanza}",
            "--log-level-console=error",
            "info",
            "--output=json",
        ],
        timeout_s=INFO_TIMEOUT_S,
    )
    try:
        stanzas = _STANZAS.validate_json(done.stdout)
    except ValidationError as exc:
        raise OperationError(f"{machine.name}: pgbackrest info: not the JSON it documents") from exc
    found = next((s for s in stanzas if s.name == stanza), None)
    if found is None:
        return Repository(1, "missing stanza")
    return Repository(
        found.status.code,
        found.status.message or "ok",
        tuple(_backup(b) for b in found.backup),
        min((a.min for a in found.archive if a.min), default=None),
        max((a.max for a in found.archive if a.max), default=None),
        found.archive[-1].id if found.archive else None,
        _running(found.status.lock.backup),
    )


def _running(raw: _Running) -> Running | None:
    return Running(raw.size_done or 0, raw.size or 0) if raw.held else None


def _backup(raw: _Backup) -> BackupSet:
    return BackupSet(
        raw.label,
        raw.type,
        datetime.fromtimestamp(raw.timestamp.start, UTC),
        datetime.fromtimestamp(raw.timestamp.stop, UTC),
        raw.info.size,
        raw.info.repository.delta or raw.info.repository.size or 0,
        bool(raw.error),
        raw.archive.start or "",
        raw.archive.stop or "",
        raw.lsn.stop or "0/0",
    )
