"""I1 to I8 of reliability.md, each a pure function of the ledger and of what was found afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pgha_orch.drills.history import History, missing, needed_segments
from pgha_orch.drills.ledger import PROXY, Attempt, Book, lsn_text, sqlstates

STREAMING_LIMIT_S = 60.0
SHOWN = 5


@dataclass(frozen=True)
class Archive:
    """What the WAL archive holds, and what it should hold: from LSN `since` to LSN `until` of the final timeline."""

    segments: frozenset[str]
    since: int
    until: int
    check_error: str = ""  # of `pgbackrest check`


@dataclass(frozen=True)
class Integrity:
    """Of every node: checksum failures that PostgreSQL counted, and what pg_amcheck said (empty: clean)."""

    checksum_failures: Mapping[str, int]
    amcheck: Mapping[str, str]


@dataclass(frozen=True)
class Found:
    """What was found after a run. `rows` maps id to token; `streaming_s` None: not all nodes streamed in time."""

    rows: Mapping[int, str]
    histories: Mapping[str, History]
    streaming_s: float | None
    archive: Archive | None = None
    integrity: Integrity | None = None


@dataclass(frozen=True)
class Verdict:
    """One invariant: whether it holds, and what breaks it or what was counted."""

    invariant: str
    ok: bool
    detail: str


def check(book: Book, found: Found) -> tuple[Verdict, ...]:
    """All invariants, in order; I6 and I7 are left out where nothing was found out about them."""
    final = max(found.histories.values(), key=lambda h: h.timeline, default=History(0))
    verdicts = [
        acknowledged_rows_present(book.acked, found.rows),
        no_phantom_rows(book.attempts, found.rows),
        one_acknowledges(book.acked),
        one_ancestry(book.acked, found.histories),
        streams_again(found.streaming_s),
    ]
    if found.integrity is not None:
        verdicts.append(intact(found.integrity))
    if found.archive is not None:
        verdicts.append(archive_complete(found.archive, final))
    return (*verdicts, errors_counted(book))


def lost_rows(acked: Iterable[Attempt], rows: Mapping[int, str]) -> list[Attempt]:
    """Acknowledged attempts whose row is missing or holds something else."""
    return [a for a in acked if rows.get(a.id) != a.token]


def acknowledged_rows_present(acked: Sequence[Attempt], rows: Mapping[int, str]) -> Verdict:
    """I1: no acknowledged write is lost."""
    lost = lost_rows(acked, rows)
    detail = f"{len(acked)} acknowledged, {len(lost)} lost"
    if lost:
        named = ", ".join(f"{a.id} ({a.node}, timeline {a.timeline}, {lsn_text(a.lsn or 0)})" for a in lost[:SHOWN])
        detail += f": row {named}"
    return Verdict("I1", not lost, detail)


def no_phantom_rows(attempts: Sequence[Attempt], rows: Mapping[int, str]) -> Verdict:
    """I2: no row appears that nobody attempted."""
    tokens = {a.id: a.token for a in attempts}
    phantoms = sorted(id_ for id_, token in rows.items() if tokens.get(id_) != token)
    detail = f"{len(rows)} rows, {len(phantoms)} that nobody wrote"
    if phantoms:
        detail += ": " + ", ".join(map(str, phantoms[:SHOWN]))
    return Verdict("I2", not phantoms, detail)


def one_acknowledges(acked: Sequence[Attempt]) -> Verdict:
    """I3: no two nodes acknowledge at once.

    A write that was *sent* after a write of a newer timeline had been acknowledged must not be acknowledged on
    an older one, and a timeline belongs to one node. (A write sent before may be acknowledged late: its COMMIT
    came first. Whether it is still there is I1.)
    """
    owners: dict[int, Attempt] = {}
    newest: Attempt | None = None
    nodes = set()
    for attempt in acked:
        timeline = attempt.timeline or 0
        nodes.add(attempt.node)
        owner = owners.setdefault(timeline, attempt)
        if owner.node != attempt.node:
            what = f"timeline {timeline}: {owner.node} acknowledged row {owner.id}, {attempt.node} row {attempt.id}"
            return Verdict("I3", False, what)
        if newest is None or timeline > (newest.timeline or 0):
            newest = attempt
        elif timeline < (newest.timeline or 0) and attempt.sent_s > (newest.ended_s or 0.0):
            what = (
                f"{attempt.node} acknowledged row {attempt.id} on timeline {timeline},"
                f" {attempt.sent_s - (newest.ended_s or 0.0):.2f} s after {newest.node} had begun timeline"
                f" {newest.timeline} (row {newest.id})"
            )
            return Verdict("I3", False, what)
    named = ", ".join(sorted(str(n) for n in nodes))
    return Verdict("I3", True, f"acknowledged by {named or 'nobody'}, one at a time")


def one_ancestry(acked: Sequence[Attempt], histories: Mapping[str, History]) -> Verdict:
    """I4: timelines only grow, all nodes share one ancestry, and every acknowledged LSN lies on it."""
    if not histories:
        return Verdict("I4", False, "no node told its timeline")
    final = max(histories.values(), key=lambda h: h.timeline)
    for node, history in histories.items():
        if not history.agrees(final):
            return Verdict("I4", False, f"{node}: timeline {history.timeline} is no ancestor of {final.timeline}")
    for attempt in acked:
        if not final.holds(attempt.timeline or 0, attempt.lsn or 0):
            what = f"row {attempt.id}: {lsn_text(attempt.lsn or 0)} of timeline {attempt.timeline} ({attempt.node})"
            return Verdict("I4", False, f"{what} is not on the ancestry of timeline {final.timeline}")
    steps = " -> ".join(str(t) for t in sorted({a.timeline or 0 for a in acked} | {final.timeline}))
    return Verdict("I4", True, f"timeline {steps}")


def streams_again(streaming_s: float | None) -> Verdict:
    """I5: all nodes stream again, unattended, within 60 s of the fault's end."""
    if streaming_s is None:
        return Verdict("I5", False, "not all nodes stream again")
    return Verdict("I5", streaming_s <= STREAMING_LIMIT_S, f"all nodes streaming {streaming_s:.1f} s after the fault")


def intact(integrity: Integrity) -> Verdict:
    """I6: no checksum failure, and pg_amcheck finds nothing."""
    wrong = [f"{node}: {count} checksum failures" for node, count in integrity.checksum_failures.items() if count]
    wrong += [f"{node}: pg_amcheck: {said}" for node, said in integrity.amcheck.items() if said]
    return Verdict("I6", not wrong, "; ".join(wrong) or f"clean on {', '.join(integrity.amcheck)}")


def archive_complete(archive: Archive, final: History) -> Verdict:
    """I7: the archive has no gap."""
    needed = needed_segments(final, archive.since, archive.until)
    gaps = missing(needed, archive.segments)
    wrong = [f"missing {', '.join(gaps[:SHOWN])}"] if gaps else []
    wrong += [f"pgbackrest check: {archive.check_error}"] if archive.check_error else []
    return Verdict("I7", not wrong, "; ".join(wrong) or f"all {len(needed)} segments of the run archived")


def errors_counted(book: Book) -> Verdict:
    """I8: what clients saw, by SQLSTATE. It cannot fail: what is allowed is each scenario's expectation."""
    seen = ", ".join(f"{state} x {count}" for state, count in sqlstates(book).items()) or "none"
    dropped = sum(1 for lost in book.lost if lost.path == PROXY)
    return Verdict("I8", True, f"errors {seen}; {dropped} write sessions dropped")
