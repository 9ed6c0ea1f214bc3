"""A drill as people see it: one live line, a line per run, a table at the end."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from types import TracebackType

from rich.markup import escape
from rich.status import Status
from rich.table import Table

from pgha_orch.commands.display import err, out
from pgha_orch.drills.ledger import Pulse
from pgha_orch.drills.results import DrillResult, RunResult, ScenarioResult
from pgha_orch.drills.scenario import Scenario

PLAIN_EVERY_S = 5.0
OUTAGE_S = 0.5  # from here on silence is shown as an outage


class LiveLine(AbstractContextManager["LiveLine"]):
    """A Watcher on standard error: one line that changes on a terminal, else one every few seconds."""

    def __init__(self) -> None:
        self._title = ""
        self._status = Status("", console=err) if err.is_terminal else None
        self._told = 0.0

    def __enter__(self) -> LiveLine:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def run_started(self, scenario: Scenario, repeat: int, of: int) -> None:
        self._title = f"{scenario.number} {scenario.name}" + (f" {repeat}/{of}" if of > 1 else "")
        self._told = time.monotonic()

    def pulse(self, phase: str, pulse: Pulse) -> None:
        outage = f", outage so far {pulse.silent_s:.1f} s" if pulse.silent_s >= OUTAGE_S else ""
        text = f"{self._title}: {phase}: {pulse.leader} leads, {pulse.writes_per_s:.0f} writes/s{outage}"
        if self._status is not None:
            self._status.update(escape(text))
        elif time.monotonic() - self._told >= PLAIN_EVERY_S:
            self._told = time.monotonic()
            err.print(f"  .. {escape(text)}")

    def run_ended(self, scenario: Scenario, result: RunResult) -> None:
        mark = "[green]ok[/]" if result.ok else "[red]failed[/]"
        what = "RTO" if result.rto_s is not None else "longest gap"
        errors = ", ".join(f"{state} x {count}" for state, count in result.errors.items()) or "none"
        text = (
            f"{what} {result.judged_s:.2f} s, {result.leader_before} -> {result.leader_after},"
            f" {result.acknowledged} acknowledged, {result.lost} lost, errors: {errors}"
        )
        err.print(f"{mark:>2} {escape(self._title)}: {escape(text)}")
        for line in result.broken:
            err.print(f"     [red]{escape(line)}[/]")
        for line in result.notes:
            err.print(f"     {escape(line)}")

    def skipped(self, scenario: Scenario, reason: str) -> None:
        err.print(f"-- {scenario.number} {scenario.name}: skipped: {escape(reason)}")

    def failed(self, scenario: Scenario, why: str) -> None:
        err.print(f"[red]failed[/] {scenario.number} {scenario.name}: {escape(why)}")

    def healed(self, what: str) -> None:
        err.print(f"healed {escape(what)}")

    def unhealthy(self, what: str) -> None:
        err.print(f"[red]not healthy:[/] {escape(what)}")


def show_result(result: DrillResult) -> None:
    """The table, and every expectation that was not met."""
    table = Table(
        title=f"Drill of {result.cluster}: {result.rate:g} writes/s, {result.clients} clients, {result.seconds:.0f} s",
        title_justify="left",
    )
    for column in ("No.", "Scenario", "Runs", "RTO p50", "p95", "max", "Errors by SQLSTATE", "Lost", "Met"):
        table.add_column(column, justify="right" if column in ("Runs", "RTO p50", "p95", "max", "Lost") else "left")
    for one in result.scenarios:
        table.add_row(*_cells(one))
    out.print(table)
    for one in result.scenarios:
        if one.failed:
            out.print(f"[red]failed:[/] {one.number} {one.name}: {escape(one.failed)}")
        for run in one.runs:
            for line in run.broken:
                out.print(f"[red]not met:[/] {one.number} {one.name} run {run.repeat}: {escape(line)}")


def _cells(one: ScenarioResult) -> tuple[str, ...]:
    if one.skipped:
        return one.number, one.name, "0", "", "", "", escape(one.skipped), "", "skipped"
    times = [f"{value:.2f}" if (value := one.rto(share)) is not None else "" for share in (0.5, 0.95, 1.0)]
    errors = ", ".join(f"{state} x {count}" for state, count in one.errors().items()) or "none"
    met = "[green]yes[/]" if one.ok else "[red]no[/]"
    return one.number, one.name, str(len(one.runs)), *times, errors, str(one.lost), met
