"""What `status` says of backups: the repository, the WAL archive, the schedule, the proofs; and what is wrong.

A problem makes the cluster unhealthy; a warning does not.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import Field

from pgha_orch.cluster import Cluster
from pgha_orch.errors import OperationError
from pgha_orch.health import backup, patroni, proof
from pgha_orch.health.backup import Repository
from pgha_orch.health.rows import Problem, Row
from pgha_orch.identity import ports
from pgha_orch.inventory.backup import Backup
from pgha_orch.inventory.model import Role
from pgha_orch.machines import Machine, MachineState

SQL_TIMEOUT_S = 8.0
SEGMENT_BYTES = 16 * 2**20
# A repository disk this full is an alarm while there is still time.
DISK_FULL_PERCENT = 85
# WAL that waits for longer than this is no longer a burst: archive_timeout is 60 s.
WAITING = 4
_ARCHIVER = r"""
SELECT (SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name ~ '^[0-9A-F]{24}\.ready$'),
       coalesce(extract(epoch FROM last_archived_time)::bigint, 0),
       coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false),
       CASE WHEN last_failed_time > coalesce(last_archived_time, '-infinity') THEN last_failed_wal ELSE '' END
FROM pg_stat_archiver;
"""
# Whether a segment in pg_wal has never been written to. A promotion that was broken off leaves such a one behind, on a
# timeline that nobody follows. A later primary hands it to the archiver, as every old segment without a status
# (XLogArchiveCheckDone), and pgBackRest refuses it for ever: [029] first page header ... in long format.
_EMPTY = """
SELECT size = 16777216 AND NOT EXISTS (
  SELECT FROM generate_series(0, 15) AS mib
  WHERE pg_read_binary_file('pg_wal/{segment}', mib * 1048576, 1048576) <> decode(repeat('00', 1048576), 'hex'))
