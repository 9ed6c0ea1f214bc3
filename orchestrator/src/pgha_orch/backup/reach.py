"""Whether a target can be reached, and from which backup: asked before anything stops."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pgha_orch.backup import timeline, walsearch
from pgha_orch.backup.journal import Restored
from pgha_orch.backup.repository import look
from pgha_orch.backup.target import Target, lsn_bytes
from pgha_orch.backup.timeline import Timelines
from pgha_orch.cluster import Cluster
from pgha_orch.deploy import backup as stage
from pgha_orch.deploy.boot import leader_name
from pgha_orch.deploy.database import psql
from pgha_orch.errors import OrchError, UsageError
from pgha_orch.health.backup import BackupSet, Repository

CHECK_TIMEOUT_S = 120.0
SEGMENTS_READ = 64  # how far back the last commit is looked for: 1 GiB of WAL
# Committed on the leader alone, so that it also ends while no standby confirms.
_MARK = "SET synchronous_commit = 'local'; SELECT txid_current(), clock_timestamp(), pg_current_wal_insert_lsn();"


@dataclass(frozen=True)
class End:
    """How far the archive goes. `at` is the last commit's time, None when none was found; `lsn` a byte position."""

    at: datetime | None
    lsn: int | None
    how: str


@dataclass(frozen=True)
class Route:
    """A way to a target: the backup to restore and the timeline to follow."""

    target: Target
    backup: BackupSet
    timeline: int
    end: End


def route(
    cluster: Cluster,
    target: Target,
    label: str | None,
    history: tuple[Restored, ...] = (),
    wanted_timeline: int | None = None,
) -> Route:
    """The way to `target`. Raises UsageError, with what can be reached, when there is none.

    While a leader runs, one small commit and a switch of the WAL segment bring the archive up to now.
    """
    repository = look(cluster)
    if repository.archive_id is None or not repository.backups:
        raise UsageError("no backup to restore", hint="pgha-orch backup run takes one; deploy makes the stanza")
    chosen = labelled(repository, label) if label is not None else None
    end = _end_of_leader(cluster, target)
    repository = look(cluster)
    lines = timeline.read(cluster, repository.archive_id or "", repository.wal_max)
    line = wanted_timeline or _timeline_of(target, history) or lines.newest
    if line > lines.newest or line < 1:
        raise UsageError(f"--timeline {line}: the archive has timelines up to {lines.newest}")
    paths = _newest_first(cluster, repository.archive_id or "", line, lines)
    end = end or _end_of_archive(cluster, paths)
    target = _locate(cluster, target, paths)
    backup = choose(repository, lines, line, target, chosen)
    refuse_beyond(target, end)
    return Route(target, backup, line, end)


def labelled(repository: Repository, label: str) -> BackupSet:
    """The backup of that label; UsageError when there is none."""
    found = next((b for b in repository.backups if b.label == label), None)
    if found is None:
        labels = [b.label for b in repository.backups]
        near = difflib.get_close_matches(label, labels, n=1)
        raise UsageError(
            f"--backup {label}: there is no such backup",
            hint=f"did you mean {near[0]}?" if near else f"one of: {', '.join(labels[-5:])}",
        )
    return found


def choose(repository: Repository, lines: Timelines, line: int, target: Target, chosen: BackupSet | None) -> BackupSet:
    """The newest backup that ends before the target and leads onto the timeline; or the one asked for, if it does."""
    candidates = [chosen] if chosen is not None else list(reversed(repository.backups))
    reaching = [b for b in candidates if lines.reaches(b, line)]
    usable = [b for b in reaching if _is_before(b, target)]
    if usable:
        return usable[0]
    if not reaching:
        what = f"backup {chosen.label}" if chosen is not None else "no backup"
        hint = "pgha-orch backup list shows each one's timeline"
        raise UsageError(f"timeline {line}: {what} {'does not lead' if chosen else 'leads'} onto it", hint=hint)
    if chosen is not None:
        raise UsageError(
            f"{target}: backup {chosen.label} ended later, at {chosen.stopped:%Y-%m-%d %H:%M:%S} UTC",
            hint="leave --backup out: the newest one that fits is taken",
        )
    oldest = reaching[-1]
    raise UsageError(
        f"{target}: is before the first backup, {oldest.label}, which ended at {oldest.stopped:%Y-%m-%d %H:%M:%S} UTC"
        f" at LSN {oldest.lsn_stop}",
        hint="choose a later target: nothing before a backup's end can be restored from it",
    )


