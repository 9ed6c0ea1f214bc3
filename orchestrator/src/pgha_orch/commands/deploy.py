"""deploy and plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import click

from pgha_orch.backup import journal
from pgha_orch.cluster import Cluster
from pgha_orch.commands.display import Progress, err, out, show_status
from pgha_orch.commands.options import (
    image_option,
    inventory_argument,
    json_option,
    open_cluster,
    state_option,
)
from pgha_orch.deploy import run
from pgha_orch.deploy.run import Plan
from pgha_orch.health import status


@click.command()
@inventory_argument
@state_option
@image_option
@json_option
def deploy(hosts_yml: Path, state_dir: Path | None, image_dir: Path, as_json: bool) -> None:
    """Bring the cluster of HOSTS_YML up, or bring it to what HOSTS_YML says now.

    Every step is safe to repeat: a second deploy changes nothing, a broken-off one goes on where it stopped.
    """
    cluster = open_cluster(hosts_yml, state_dir, quiet=as_json)
    cluster.fleet.preflight()
    journal.refuse_if_open(cluster.state, "deploy")
    with Progress() as progress:
        images = cluster.fleet.images(image_dir, progress)
        outcome = run.deploy(cluster, images, progress)
    seen = status.observe(cluster)
    if as_json:
        document = {
            "changed": outcome.changed,
            "seconds": round(outcome.seconds, 3),
            "first_write_seconds": outcome.first_write_s and round(outcome.first_write_s, 3),
            **_plan_document(outcome.plan),
            "sql": outcome.sql,
            "status": seen.model_dump(mode="json"),
        }
        click.echo(json.dumps(document, indent=2))
    else:
        show_status(seen)
        _show_addresses(cluster)
        err.print(f"{'deployed' if outcome.changed else 'nothing to change'} in {outcome.seconds:.1f} s")
    if not seen.healthy:
        raise click.exceptions.Exit(1)


@click.command()
@inventory_argument
@state_option
@image_option
@json_option
def plan(hosts_yml: Path, state_dir: Path | None, image_dir: Path, as_json: bool) -> None:
    """Show what deploy would change, and whether it means a reload, a restart, a reboot or a new machine."""
    cluster = open_cluster(hosts_yml, state_dir, quiet=as_json)
    cluster.fleet.preflight()
    with Progress() as progress:
        found = run.plan(cluster, cluster.fleet.images(image_dir, progress))
    if as_json:
        click.echo(json.dumps(_plan_document(found), indent=2))
        return
    for change in found.changes:
        out.print(f"{change.host}: {change.impact}: {change.what}")
    for difference in found.parameters:
        out.print(f"patroni: {difference.impact}: {difference.key}: {difference.now} -> {difference.wanted}")
    if found.empty:
        out.print("nothing to change")


def _plan_document(found: Plan) -> Mapping[str, object]:
    return {
        "changes": [
            {
                "host": c.host,
                "role": c.role,
                "impact": c.impact,
                "what": c.what,
                "actions": [str(a) for a in c.actions],
            }
            for c in found.changes
        ],
        "parameters": [asdict(d) for d in found.parameters],
    }


def _show_addresses(cluster: Cluster) -> None:
    """The lines to copy: psql for both ports, the stats page."""
    proxy, ports = cluster.proxy_target(), cluster.inventory.haproxy
    user = next((u.name for u in cluster.inventory.postgresql.users), proxy.user)
    base = next((d.name for d in cluster.inventory.postgresql.databases if d.owner == user), proxy.dbname)
    passfile = write_passfile(cluster)
    for port, what in ((ports.port_rw, "read/write"), (ports.port_ro, "read-only")):
        link = f"host={proxy.host} port={port} dbname={base} user={user} sslmode=verify-full sslrootcert={proxy.ca}"
        out.print(f'{what:>10}: PGPASSFILE={passfile} psql "{link}"')
    host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    out.print(
        f"     stats: https://{host}:{ports.port_stats}/"
        f" (user {status.STATS_USER}, password in {cluster.state.root}/secrets.json)"
    )


def write_passfile(cluster: Cluster) -> Path:
    """A pgpass file of the inventory's users, in the state directory."""
    passwords = {"pgha": cluster.secrets.pgha, **cluster.secrets.users}
    host = cluster.proxy_target().host.replace(":", r"\:")
    lines = [f"{host}:*:*:{user}:{value.get_secret_value()}\n" for user, value in passwords.items()]
    content = "".join(lines).encode()
    return (
        cluster.state.path("pgpass")
        if cluster.state.read("pgpass") == content
        else cluster.state.write("pgpass", content)
    )
