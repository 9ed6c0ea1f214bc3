"""check, render, schema: what needs no machine."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pgha_orch import identity, pki, secrets
from pgha_orch.commands.display import out, show_warnings
from pgha_orch.commands.options import inventory_argument, open_state, state_option
from pgha_orch.inventory.load import load
from pgha_orch.inventory.schema import json_schema


@click.command()
@inventory_argument
def check(hosts_yml: Path) -> None:
    """Check HOSTS_YML, and say what will hurt. Changes nothing."""
    loaded = load(hosts_yml)
    show_warnings(loaded.warnings)
    roles = ", ".join(
        f"{len(loaded.inventory.of_role(r))} {r}"
        for r in dict.fromkeys(h.role for h in loaded.inventory.hosts.values())
    )
    out.print(f"{hosts_yml}: cluster {loaded.inventory.cluster}: {roles}; {len(loaded.warnings)} warnings")


@click.command()
@inventory_argument
@click.option(
    "--out",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where to write.",
)
@state_option
def render(hosts_yml: Path, directory: Path, state_dir: Path | None) -> None:
    """Write each host's finished identity: DIR/HOST/ as files, DIR/HOST.tar as the archive machines take."""
    loaded = load(hosts_yml)
    show_warnings(loaded.warnings)
    state = open_state(loaded, state_dir)
    found = identity.render(
        loaded.inventory, secrets.ensure(state, loaded.inventory), pki.ensure(state, loaded.inventory)
    )
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, one in found.items():
        one.write_tree(directory / name)
        archive = directory / f"{name}.tar"
        archive.touch(mode=0o600)
        archive.write_bytes(one.archive())
        out.print(f"{name}: {len(one.members)} files, revision {one.revision[:12]}")


@click.command()
def schema() -> None:
    """Print the JSON Schema of hosts.yml, for editors."""
    click.echo(json.dumps(json_schema(), indent=2))
