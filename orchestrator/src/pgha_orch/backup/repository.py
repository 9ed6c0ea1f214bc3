"""Backups on request, with progress, and the check of everything in the repository."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pgha_orch.cluster import Cluster
from pgha_orch.deploy import backup as stage
from pgha_orch.errors import OperationError
from pgha_orch.health import backup
from pgha_orch.health.backup import BackupSet, Repository
from pgha_orch.progress import Reporter, Step, step

Kind = Literal["full", "diff", "incr"]
BACKUP_TIMEOUT_S = 7 * 24 * 3600.0
CHECK_TIMEOUT_S = 120.0
PROGRESS_S = 2.0
# What `pgbackrest verify --output=text` counts per archive and per backup, when it is not 0.
_BAD = re.compile(r"(missing|checksum invalid|size invalid|other): ([1-9]\d*)")


@dataclass(frozen=True)
class Finding:
    """Something that `check` found wrong, in words, and the next step."""

    where: str
    what: str
    next: str = "pgha-orch backup run --type full, then look at the disk below the repository"


@dataclass(frozen=True)
class Checked:
    """What `check` looked at. `report` is pgBackRest's own, of every file in the repository; "" when left out."""

    archiving_seconds: float
    verified: bool
    report: str
    findings: tuple[Finding, ...]


def look(cluster: Cluster) -> Repository:
    """The repository as its runner sees it now."""
    machine, user = stage.runner(cluster)
    return backup.info(machine, cluster.inventory.cluster, user=user)


def run(cluster: Cluster, kind: Kind, reporter: Reporter) -> BackupSet:
    """Take a backup; the set that it made. pgBackRest makes it a full one when there is none to build on."""
    before = look(cluster).newest
    with step(f"{kind} backup", reporter) as current:
        with _progress(cluster, current):
            stage.command(cluster, "--log-level-console=error", f"--type={kind}", "backup", timeout_s=BACKUP_TIMEOUT_S)
        made = look(cluster).newest
        if made is None or (before is not None and made.label == before.label):
            raise OperationError(f"pgbackrest {kind} backup ended well, yet info shows no new backup")
        seconds = (made.stopped - made.started).total_seconds()
        current.note = (
            f"{made.label}: {mib(made.database_bytes)} of database,"
            f" {mib(made.repository_bytes)} added to the repository, {seconds:.0f} s"
        )
    return made


def check(cluster: Cluster, reporter: Reporter, *, verify: bool = True) -> Checked:
    """Send a WAL segment to the archive and see it arrive; then, with `verify`, read every file of the repository.

    What is wrong with the repository is a finding; OperationError only when pgBackRest cannot be run.
    """
    findings: list[Finding] = []
    begun = datetime.now(UTC)
    with step("WAL archive", reporter) as current:
        try:
            stage.command(cluster, "--log-level-console=error", "check", timeout_s=CHECK_TIMEOUT_S)
            current.note = "a new segment arrived"
        except OperationError as exc:
            findings.append(Finding("archive", exc.message, exc.hint or "pgha-orch status"))
            current.note = exc.message
    seconds = (datetime.now(UTC) - begun).total_seconds()
    report = ""
    if verify:
        with step("every file in the repository", reporter) as current:
            report, bad = _verify(cluster)
            findings += bad
            current.note = "; ".join(f.what for f in bad) or "all read, all as recorded"
    return Checked(seconds, verify, report, tuple(findings))


def mib(count: int) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _verify(cluster: Cluster) -> tuple[str, list[Finding]]:
    """`pgbackrest verify`: its report, and what is wrong. Its exit code is 0 even for damage that it reports."""
    done = stage.command(
        cluster,
        "--log-level-console=off",
        "--log-level-stderr=error",
        "--output=text",
        "--verbose",
        "verify",
        timeout_s=BACKUP_TIMEOUT_S,
    )
    report = done.stdout.strip()
    findings, subject = [], "repository"
    for line in report.splitlines():
        named = re.match(r"\s*(archiveId: \S+|backup: \S+)", line)
        subject = named.group(1).rstrip(",") if named else subject
        if counts := _BAD.findall(line):
            text = ", ".join(f"{number} {what}" for what, number in counts)
            findings.append(Finding(subject, f"{subject}: {text}"))
    findings += [Finding("repository", line.strip()) for line in done.stderr.splitlines() if "ERROR" in line]
    if not findings and "status: ok" not in report:
        findings.append(Finding("repository", f"verify does not say ok: {report[:300] or 'nothing'}"))
    return report, findings


class _progress:
    """Observe a running backup from another thread, as info's lock tells of it, while the block runs."""

    def __init__(self, cluster: Cluster, current: Step) -> None:
        self._cluster = cluster
        self._current = current
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> None:
        self._pool.submit(self._watch)

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._pool.shutdown(wait=False)

    def _watch(self) -> None:
        while not self._ended.wait(PROGRESS_S):
            try:
                running = look(self._cluster).running
            except OperationError as exc:
                self._current.saw(exc.message)
                continue
            if running is not None and running.total_bytes:
                self._current.saw(f"{mib(running.done_bytes)} of {mib(running.total_bytes)}")
