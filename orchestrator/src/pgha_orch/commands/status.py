"""status."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from pgha_orch.cluster import Cluster
from pgha_orch.commands.display import err, out, show_status
from pgha_orch.commands.options import json_option, open_cluster, state_option
from pgha_orch.errors import OperationError
from pgha_orch.health.status import ClusterStatus, observe


@click.command()
@click.argument("hosts_yml", type=click.Path(path_type=Path), required=False)
@state_option
@json_option
@click.option("--watch", is_flag=True, help="Look again every --interval seconds until Ctrl-C.")
@click.option(
    "--interval", type=click.FloatRange(min=0.2), default=2.0, show_default=True, help="Seconds, for --watch."
)
@click.option(
    "--json-schema", "json_schema", is_flag=True, help="Print the JSON Schema of what --json prints, and end."
)
def status(
    hosts_yml: Path | None,
    state_dir: Path | None,
    as_json: bool,
    watch: bool,
    interval: float,
    json_schema: bool,
) -> None:
    """Show the cluster: PostgreSQL nodes, etcd, HAProxy, backup, and every problem with its next step.

    Exit code 0 when it is healthy, 1 when it is not.
    """
    if json_schema:
        click.echo(json.dumps(ClusterStatus.model_json_schema(), indent=2))
        return
    if hosts_yml is None:
        raise click.UsageError("missing argument HOSTS_YML")
    cluster = open_cluster(hosts_yml, state_dir, quiet=True)
    while watch:
        _show_once(cluster, as_json=as_json, clear=True)
        time.sleep(interval)
    if not _show_once(cluster, as_json=as_json, clear=False):
        raise click.exceptions.Exit(1)


def _show_once(cluster: Cluster, *, as_json: bool, clear: bool) -> bool:
    try:
        seen = observe(cluster)
    except OperationError as exc:
        if not clear:
            raise
        err.print(exc.message)
        return False
    if as_json:
        click.echo(seen.model_dump_json(indent=None if clear else 2))
    else:
        if clear and out.is_terminal:
            out.clear()
        show_status(seen)
    return seen.healthy
