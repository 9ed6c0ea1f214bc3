"""preflight."""

from __future__ import annotations

from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from pgha_orch.commands.display import err, out
from pgha_orch.commands.options import inventory_argument, json_option, open_cluster, state_option
from pgha_orch.errors import UsageError
from pgha_orch.machines import MachineState
from pgha_orch.preflight import reach, report
from pgha_orch.preflight.report import Report


@click.command()
@inventory_argument
@state_option
@json_option
def preflight(hosts_yml: Path, state_dir: Path | None, as_json: bool) -> None:
    """Measure what the cluster will depend on: ports between hosts, round trips, disks, clocks, images.

    The machines must be up, with or without an identity. Nothing of theirs is changed. Exit code 1 when a deploy
    would fail or not hold.
    """
    cluster = open_cluster(hosts_yml, state_dir, quiet=as_json)
    cluster.fleet.preflight()
    machines = cluster.fleet.machines.values()
    if cluster.fleet.boots_images and all(m.state() is not MachineState.RUNNING for m in machines):
        raise UsageError(
            f"machines: {cluster.inventory.machines}: none runs, so there is nothing to measure",
            hint="deploy, then measure",
        )
    seen = report.measure(cluster)
    if as_json:
        click.echo(seen.model_dump_json(indent=2))
    else:
        _show(seen)
    if not seen.ready:
        raise click.exceptions.Exit(1)


def _show(seen: Report) -> None:
    hosts = Table("Host", "Role", "State", "Image", "Clock ms", "Write ms", "p99", "Free GiB", title_justify="left")
    for h in seen.hosts:
        clock = "" if h.clock_offset_ms is None else f"{h.clock_offset_ms:+.1f} ±{h.clock_error_ms:.1f}"
        hosts.add_row(
            h.host,
            h.role,
            "waits" if h.state is MachineState.ABSENT else h.state,
            f"{h.builder} {(h.build_id or '')[:8]}",
            clock,
            _number(h.write_median_ms),
            _number(h.write_p99_ms),
            "" if h.free_bytes is None else f"{h.free_bytes / 2**30:.1f}",
        )
    out.print(hosts)
    out.print(_matrix(seen))
    works = sum(flow.connect_ms is not None for flow in seen.flows)
    out.print(f"{works} of {len(seen.flows)} flows that the cluster needs work")
    out.print(f"failover preset: {seen.preset}; fitting here: {', '.join(seen.fits) or 'none'}")
    for f in seen.findings:
        colour = "red" if f.fatal else "yellow"
        out.print(
            f"[{colour}]{'problem' if f.fatal else 'warning'}:[/] {escape(f'{f.where}: {f.what}; next: {f.next}')}"
        )
    err.print("ready to deploy" if seen.ready else "not ready")


def _matrix(seen: Report) -> Table:
    """Milliseconds until a connection stands, the slowest of a pair's flows; a dash where nothing is needed."""
    names = [h.host for h in seen.hosts]
    table = Table("Connect ms, from", *names, title_justify="left")
    for source in (reach.HERE, *names):
        cells = []
        for target in names:
            own = [f for f in seen.flows if (f.source, f.target) == (source, target)]
            if not own:
                cells.append("-")
            elif any(f.connect_ms is None for f in own):
                cells.append("[red]blocked[/]")
            else:
                cells.append(f"{max(f.connect_ms or 0 for f in own):.2f}")
        table.add_row(source, *cells)
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
