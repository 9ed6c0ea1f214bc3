"""One run of one scenario: load, fault, heal, evidence, judgement."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol
from uuid import uuid4

from pgha_orch.cluster import Cluster
from pgha_orch.drills import evidence, invariants
from pgha_orch.drills.clients import Load, Pace
from pgha_orch.drills.expectations import unmet
from pgha_orch.drills.faults import Injector
from pgha_orch.drills.invariants import Found
from pgha_orch.drills.ledger import PROXY, Book, Ledger, Pulse, longest_gap, recovery_time, sqlstates
from pgha_orch.drills.results import Mark, RunResult, Trace, VerdictRow
from pgha_orch.drills.scenario import Scenario
from pgha_orch.drills.stage import Stage
from pgha_orch.errors import OperationError
from pgha_orch.health import status

WARM_S = 2.0
# Deadlines are multiplied with the fleet's patience.
FLOW_DEADLINE_S = 120.0
STREAM_DEADLINE_S = 180.0  # I5's limit is 60 s; waiting longer tells how much it was missed by
SETTLE_DEADLINE_S = 120.0
SLOW_S = 10.0  # worth a word when it takes longer to be healthy again
TAIL_S = 1.5


class Watcher(Protocol):
    """Receives what a drill does."""

    def run_started(self, scenario: Scenario, repeat: int, of: int) -> None: ...

    def pulse(self, phase: str, pulse: Pulse) -> None: ...

    def run_ended(self, scenario: Scenario, result: RunResult) -> None: ...

    def skipped(self, scenario: Scenario, reason: str) -> None: ...

    def failed(self, scenario: Scenario, why: str) -> None: ...

    def healed(self, what: str) -> None: ...

    def unhealthy(self, what: str) -> None: ...


def settle(cluster: Cluster, note: Callable[[str], None] | None = None) -> list[str]:
    """Wait until the cluster is healthy; what is wrong with it when it does not become so.

    `note` is told what it had to wait for, where that took long.
    """
    begun = time.monotonic()
    problems: list[str] = []
    while True:
        looked = time.monotonic()
        seen = status.observe(cluster)
        if seen.healthy:
            if note is not None and problems and looked - begun > SLOW_S:
                note(f"healthy only {looked - begun:.0f} s after the load; what was wrong last: {'; '.join(problems)}")
            return []
        problems = [f"{p.where}: {p.what}" for p in seen.problems]
        if time.monotonic() > begun + SETTLE_DEADLINE_S * cluster.fleet.patience:
            return problems
        time.sleep(max(0.5, time.monotonic() - looked))  # looking costs the machines too


class Run:
    """One run. Times are time.monotonic()."""

    def __init__(
        self, cluster: Cluster, injector: Injector, scenario: Scenario, watcher: Watcher, repeat: int, pace: Pace
    ) -> None:
        self.cluster, self.injector, self.scenario = cluster, injector, scenario
        self.watcher, self.pace, self.repeat = watcher, pace, repeat
        self.phase = "warm-up"
        self.ledger = Ledger()
        self.id = uuid4().hex[:12]
        self.stage = Stage(cluster, injector, self.ledger, repeat, self._tick)

    def result(self) -> RunResult:
        started, stage, scenario = datetime.now(UTC), self.stage, self.scenario
        stage.look()
        load = Load(self.cluster, self.ledger, self.id, self.pace)
        try:
            if scenario.prepare is not None:
                self.phase = "prepare"
                scenario.prepare(stage)
                stage.look()
            with load.running():
                self._flowing(WARM_S)
                stage.struck, timeline = stage.leader, self.ledger.timeline() or 0
                self.phase = "fault"
                stage.begun_s = fault = time.monotonic()
                scenario.inject(stage)
                if scenario.during is not None:
                    scenario.during(stage)
                stage.wait(max(0.0, scenario.hold_s - (time.monotonic() - fault)))
                if scenario.await_writes and not scenario.expect.blocked:
                    self._writes_again(timeline)
                self.phase = "heal"
                healed = self._heal()
                streaming = self._streaming(healed)
                self._flowing(TAIL_S)
        finally:
            self._heal()
        book, end = self.ledger.close(), time.monotonic()
        problems = settle(self.cluster, self.stage.note)
        found = evidence.gather(self.cluster, book, self.id, streaming, deep=True)
        stage_after = self.stage.look().leader
        return self._judge(
            book,
            found,
            started,
            fault,
            healed,
            end,
            (stage.struck, stage_after.name if stage_after else ""),
            timeline,
            problems,
        )

    def _tick(self) -> None:
        self.watcher.pulse(self.phase, self.ledger.pulse())

    def _flowing(self, seconds: float) -> None:
        """Writes flow for a while; goes on without them at the deadline, which the judgement then shows."""
        self.stage.until(self._flows, FLOW_DEADLINE_S * self.cluster.fleet.patience)
        self.stage.wait(seconds)

    def _flows(self) -> bool:
        pulse = self.ledger.pulse()
        return pulse.silent_s < 0.5 and pulse.writes_per_s >= self.pace.rate / 3

    def _writes_again(self, timeline: int) -> None:
        """Until writes flow, on a newer timeline where one is expected."""
        newer = self.scenario.expect.timeline == "advances"

        def so() -> bool:
            now = self.ledger.timeline() or 0
            return self._flows() and (now > timeline or not newer)

        self.stage.until(so, FLOW_DEADLINE_S * self.cluster.fleet.patience)

    def _heal(self) -> float:
        faults = self.injector.in_place()
        if faults:
            self.stage.mark("heal")
            with self.stage.ticking():
                self.injector.heal_all()
        return time.monotonic()

    def _streaming(self, since: float) -> float | None:
        """Seconds from `since` until every node of the inventory leads or streams; None when they do not."""

        def so() -> bool:
            try:
                seen = self.stage.rest.cluster()
            except OperationError:
                return False
            members = [seen.member(name) for name in self.stage.nodes]
            return seen.leader is not None and all(m is not None and m.is_healthy for m in members)

        deadline_s = STREAM_DEADLINE_S * self.cluster.fleet.patience
        return time.monotonic() - since if self.stage.until(so, deadline_s) else None

    def _judge(
        self,
        book: Book,
        found: Found,
        started: datetime,
        fault: float,
        healed: float,
        end: float,
        leaders: tuple[str, str],
        timeline: int,
        problems: list[str],
    ) -> RunResult:
        proxied, stage = book.proxied, self.stage
        verdicts = invariants.check(book, found)
        after_heal = [a.ended_s for a in proxied if a.ended_s is not None and a.ended_s > healed]
        result = RunResult(
            scenario=self.scenario.name,
            repeat=self.repeat,
            started_at=started,
            leader_before=leaders[0],
            leader_after=leaders[1],
            timeline_before=timeline,
            timeline_after=max((h.timeline for h in found.histories.values()), default=0),
            rto_s=recovery_time(proxied, since_s=fault),
            outage_s=longest_gap(proxied, since_s=fault, until_s=end).seconds,
            resume_s=min(after_heal) - healed if after_heal else None,
            streaming_s=found.streaming_s,
            attempted=len(book.attempts),
            acknowledged=len(book.acked),
            lost=len(invariants.lost_rows(book.acked, found.rows)),
            errors=sqlstates(book),
            read_errors=dict(Counter(r.sqlstate for r in book.reads if r.sqlstate)),
            write_sessions_dropped=sum(1 for lost in book.lost if lost.path == PROXY),
            read_sessions_dropped=sum(1 for lost in book.lost if lost.path == f"{PROXY}-ro"),
            invariants=tuple(VerdictRow(invariant=v.invariant, ok=v.ok, detail=v.detail) for v in verdicts),
            broken=(),
            notes=(),
            trace=_trace(book, stage, fault, end),
        )
        blocked = [a for a in proxied if a.sent_s > fault + 1.0 and (a.ended_s or 0.0) < healed]
        broken = [
            *(f"{v.invariant}: {v.detail}" for v in verdicts if not v.ok),
            *unmet(self.scenario.expect, result, acknowledged_while_blocked=len(blocked)),
            *(self.scenario.verify(stage) if self.scenario.verify is not None else []),
            *(f"not healthy afterwards: {p}" for p in problems),
        ]
        return result.model_copy(update={"broken": tuple(broken), "notes": tuple(stage.notes)})


def _trace(book: Book, stage: Stage, fault: float, end: float) -> Trace:
    def at(seconds: float | None) -> float:
        return round((seconds or 0.0) - fault, 3)

    errors = [(at(a.ended_s), a.sqlstate) for a in book.attempts if a.path == PROXY and a.sqlstate]
    errors += [(at(r.at_s), r.sqlstate) for r in book.refused if r.path == PROXY]
    return Trace(
        acked=tuple((at(a.ended_s), a.node or "?") for a in book.proxied),
        errors=tuple(sorted(errors)),
        direct=tuple((at(a.ended_s), a.node or "?") for a in book.acked if a.path != PROXY),
        marks=tuple(Mark(at_s=at(moment), label=label) for moment, label in stage.marks),
        end_s=at(end),
    )