FROM pg_stat_file('pg_wal/{segment}', true);
"""
# Until the next backup, WAL that was dropped cannot be restored (pgBackRest docs, archive-push-queue-max).
_DROPPED = "grep -h 'dropped WAL file' /var/lib/pgha/log/pgbackrest/*archive-push* 2> /dev/null | tail -n 1"


class ArchiveRow(Row):
    """The way of WAL from the leader to the repository."""

    leader: str
    failing: bool = Field(description="Whether the last attempt to archive a segment failed")
    waiting_bytes: int = Field(description="WAL that the leader keeps because it is not archived yet")
    bound_bytes: int = Field(description="Beyond this much the archive gets a gap (backup.wal_queue_mib)")
    last_archived_at: datetime | None
    empty_segment: str = Field("", description="A segment without any WAL that the archive refuses; empty: none")
    dropped_at: datetime | None = Field(description="When WAL was last given up for the bound; None: never")


class BackupRow(Row):
    where: str
    status: str
    newest: str | None = Field(description="Label of the newest backup")
    newest_kind: Literal["full", "diff", "incr"] | None
    newest_at: datetime | None
    backups: int
    error: str
    disk_used_percent: int | None = Field(None, description="Of the repository's disk; None with S3 or when not known")
    proven_at: datetime | None = Field(None, description="When a restore was last proven; None: never")
    proof_error: str = Field("", description="Why the newest proof failed; empty when it did not")
    failed_runs: tuple[str, ...] = Field((), description="Scheduled backups whose last run failed")
    archive: ArchiveRow | None = None


def observe(cluster: Cluster) -> BackupRow | None:
    """Look once; what cannot be asked is in `error`. None when the inventory has no backups."""
    settings = cluster.inventory.backup
    if settings is None:
        return None
    hosts = list(cluster.addresses(Role.BACKUP))
    # With S3 every PostgreSQL node sees the repository alike.
    name, user = (hosts[0], "pgbackrest") if hosts else (cluster.inventory.bootstrap_host, "postgres")
    found, error = Repository(-1, "unknown"), ""
    try:
        found = backup.info(cluster.machine(name), cluster.inventory.cluster, user=user)
        error = "" if found.status_code == 0 else found.status
    except OperationError as exc:
        error = exc.message
    newest = found.newest
    proven = proof.proofs(cluster.machine(cluster.inventory.proof_host or name))
    good = [p for p in proven if p.ok]
    return BackupRow(
        where=name,
        status=found.status,
        newest=newest.label if newest else None,
        newest_kind=newest.kind if newest else None,
        newest_at=newest.stopped if newest else None,
        backups=len(found.backups),
        error=error,
        disk_used_percent=_disk(cluster.machine(name)) if hosts else None,
        proven_at=good[-1].at if good else None,
        proof_error=proven[-1].error if proven and not proven[-1].ok else "",
        failed_runs=_failed_runs(cluster, hosts, found),
        archive=_archive(cluster, settings),
    )


def problems(row: BackupRow, settings: Backup, down: set[str], now: datetime) -> tuple[list[Problem], list[Problem]]:
    """Problems and warnings, in that order."""
    bad: list[Problem] = []
    warn: list[Problem] = []

    def say(to: list[Problem], where: str, what: str, then: str) -> None:
        to.append(Problem(where=where, what=what, next=then))

    if row.error and row.where not in down:
        say(bad, row.where, f"backups: {row.error}", "pgha-orch deploy makes the stanza and the first backup")
    if row.disk_used_percent is not None and row.disk_used_percent >= DISK_FULL_PERCENT:
        what = f"the repository's disk is {row.disk_used_percent} % full; the database goes on without it"
        say(bad, row.where, what, "enlarge it, or keep fewer backups (backup.retention)")
    for run in row.failed_runs:
        say(bad, row.where, f"scheduled backup failed: {run}", "pgha-orch logs of it; backup run takes one now")
    if row.proof_error:
        say(bad, row.where, f"the newest proof of a restore failed: {row.proof_error}", "pgha-orch backup check")
    if row.archive is not None:
        bad += _archive_problems(row.archive, row)
    if row.newest_at is not None and now - row.newest_at > timedelta(hours=settings.alarm.backup_hours):
        what = f"the newest backup is {_age(now - row.newest_at)} old (alarm: {settings.alarm.backup_hours} h)"
        say(warn, row.where, what, "pgha-orch backup run")
    limit = timedelta(days=settings.alarm.proof_days)
    if row.proven_at is not None and now - row.proven_at > limit:
        what = f"the last proven restore is {_age(now - row.proven_at)} old (alarm: {settings.alarm.proof_days} days)"
        say(warn, row.where, what, "pgha-orch backup prove")
    elif row.proven_at is None and row.newest_at is not None and row.where not in down:
        say(warn, row.where, "no restore was ever proven", "pgha-orch backup prove; backup.prove.schedule repeats it")
    return bad, warn


def _archive_problems(archive: ArchiveRow, row: BackupRow) -> list[Problem]:
    bad = []
    waiting = f"{archive.waiting_bytes / 2**20:.0f} of at most {archive.bound_bytes / 2**20:.0f} MiB of WAL wait"
    if archive.empty_segment:
        status = f"{ports.PGDATA}/pg_wal/archive_status/{archive.empty_segment}"
        bad.append(
            Problem(
                where=archive.leader,
                what=f"segment {archive.empty_segment} holds no WAL, and the archive refuses it: {waiting} behind it",
                next=f"pgha-orch exec HOSTS_YML {archive.leader} mv {status}.ready {status}.done;"
                " then pgha-orch backup run --type full",
            )
        )
    elif archive.waiting_bytes and (archive.failing or archive.waiting_bytes >= WAITING * SEGMENT_BYTES):
        bad.append(
            Problem(
                where=archive.leader,
                what=f"WAL does not reach the repository: {waiting} for it; writes go on",
                next=f"look at {row.where}: it catches up by itself; beyond the bound the archive gets a gap",
            )
        )
    if archive.dropped_at is not None and (row.newest_at is None or archive.dropped_at > row.newest_at):
        bad.append(
            Problem(
                where=archive.leader,
                what=f"WAL was given up at {archive.dropped_at:%Y-%m-%d %H:%M:%S} UTC, over the bound of"
                f" {archive.bound_bytes / 2**20:.0f} MiB: no restore to a time between the newest backup and the next",
                next="pgha-orch backup run --type full",
            )
        )
    return bad


def _failed_runs(cluster: Cluster, hosts: list[str], found: Repository) -> tuple[str, ...]:
    """Runs that failed and that no later backup has made good."""
    failed = []
    for name in hosts or cluster.addresses(Role.POSTGRES):
        for run in proof.last_runs(cluster.machine(name)):
            later = [b for b in found.backups if b.stopped > run.ended and (run.kind != "full" or b.kind == "full")]
            if not run.ok and not later:
                failed.append(f"{run.kind} at {run.ended:%Y-%m-%d %H:%M:%S} UTC on {name}: {run.result}")
    return tuple(failed)


def _disk(machine: Machine) -> int | None:
    try:
        shown = machine.exec(["df", "--output=pcent", "/var/lib/pgha/pgbackrest/repo"], timeout_s=SQL_TIMEOUT_S).stdout
        return int(shown.split()[-1].rstrip("%"))
    except (OperationError, ValueError, IndexError):
        return None


def _archive(cluster: Cluster, settings: Backup) -> ArchiveRow | None:
    """Ask the leader; None when there is none or it does not answer."""
    try:
        leader = patroni.Rest(cluster.addresses(Role.POSTGRES), cluster.tls).cluster().leader
        if leader is None or cluster.machine(leader.name).state() is not MachineState.RUNNING:
            return None
        machine = cluster.machine(leader.name)
        row = _ask(machine, _ARCHIVER).split()
        dropped = max((_dropped(cluster.machine(name)) for name in cluster.addresses(Role.POSTGRES)), default="")
        return ArchiveRow(
            leader=leader.name,
            failing=row[2] == "t",
            waiting_bytes=int(row[0]) * SEGMENT_BYTES,
            bound_bytes=settings.wal_queue_mib * 2**20,
            last_archived_at=datetime.fromtimestamp(int(row[1]), UTC) if int(row[1]) else None,
            empty_segment=row[3] if len(row) > 3 and _is_empty(machine, row[3]) else "",
            dropped_at=datetime.fromisoformat(dropped).replace(tzinfo=UTC) if dropped else None,
        )
    except (OperationError, ValueError, IndexError):
        return None


def _ask(machine: Machine, query: str) -> str:
    """The only row, its values separated by a blank."""
    psql = ["runuser", "-u", "postgres", "--", "psql", "-XAtq", "-F", " ", "-d", "postgres", "-c", query]
    return machine.exec(psql, timeout_s=SQL_TIMEOUT_S).stdout.strip()


def _is_empty(machine: Machine, file: str) -> bool:
    return bool(re.fullmatch("[0-9A-F]{24}", file)) and _ask(machine, _EMPTY.format(segment=file)) == "t"


def _dropped(machine: Machine) -> str:
    """When this machine, as the leader, last gave WAL up, in pgBackRest's own words; "" for never."""
    if machine.state() is not MachineState.RUNNING:
        return ""
    return " ".join(machine.exec(["sh", "-c", _DROPPED], timeout_s=SQL_TIMEOUT_S).stdout.split()[:2])


def _age(delta: timedelta) -> str:
    hours = delta.total_seconds() / 3600
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} h"
