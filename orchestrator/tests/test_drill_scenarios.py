"""Discovery, selection and judgement of drill scenarios, and the journal of faults."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from pgha_orch.cluster import Cluster
from pgha_orch.drills import faults, fencing, one_run
from pgha_orch.drills.expectations import expected, unmet
from pgha_orch.drills.faults import JOURNAL, Fault, Injector
from pgha_orch.drills.results import RunResult, quantile
from pgha_orch.drills.scenario import Expect, Need, discover, select
from pgha_orch.errors import OperationError, UsageError
from pgha_orch.state import StateDir

MATRIX = [
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "8",
    "10",
    "11",
    "12",
    "13",
    "14",
    "15",
    "16",
    "17",
    "18",
    "19",
    "20",
    "21",
    "22",
    "23",
    "24",
    "25",
    "27",
    "28",
    "29",
    "30",
    "31",
]
RUN = RunResult(
    scenario="x",
    repeat=1,
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
    leader_before="pg-1",
    leader_after="pg-2",
    timeline_before=1,
    timeline_after=2,
    rto_s=3.0,
    outage_s=3.2,
    resume_s=1.0,
    streaming_s=2.0,
    attempted=10,
    acknowledged=9,
    lost=0,
    errors={"08006": 4},
    read_errors={},
    write_sessions_dropped=4,
    read_sessions_dropped=0,
    invariants=(),
    broken=(),
    notes=(),
)


def test_every_number_of_the_matrix_has_a_scenario() -> None:
    numbers = {s.number.rstrip("ab") for s in discover()}
    assert set(MATRIX) <= numbers
    assert {s.number for s in discover() if Need.WATCHDOG in s.needs} == {"7", "8", "11"}


def test_names_and_numbers_are_unique_and_sorted() -> None:
    found = discover()
    assert len({s.name for s in found}) == len({s.number for s in found}) == len(found)
    assert [s.order for s in found] == sorted(s.order for s in found)


def test_scenarios_are_chosen_by_number_or_name() -> None:
    assert [s.number for s in select(("10", "switchover", "10"))] == ["10", "1"]
    assert select(("all",)) == select(()) == discover()


def test_an_unknown_scenario_is_a_usage_error_that_lists_the_known() -> None:
    with pytest.raises(UsageError, match="warp-core") as caught:
        select(("warp-core",))
    assert "10 power-off" in (caught.value.hint or "")


def test_a_run_that_meets_its_expectation_has_nothing_broken() -> None:
    expect = Expect(outage_s=3.0, timeline="advances", dropped=4, resume_s=1.0)
    assert unmet(expect, RUN, acknowledged_while_blocked=0) == []


@pytest.mark.parametrize(
    ("expect", "says"),
    [
        (Expect(outage_s=2.9), "outage 3.00 s"),
        (Expect(timeline="stays"), "failover: timeline 1 -> 2"),
        (Expect(dropped=3), "4 write sessions dropped"),
        (Expect(resume_s=0.5), "resumed 1.00 s"),
        (Expect(blocked=True), "7 writes acknowledged"),
        (Expect(forbidden=("08006",)), "4 errors 08006"),
    ],
)
def test_each_expectation_can_be_missed(expect: Expect, says: str) -> None:
    assert says in " ".join(unmet(expect, RUN, acknowledged_while_blocked=7))


def test_a_failover_that_did_not_happen_is_missed() -> None:
    stayed = RUN.model_copy(update={"timeline_after": 1})
    assert "no failover" in unmet(Expect(timeline="advances"), stayed, acknowledged_while_blocked=0)[0]


def test_expectations_read_as_words() -> None:
    assert expected(Expect(outage_s=5.0, timeline="advances")) == "outage <= 5 s, failover, no 25006"
    assert expected(Expect(forbidden=())) == "recorded"


def test_quantiles_are_of_the_nearest_rank() -> None:
    assert quantile([], 0.5) is None
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([float(n) for n in range(1, 21)], 0.95) == 19.0


def _injector(tmp_path: Path) -> Injector:
    cluster = SimpleNamespace(state=StateDir.open(tmp_path / "state"), path=tmp_path / "hosts.yml")
    return Injector(cast(Cluster, cluster), ())


def test_the_journal_outlives_the_process_that_wrote_it(tmp_path: Path) -> None:
    fault = Fault(kind="cut", host="pg-1", args={"peers": ["pg-2"], "direction": "out"})
    _injector(tmp_path).note(fault)
    assert _injector(tmp_path).in_place() == [fault]


def test_what_cannot_be_healed_stays_in_the_journal_and_the_rest_is_healed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    healed: list[str] = []

    def heal(_: Injector, fault: Fault) -> None:
        if fault.host == "pg-2":
            raise OperationError("pg-2: it does not start")
        healed.append(fault.host)

    monkeypatch.setitem(faults._HEAL, "freeze", heal)
    injector = _injector(tmp_path)
    for host in ("pg-1", "pg-2", "pg-3"):
        injector.note(Fault(kind="freeze", host=host))
    with pytest.raises(OperationError, match=r"not healed: freeze pg-2: pg-2: it does not start") as caught:
        injector.heal_all()
    assert "--heal" in (caught.value.hint or "")
    assert healed == ["pg-3", "pg-1"]
    assert [f.host for f in injector.in_place()] == ["pg-2"]
    assert injector.cluster.state.read(JOURNAL) is not None


@pytest.mark.parametrize(
    ("reset_s", "promoted_s", "wrong"),
    [
        (150.0, 162.0, ""),
        (90.0, 162.0, "was not reset: its kernel runs since 10.0 s before the fault"),
        (163.5, 162.0, "was reset 1.5 s after another was promoted"),
    ],
)
def test_a_reset_counts_after_the_fault_and_before_the_promotion(reset_s: float, promoted_s: float, wrong: str) -> None:
    assert fencing.judged(100.0, reset_s, promoted_s) == wrong


@pytest.mark.parametrize(("wrong_s", "said"), [(0, []), (6, []), (30, ["healthy only 30 s", "pg-2: its clock"])])
def test_a_run_says_what_kept_the_cluster_from_being_healthy_for_long(
    wrong_s: int, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    problem = SimpleNamespace(where="pg-2", what="its clock is 2.50 s off pg-1")

    def sleep(seconds: float) -> None:
        nonlocal now
        now += 1.0

    def observe(_: object) -> SimpleNamespace:
        healthy = now >= 1000.0 + wrong_s
        return SimpleNamespace(healthy=healthy, problems=[] if healthy else [problem])

    monkeypatch.setattr(one_run, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    monkeypatch.setattr(one_run, "status", SimpleNamespace(observe=observe))
    notes: list[str] = []
    cluster = cast(Cluster, SimpleNamespace(fleet=SimpleNamespace(patience=1.0)))
    assert one_run.settle(cluster, notes.append) == []
    assert len(notes) == bool(said)
    assert all(part in notes[0] for part in said)
