"""What a restore may aim at, and from which backup: pure rules, nothing boots."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgha_orch.backup import journal, target
from pgha_orch.backup.journal import Journal, Stage
from pgha_orch.backup.reach import End, choose, refuse_beyond
from pgha_orch.backup.timeline import Timelines, parse_history
from pgha_orch.errors import OperationError, UsageError
from pgha_orch.health.backup import BackupSet, Repository
from pgha_orch.state import StateDir

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def made(label: str, hours: float, timeline: int, lsn: str) -> BackupSet:
    ended = NOON + timedelta(hours=hours)
    wal = f"{timeline:08X}0000000000000005"
    return BackupSet(label, "full", ended - timedelta(minutes=5), ended, 1, 1, False, wal, wal, lsn)


# Timeline 2 left 1 at 0/6000000, 3 left 1 at 0/5000000 (a restore), so nothing of 2 leads onto 3.
LINES = Timelines(3, {2: {1: 0x6000000}, 3: {1: 0x5000000}})
FIRST, LATER, OTHER = made("A", 0, 1, "0/3000000"), made("B", 2, 1, "0/5800000"), made("C", 3, 2, "0/7000000")
REPOSITORY = Repository(0, "ok", (FIRST, LATER, OTHER))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-23T12:00:00Z", NOON),
        ("2026-11-23 13:00:00+01:00", NOON),
        ("2026-11-23 12:00 UTC", NOON),
        ("2026-11-23 13:00:00 Europe/Berlin", NOON),
        ("2026-11-23T06:30:00.5-0530", NOON + timedelta(seconds=0.5)),
    ],
)
def test_a_time_is_read_with_its_zone(text: str, at: datetime) -> None:
    found = target.parse(text)

    assert found.at == at
    assert found.options() == ["--type=time", f"--target={at:%Y-%m-%d %H:%M:%S.%f}+00"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-11-23T12:00:00", "no time zone"),
        ("2026-11-23 12:00 CET", "CET is no time zone"),
        ("2026-11-23 12:00 Europe/Berln", "Europe/Berln is no time zone"),
        ("2026-11-23 12:00 ../../etc/passwd", "no time zone"),
        ("2026-02-30 12:00Z", "no such time"),
        ("2026-11-23 12:00+99:00", "not a time zone's offset"),
        ("2026-03-29 02:30 Europe/Berlin", "does not exist"),
        ("2026-10-25 02:30 Europe/Berlin", "comes twice"),
        ("lsn:3000148", "not an LSN"),
        ('name:a"; rm -rf /', "not the name of a restore point"),
        ("name:", "not the name of a restore point"),
        ("tomorrow", "not a target"),
        ("", "not a target"),
    ],
)
def test_what_is_no_target_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        target.parse(text)

    assert words in refused.value.message
    assert refused.value.hint


def test_the_newest_backup_before_the_target_that_leads_onto_the_timeline_is_taken() -> None:
    at = target.parse(f"{NOON + timedelta(hours=9):%Y-%m-%dT%H:%M:%SZ}")

    assert choose(REPOSITORY, LINES, 2, at, None) == OTHER
    assert choose(REPOSITORY, LINES, 1, at, None) == LATER
    # B ended after timeline 3 had left timeline 1, and C is on 2.
    assert choose(REPOSITORY, LINES, 3, at, None) == FIRST
    assert choose(REPOSITORY, LINES, 2, target.parse("lsn:0/4000000"), None) == FIRST


def test_a_target_before_every_backup_is_refused_with_the_first_one_s_end() -> None:
    second_of_its_end = target.parse(f"{NOON:%Y-%m-%dT%H:%M:%SZ}")

    with pytest.raises(UsageError, match="is before the first backup, A, which ended at 2026-11-23 12:00:00 UTC"):
        choose(REPOSITORY, LINES, 1, second_of_its_end, None)
    with pytest.raises(UsageError, match="backup B ended later"):
        choose(REPOSITORY, LINES, 1, replace(second_of_its_end, at=NOON + timedelta(hours=1)), LATER)
    with pytest.raises(UsageError, match="timeline 3: backup C does not lead onto it"):
        choose(REPOSITORY, LINES, 3, target.parse("latest"), OTHER)


def test_a_target_after_the_last_wal_is_refused() -> None:
    end = End(NOON, 0x5000000, "read from the archive")

    refuse_beyond(target.parse("2026-11-23T12:00:00Z"), end)
    refuse_beyond(target.parse("lsn:0/5000000"), end)
    refuse_beyond(target.parse("latest"), End(None, None, "empty"))
    with pytest.raises(UsageError, match="after the last WAL; the last commit that can be restored is of 2026"):
        refuse_beyond(target.parse("2026-11-23T12:00:01Z"), end)
    with pytest.raises(UsageError, match="after the last WAL, which ends at 0/5000000"):
        refuse_beyond(target.parse("lsn:0/5000001"), end)


def test_a_history_file_gives_where_each_ancestor_was_left() -> None:
    text = "1\t0/90000A0\tno recovery target specified\n\n2\t1/B0000A0\tbefore 2026-11-23 12:00:00+00\n"

    assert parse_history(text) == {1: 0x90000A0, 2: 0x1_0B0000A0}


def test_a_journal_outlives_the_process_and_keeps_others_out(tmp_path: Path) -> None:
    state = StateDir.open(tmp_path / "state")
    assert journal.load(state) is None
    journal.refuse_if_open(state, "deploy")
    begun = Journal(
        id="20261123T120000Z",
        to="latest",
        target_at=None,
        options=("--type=default",),
        label="A",
        lsn_stop="0/3000000",
        timeline=1,
        timeline_before=1,
        first="pg-1",
        began=NOON,
        stage=Stage.KEPT,
    )
    journal.save(state, begun)

    assert journal.load(state) == begun
    assert begun.past(Stage.STOPPED) and not begun.past(Stage.RECOVERED)
    with pytest.raises(UsageError, match="a restore to latest is under way"):
        journal.refuse_if_open(state, "deploy")

    journal.close(state, begun, NOON)
    assert journal.load(state) is None
    assert [r.id for r in journal.past(state)] == [begun.id]

    state.write(journal.OPEN, b"{")
    with pytest.raises(OperationError, match="not a journal of a restore"):
        journal.load(state)
