"""destroy."""

from __future__ import annotations

from pathlib import Path

import click

from pgha_orch.commands.display import Progress, err
from pgha_orch.commands.options import inventory_argument, open_cluster, state_option
from pgha_orch.deploy import teardown
from pgha_orch.errors import UsageError


@click.command()
@inventory_argument
@state_option
@click.option("--yes", is_flag=True, help="Do not ask for the cluster's name.")
@click.option("--data", is_flag=True, help="Remove the machines' data, the secrets and the certificates too.")
def destroy(hosts_yml: Path, state_dir: Path | None, yes: bool, data: bool) -> None:
    """Stop all machines of the cluster and take its network away; its data stays unless --data is given."""
    cluster = open_cluster(hosts_yml, state_dir, quiet=True)
    cluster.fleet.preflight()
    name = cluster.inventory.cluster
    if not yes:
        what = "stop it and REMOVE ALL ITS DATA" if data else "stop it (its data stays)"
        if click.prompt(f"Type the cluster's name, {name}, to {what}", err=True) != name:
            raise UsageError("that is not the cluster's name: nothing was done")
    with Progress() as progress:
        teardown.destroy(cluster, progress, data=data)
    err.print(f"cluster {name} is down" + (", its data is gone" if data else f"; its data is in {cluster.state.root}"))
