"""What is looked up after a run: rows, timelines, checksums, the archive."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from pgha_orch.cluster import PROBE, Cluster
from pgha_orch.deploy import backup
from pgha_orch.deploy.database import psql
from pgha_orch.drills import clients
from pgha_orch.drills.history import SEGMENT_BYTES, History
from pgha_orch.drills.invariants import Archive, Found, Integrity
from pgha_orch.drills.ledger import Book
from pgha_orch.errors import OperationError
from pgha_orch.health.patroni import Rest
from pgha_orch.inventory.model import Role
from pgha_orch.machines import Machine

CHECK_TIMEOUT_S = 90.0
AMCHECK_TIMEOUT_S = 120.0
_TIMELINE = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver),"
    " (pg_control_checkpoint()).timeline_id)"
    " ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END;"
)
_HISTORY = "SELECT pg_read_file('pg_wal/{name}.history', true);"
_FAILURES = "SELECT coalesce(sum(checksum_failures), 0) FROM pg_stat_database;"
_SEGMENT_DIGITS = 24


def gather(cluster: Cluster, book: Book, run: str, streaming_s: float | None, *, deep: bool) -> Found:
    """All that the invariants need. `deep` adds I6 and I7, which take seconds."""
    nodes = {name: cluster.machine(name) for name in cluster.addresses(Role.POSTGRES)}
    rows = clients.rows(cluster, run)
    with ThreadPoolExecutor(max_workers=8) as pool:
        histories = dict(zip(nodes, pool.map(history, nodes.values()), strict=True))
        integrity = pool.submit(_integrity, cluster, nodes) if deep else None
        archive = pool.submit(_archive, cluster, book) if deep and cluster.inventory.backup is not None else None
        return Found(
            rows,
            {name: h for name, h in histories.items() if h is not None},
            streaming_s,
            archive.result() if archive else None,
            integrity.result() if integrity else None,
        )


def history(machine: Machine) -> History | None:
    """A node's timeline and ancestry; None when it cannot be asked."""
    try:
        timeline = int(psql(machine, _TIMELINE)[0][0])
        if timeline == 1:
            return History(1)
        done = machine.exec(
            ["runuser", "-u", "postgres", "--", "psql", "-XAtq", "-c", _HISTORY.format(name=f"{timeline:08X}")],
            timeout_s=30,
        )
    except (OperationError, IndexError, ValueError):
        return None
    # A replica need not keep the file; the leader always has it.
    return History.parse(timeline, done.stdout) if done.stdout.strip() else None


def _integrity(cluster: Cluster, nodes: dict[str, Machine]) -> Integrity:
    leader = Rest(cluster.addresses(Role.POSTGRES), cluster.tls).cluster().leader
    if leader is not None:
        psql(nodes[leader.name], "CREATE EXTENSION IF NOT EXISTS amcheck;", dbname=PROBE)
    failures, said = {}, {}
    for name, machine in nodes.items():
        failures[name] = int(psql(machine, _FAILURES)[0][0])
        command = 'runuser -u postgres -- "$PATRONI_POSTGRESQL_BIN_DIR/pg_amcheck" -d "$0" --heapallindexed'
        done = machine.exec(["sh", "-c", _BIN_DIR + command, PROBE], timeout_s=AMCHECK_TIMEOUT_S, check=False)
        lines = (done.stderr or done.stdout).strip().splitlines()
        said[name] = (lines[-1] if lines else f"exit code {done.returncode}") if done.returncode else ""
    return Integrity(failures, said)


# The image's own account of where PostgreSQL's programs are.
_BIN_DIR = 'eval "$(systemctl show --property=Environment --value patroni.service | tr " " "\\n" | grep BIN_DIR)"; '


def _archive(cluster: Cluster, book: Book) -> Archive:
    """The archive's segments, after `pgbackrest check` has pushed the newest one."""
    error = ""
    try:
        backup.command(cluster, "--log-level-console=error", "check", timeout_s=CHECK_TIMEOUT_S)
    except OperationError as exc:
        error = exc.message
    acked = book.acked
    since = min((a.lsn for a in acked if a.lsn is not None), default=0)
    until = max((a.lsn for a in acked if a.lsn is not None), default=0)
    stanza = cluster.inventory.cluster
    listed = backup.command(cluster, "--recurse", "repo-ls", f"archive/{stanza}", timeout_s=CHECK_TIMEOUT_S)
    names = (line.rpartition("/")[2] for line in listed.stdout.splitlines())
    segments = frozenset(name[:_SEGMENT_DIGITS] for name in names if "-" in name and ".partial" not in name)
    # The segment of the last acknowledged row is complete too: the check switched to the next one.
    return Archive(segments, since, until + SEGMENT_BYTES if acked else until, error)
