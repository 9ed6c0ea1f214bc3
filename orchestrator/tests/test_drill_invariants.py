"""The invariant checker is itself shown to fail, each time by a recorded ledger that breaks one thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pgha_orch.drills import invariants
from pgha_orch.drills.history import History, missing, needed_segments, segment_name
from pgha_orch.drills.invariants import Archive, Found, Integrity, Verdict
from pgha_orch.drills.ledger import PROXY, Attempt, Book, Ledger, Lost, longest_gap, lsn, recovery_time, sqlstates

AT = datetime(2026, 1, 1, tzinfo=UTC)
SWITCH = lsn("0/3000000")


def ack(
    id_: int, sent: float, node: str = "pg-1", timeline: int = 1, position: str = "0/2000000", **more: object
) -> Attempt:
    attempt = Attempt(id_, "w1", PROXY, f"t{id_}", sent, AT, sent + 0.01, True, node, timeline, lsn(position))
    return replace(attempt, **more)  # type: ignore[arg-type]


# A failover from pg-1 (timeline 1) to pg-2 (timeline 2) with one write whose fate nobody was told.
FAILOVER: tuple[Attempt, ...] = (
    ack(1, 0.0),
    ack(2, 1.0, position="0/2FFFF00"),
    Attempt(3, "w1", PROXY, "t3", 2.0, AT, 2.5, sqlstate="08006"),
    ack(4, 20.0, "pg-2", 2, "0/3000100"),
    ack(5, 21.0, "pg-2", 2, "0/3000200"),
)
ROWS = {a.id: a.token for a in FAILOVER if a.acked}
HISTORY = History(2, ((1, SWITCH),))
HISTORIES = {"pg-1": HISTORY, "pg-2": HISTORY, "pg-3": HISTORY}
FOUND = Found(ROWS, HISTORIES, 12.0)


def verdict(invariant: str, attempts: Sequence[Attempt] = FAILOVER, found: Found = FOUND) -> Verdict:
    return next(v for v in invariants.check(Book(tuple(attempts)), found) if v.invariant == invariant)


def test_a_clean_failover_holds_every_invariant() -> None:
    archive = Archive(frozenset({segment_name(1, 2), segment_name(2, 3)}), lsn("0/2000000"), lsn("0/4000000"))
    whole = replace(FOUND, archive=archive, integrity=Integrity({"pg-1": 0}, {"pg-1": ""}))
    verdicts = invariants.check(Book(FAILOVER), whole)
    assert [v.invariant for v in verdicts] == ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8"]
    assert [v for v in verdicts if not v.ok] == []


def test_a_lost_row_is_found_and_named() -> None:
    found = replace(FOUND, rows={k: v for k, v in ROWS.items() if k != 2})
    broken = verdict("I1", found=found)
    assert not broken.ok
    assert "1 lost: row 2 (pg-1, timeline 1, 0/2FFFF00)" in broken.detail


def test_a_row_with_another_content_counts_as_lost() -> None:
    assert not verdict("I1", found=replace(FOUND, rows=ROWS | {2: "else"})).ok


def test_an_unacknowledged_row_may_be_there_or_not() -> None:
    for rows in (ROWS, ROWS | {3: "t3"}):
        found = replace(FOUND, rows=rows)
        assert verdict("I1", found=found).ok and verdict("I2", found=found).ok


def test_a_phantom_row_is_found() -> None:
    broken = verdict("I2", found=replace(FOUND, rows=ROWS | {99: "t99"}))
    assert not broken.ok and "99" in broken.detail


def test_a_stale_primary_that_acknowledges_after_the_new_one_is_found() -> None:
    stale = ack(6, 20.5, "pg-1", 1, path="pg-1")
    broken = verdict("I3", (*FAILOVER, stale))
    assert not broken.ok
    assert "pg-1 acknowledged row 6 on timeline 1" in broken.detail and "pg-2 had begun timeline 2" in broken.detail


def test_an_acknowledgement_that_was_only_late_breaks_nothing() -> None:
    """Sent before the failover, told after it: its COMMIT came before the new primary's first."""
    late = ack(6, 1.5, "pg-1", 1, ended_s=20.5)
    assert verdict("I3", (*FAILOVER, late)).ok


def test_two_nodes_on_one_timeline_are_found() -> None:
    broken = verdict("I3", (*FAILOVER, ack(6, 22.0, "pg-3", 2, "0/3000300")))
    assert not broken.ok and "timeline 2" in broken.detail


def test_a_fork_between_nodes_is_found() -> None:
    forked = HISTORIES | {"pg-3": History(2, ((1, SWITCH - 0x100),))}
    broken = verdict("I4", found=replace(FOUND, histories=forked))
    assert not broken.ok and "pg-3" in broken.detail


