"""drill."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from pgha_orch.commands.display import err
from pgha_orch.commands.drill_display import LiveLine, show_result
from pgha_orch.commands.options import image_option, inventory_argument, json_option, open_cluster, state_option
from pgha_orch.drills import run
from pgha_orch.drills.clients import Pace
from pgha_orch.drills.faults import Injector
from pgha_orch.drills.scenario import discover, select
from pgha_orch.errors import UsageError
from pgha_orch.image import list_images


@click.command()
@inventory_argument
@click.argument("scenarios", nargs=-1)
@state_option
@image_option
@json_option
@click.option("--repeat", type=click.IntRange(1, 1000), default=1, show_default=True, help="Runs of each scenario.")
@click.option(
    "--rate",
    type=click.FloatRange(1, 2000),
    default=50.0,
    show_default=True,
    help="Writes per second through HAProxy, all clients together.",
)
@click.option("--clients", type=click.IntRange(1, 64), default=8, show_default=True, help="Writing clients.")
@click.option(
    "--report",
    "report_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write an HTML report with a plot of every run; it stands alone.",
)
@click.option("--heal", is_flag=True, help="Only take away what a drill that was killed left broken.")
@click.option("--list", "list_only", is_flag=True, help="List the scenarios, and end.")
def drill(
    hosts_yml: Path,
    scenarios: tuple[str, ...],
    state_dir: Path | None,
    image_dir: Path,
    as_json: bool,
    repeat: int,
    rate: float,
    clients: int,
    report_file: Path | None,
    heal: bool,
    list_only: bool,
) -> None:
    """Break the cluster of HOSTS_YML on purpose, under load, and check that no acknowledged write is lost.

    SCENARIOS are numbers or names (--list shows them), or all. Only a healthy cluster whose inventory says
    `drills: allowed` is drilled; what is broken is healed again, also after Ctrl-C. Exit code 1 when an
    expectation or an invariant does not hold.
    """
    wanted = select(scenarios)
    if list_only:
        for one in discover():
            click.echo(f"{one.number:>4}  {one.name:<24} {one.title}")
        return
    cluster = open_cluster(hosts_yml, state_dir, quiet=True)
    images = list_images(image_dir)
    if heal:
        with cluster.state.lock("deploy"):
            for fault in Injector(cluster, images).heal_all():
                err.print(f"healed {fault}")
        return
    if cluster.inventory.drills != "allowed":
        raise UsageError(
            f'{hosts_yml}: drills: "{cluster.inventory.drills}": this cluster may not be broken on purpose',
            hint=run.FORBIDDEN_HINT,
        )
    if report_file is not None:
        writable(report_file)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with LiveLine() as live:
            result = run.drill(cluster, images, wanted, live, repeat=repeat, pace=Pace(rate, clients))
    finally:
        left = Injector(cluster, images).in_place()
        if left:
            err.print(f"[red]still broken:[/] {', '.join(map(str, left))}; next: pgha-orch drill --heal {hosts_yml}")
    if report_file is not None:
        from pgha_orch.drills import (
            report,  # matplotlib takes half a second to load, which other commands need not wait
        )

        report.write(result, report_file)
        err.print(f"report: {report_file}")
    if as_json:
        click.echo(result.model_dump_json(indent=2))
    else:
        show_result(result)
    if not result.ok:
        raise click.exceptions.Exit(1)


def writable(file: Path) -> None:
    """Find out before hours of drilling, not after; UsageError when the file cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    except OSError as exc:
        raise UsageError(f"{file}: {exc.strerror}", hint="choose another place with --report") from exc


def _interrupt(_signal: int, _frame: object) -> None:
    """SIGTERM ends a drill as Ctrl-C does: by way of its healing."""
    raise KeyboardInterrupt