def _is_before(backup: BackupSet, target: Target) -> bool:
    if target.at is not None:
        # pgBackRest cuts the end of a backup down to the second.
        return backup.stopped + timedelta(seconds=1) <= target.at
    return target.lsn is None or lsn_bytes(backup.lsn_stop) <= target.lsn


def refuse_beyond(target: Target, end: End) -> None:
    """Raise UsageError for a target that the archived WAL does not get to."""
    if target.at is not None and (end.at is None or target.at > end.at):
        at = f"{end.at.isoformat(sep=' ')}" if end.at is not None else "unknown: no commit was found"
        raise UsageError(
            f"{target}: is after the last WAL; the last commit that can be restored is of {at} ({end.how})",
            hint="choose an earlier time, or --to latest",
        )
    if target.lsn is not None and (end.lsn is None or target.lsn > end.lsn):
        at = f"{end.lsn >> 32:X}/{end.lsn & 0xFFFFFFFF:X}" if end.lsn is not None else "unknown"
        raise UsageError(f"{target}: is after the last WAL, which ends at {at} ({end.how})", hint="or --to latest")


def _timeline_of(target: Target, history: tuple[Restored, ...]) -> int | None:
    """For a time that an earlier restore took back: the timeline on which the cluster was then."""
    for past in history:
        if target.at is not None and past.target_at is not None and past.target_at < target.at < past.began:
            return past.timeline_before
    return None


def _end_of_leader(cluster: Cluster, target: Target) -> End | None:
    """Commit something now and send it to the archive, when there is a leader."""
    try:
        leader = leader_name(cluster)
    except OrchError:
        return None
    rows = psql(cluster.machine(leader), _MARK)
    at, lsn = datetime.fromisoformat(rows[-1][1]).astimezone(UTC), lsn_bytes(rows[-1][2])
    if target.at is not None and target.at > at:
        now = at.isoformat(sep=" ")
        raise UsageError(f"{target}: is in the future; on {leader} it is {now}", hint="or --to latest")
    stage.command(cluster, "--log-level-console=error", "check", timeout_s=CHECK_TIMEOUT_S)
    return End(at, lsn, f"on {leader}, now in the archive")


def _end_of_archive(cluster: Cluster, paths: Sequence[str]) -> End:
    """Without a leader: read the newest segments of the archive, backwards, until one has a commit."""
    if not paths:
        return End(None, None, "the archive is empty")
    last = paths[0].rpartition("/")[2][:24]
    # A segment is 16 MiB, so its name gives the LSN of its end (PostgreSQL docs, WAL Internals).
    end = (int(last[8:16], 16) << 32) + ((int(last[16:24], 16) + 1) << 24)
    commit = walsearch.last_commit(cluster, paths[:SEGMENTS_READ])
    if commit is None:
        return End(None, end, f"no commit in the last {min(len(paths), SEGMENTS_READ)} segments")
    return End(commit.at, end, "read from the archive; no leader runs")


def _newest_first(cluster: Cluster, archive_id: str, line: int, lines: Timelines) -> list[str]:
    """Paths of all archived segments of a timeline and its ancestors."""
    return [
        path
        for one in sorted({line, *lines.ancestry.get(line, {})}, reverse=True)
        for path in reversed(timeline.segments(cluster, archive_id, one))
    ]


def _locate(cluster: Cluster, target: Target, paths: Sequence[str]) -> Target:
    """A restore point's LSN, so that the backup can be chosen; any other target as it is."""
    if target.kind != "name":
        return target
    lsn = walsearch.restore_point(cluster, paths, target.text)
    if lsn is None:
        raise UsageError(
            f"{target}: no such restore point in the archive", hint="pg_create_restore_point() makes one, beforehand"
        )
    return replace(target, lsn=lsn)