def test_a_timeline_that_is_no_ancestor_is_found() -> None:
    forked = HISTORIES | {"pg-2": History(3, ((1, SWITCH),)), "pg-3": History(3, ((1, SWITCH),))}
    assert not verdict("I4", found=replace(FOUND, histories=forked)).ok


def test_an_acknowledged_lsn_behind_the_switch_is_found() -> None:
    beyond = ack(2, 1.0, position="0/3000010")
    broken = verdict("I4", (FAILOVER[0], beyond, *FAILOVER[2:]))
    assert not broken.ok and "row 2: 0/3000010 of timeline 1" in broken.detail


def test_no_node_that_tells_its_timeline_is_no_proof() -> None:
    assert not verdict("I4", found=replace(FOUND, histories={})).ok


@pytest.mark.parametrize(("seconds", "ok"), [(59.9, True), (60.1, False), (None, False)])
def test_replicas_have_to_stream_again_within_a_minute(seconds: float | None, ok: bool) -> None:
    assert verdict("I5", found=replace(FOUND, streaming_s=seconds)).ok is ok


def test_checksum_failures_and_amcheck_are_heard() -> None:
    for integrity in (Integrity({"pg-2": 1}, {}), Integrity({}, {"pg-2": "heap table is corrupt"})):
        broken = verdict("I6", found=replace(FOUND, integrity=integrity))
        assert not broken.ok and "pg-2" in broken.detail


def test_an_archive_gap_is_found() -> None:
    have = frozenset({segment_name(1, 2)})
    broken = verdict("I7", found=replace(FOUND, archive=Archive(have, lsn("0/2000000"), lsn("0/4000000"))))
    assert not broken.ok and segment_name(2, 3) in broken.detail


def test_a_failed_pgbackrest_check_breaks_the_archive_invariant() -> None:
    archive = Archive(frozenset(), 0, 0, check_error="[082]: WAL segment was not archived")
    assert not verdict("I7", found=replace(FOUND, archive=archive)).ok


def test_needed_segments_cross_a_timeline_switch_without_the_old_ones_last_part() -> None:
    history = History(3, ((1, lsn("0/2800000")), (2, lsn("0/4000100"))))
    needed = needed_segments(history, lsn("0/1000000"), lsn("0/6000000"))
    assert needed == [
        segment_name(1, 1),
        segment_name(2, 2),
        segment_name(2, 3),
        segment_name(3, 4),
        segment_name(3, 5),
    ]
    assert missing(needed, needed[:-1]) == [segment_name(3, 5)]


def test_segment_names_carry_over_as_postgresqls_do() -> None:
    assert segment_name(1, 255) == "0000000100000000000000FF"
    assert segment_name(10, 256) == "0000000A0000000100000000"


def test_history_files_are_read() -> None:
    text = "1\t0/3000000\tno recovery target specified\n\n2\t0/5000110\tno recovery target specified\n"
    assert History.parse(3, text) == History(3, ((1, lsn("0/3000000")), (2, lsn("0/5000110"))))


def test_rto_is_counted_from_the_last_row_of_a_timeline_to_the_first_of_the_next() -> None:
    acked = Book(FAILOVER).proxied
    assert recovery_time(acked, since_s=1.5) == pytest.approx(19.0)
    assert recovery_time(acked[:2], since_s=0.0) is None


def test_the_longest_gap_reaches_to_the_end_when_nothing_comes_any_more() -> None:
    acked = Book(FAILOVER[:2]).proxied
    gap = longest_gap(acked, since_s=0.5, until_s=9.0)
    assert gap.seconds == pytest.approx(9.0 - 1.01)


def test_a_gap_that_ended_before_the_fault_does_not_count() -> None:
    acked = [ack(1, 0.0), ack(2, 8.0), ack(3, 8.5), ack(4, 9.0)]
    assert longest_gap(acked, since_s=8.2, until_s=9.1).seconds == pytest.approx(0.5)


def test_errors_are_counted_by_sqlstate_for_clients_behind_haproxy_only() -> None:
    direct = Attempt(7, "d", "pg-2", "t7", 1.0, AT, 1.1, sqlstate="25006")
    book = Book((*FAILOVER, direct), refused=(Lost(3.0, "w1", PROXY, "08001"), Lost(3.0, "d", "pg-1", "08001")))
    assert sqlstates(book) == {"08001": 1, "08006": 1}


def test_the_ledger_keeps_attempts_whose_fate_is_not_known() -> None:
    ledger = Ledger()
    first, second = ledger.begin("w1", PROXY, "a"), ledger.begin("w2", PROXY, "b")
    ledger.acknowledged(first, node="pg-1", timeline=1, lsn=1)
    book = ledger.close()
    assert [a.id for a in book.attempts] == [first.id, second.id]
    assert [a.acked for a in book.attempts] == [True, False]
    assert invariants.no_phantom_rows(book.attempts, {second.id: "b"}).ok
