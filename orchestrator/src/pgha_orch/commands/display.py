"""What people see: warnings, live progress (plain lines when it is no terminal), tables."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table

from pgha_orch.health.status import ClusterStatus
from pgha_orch.inventory.findings import Finding

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
REPEAT_S = 5.0  # a plain log gets an observation of a step no more often than this


def show_warnings(warnings: Iterable[Finding]) -> None:
    for warning in warnings:
        err.print(f"[yellow]warning:[/] {escape(str(warning))}")


class Progress(AbstractContextManager["Progress"]):
    """A Reporter on standard error: running steps with a spinner on a terminal, else one line per event."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, tuple[float, str]] = {}
        self._told: dict[str, float] = {}
        self._live = (
            Live(console=err, get_renderable=self._table, refresh_per_second=8, transient=True)
            if err.is_terminal
            else None
        )

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, step: str) -> None:
        with self._lock:
            self._running[step] = (time.monotonic(), "")
            self._told[step] = time.monotonic()

    def saw(self, step: str, observation: str) -> None:
        with self._lock:
            begun = self._running.get(step, (time.monotonic(), ""))[0]
            self._running[step] = (begun, observation)
            if self._live is None and time.monotonic() - self._told.get(step, 0.0) >= REPEAT_S:
                self._told[step] = time.monotonic()
                err.print(f"  .. {escape(step)}: {escape(observation)} ({time.monotonic() - begun:.0f} s)")

    def ended(self, step: str, *, ok: bool, seconds: float, note: str) -> None:
        with self._lock:
            self._running.pop(step, None)
            mark = "[green]ok[/]" if ok else "[red]failed[/]"
            err.print(f"{mark:>2} {escape(step)} [dim]({seconds:.1f} s)[/]{': ' + escape(note) if note else ''}")

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        with self._lock:
            for title, (begun, seen) in self._running.items():
                table.add_row(
                    Spinner("dots"),
                    f"{title} [dim]{time.monotonic() - begun:.0f} s[/]",
                    f"[dim]{escape(seen)}[/]",
                )
        return table


def show_status(status: ClusterStatus) -> None:
    """The cluster as people know it from `patronictl list`, then etcd, HAProxy and the backup."""
    verdict = "[green]healthy[/]" if status.healthy else "[red]not healthy[/]"
    table = Table(
        title=f"Cluster: {status.cluster} ({verdict}{', paused' if status.paused else ''})",
        title_justify="left",
    )
    for column in ("Member", "Host", "Role", "State", "TL", "Lag in MB"):
        table.add_column(column, justify="right" if column in ("TL", "Lag in MB") else "left")
    for m in status.members:
        lag = "" if m.lag_bytes is None else f"{m.lag_bytes / 2**20:.0f}"
        role = m.role.replace("_", " ").title()
        state = m.state + (" (pending restart)" if m.pending_restart else "")
        table.add_row(m.member, m.address, role, state, "" if m.timeline is None else str(m.timeline), lag)
    out.print(table)
    rest = Table(show_header=True, title_justify="left")
    for column in ("Part", "Host", "State", "Detail"):
        rest.add_column(column)
    for e in status.etcd:
        detail = e.error or f"{e.version}, {e.db_size_bytes / 2**10:.0f} KiB"
        rest.add_row(
            "etcd",
            e.member,
            ("healthy" if e.healthy else "unhealthy") + (", leader" if e.leader else ""),
            detail,
        )
    for p in status.proxies:
        detail = p.error or f"writes: {', '.join(p.write_servers) or '-'}; reads: {', '.join(p.read_servers) or '-'}"
        rest.add_row("haproxy", p.host, "up" if p.answers else "down", detail)
    if status.backup is not None:
        b = status.backup
        newest = f"newest {b.newest} at {b.newest_at:%Y-%m-%d %H:%M:%S} UTC, {b.backups} in all" if b.newest_at else ""
        rest.add_row("backup", b.where, b.status, b.error or newest)
        proven = f"{b.proven_at:%Y-%m-%d %H:%M:%S} UTC" if b.proven_at else "never"
        rest.add_row("proof", b.where, "failed" if b.proof_error else "", f"last proven restore: {proven}")
        if b.archive is not None:
            state = "failing" if b.archive.failing else "ok"
            waiting = f"{b.archive.waiting_bytes / 2**20:.0f} MiB of WAL wait"
            rest.add_row("archive", b.archive.leader, state, waiting)
    out.print(rest)
    for problem in status.problems:
        out.print(f"[red]problem:[/] {escape(problem.where)}: {escape(problem.what)}; next: {escape(problem.next)}")
    for warning in status.warnings:
        out.print(f"[yellow]warning:[/] {escape(warning.where)}: {escape(warning.what)}; next: {escape(warning.next)}")
