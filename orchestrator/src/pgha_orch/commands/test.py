"""test: the NixOS scenarios of the checkout, through Nix."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table

from pgha_orch import nix
from pgha_orch.commands.display import Progress, out
from pgha_orch.errors import OperationError

DEFAULT_LOGS = Path(".pgha/tests")


@click.command()
@click.argument("scenarios", nargs=-1)
@click.option("--list", "only_list", is_flag=True, help="List the scenarios, and run none.")
@click.option(
    "--logs",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_LOGS,
    show_default=True,
    help="Where each scenario's log is kept.",
)
def test(scenarios: tuple[str, ...], only_list: bool, logs: Path) -> None:
    """Run SCENARIOS (all when none is named) of tests/nixos in machines that Nix builds. Needs Nix."""
    wanted = nix.choose(scenarios)
    if only_list:
        for name, shows in nix.scenarios().items():
            out.print(f"{name}: {shows}", markup=False)
        return
    nix.require()
    with Progress() as progress:
        results = {name: _run(name, logs, progress) for name in wanted}
    table = Table("Scenario", "Result", "Seconds", "Log")
    for name, done in results.items():
        table.add_row(name, "passed" if done.ok else "FAILED", f"{done.seconds:.0f}", str(done.log))
    out.print(table)
    failed = [name for name, done in results.items() if not done.ok]
    if failed:
        raise OperationError(
            f"{len(failed)} of {len(results)} scenarios failed: {', '.join(failed)}",
            hint=f"read {results[failed[0]].log}",
        )


def _run(name: str, logs: Path, progress: Progress) -> nix.Build:
    progress.started(name)
    done = nix.build(f"checks.{nix.system()}.scenario-{name}", logs / f"{name}.log")
    progress.ended(name, ok=done.ok, seconds=done.seconds, note=done.said)
    return done
