"""exec, ssh, logs, psql: into one machine, or through HAProxy."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import click

from pgha_orch import process
from pgha_orch.cluster import Cluster
from pgha_orch.commands.deploy import write_passfile
from pgha_orch.commands.options import inventory_argument, open_cluster, state_option
from pgha_orch.errors import OperationError, UsageError
from pgha_orch.machines import Machine

PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command("exec", context_settings=PASS_ON)
@inventory_argument
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@state_option
def exec_(hosts_yml: Path, host: str, command: tuple[str, ...], state_dir: Path | None) -> None:
    """Run COMMAND on HOST as root; its exit code is this one's.

    Options of pgha-orch go before HOSTS_YML.
    """
    machine = _machine(open_cluster(hosts_yml, state_dir, quiet=True), host)
    raise click.exceptions.Exit(machine.interactive(command))


@click.command(context_settings=PASS_ON)
@inventory_argument
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@state_option
def ssh(hosts_yml: Path, host: str, command: tuple[str, ...], state_dir: Path | None) -> None:
    """Log in to HOST by SSH as root with the operator's key; its host key is known beforehand."""
    cluster = open_cluster(hosts_yml, state_dir, quiet=True)
    _machine(cluster, host)
    cluster.fleet.assert_reachable()
    address = str(cluster.inventory.hosts[host].address)
    known = cluster.state.write("known_hosts", _known_hosts(cluster))
    raise click.exceptions.Exit(
        process.stream(
            [
                "ssh",
                "-i",
                cluster.pki.ssh_operator_path,
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                f"UserKnownHostsFile={known}",
                "-o",
                "StrictHostKeyChecking=yes",
                f"root@{address}",
                *command,
            ]
        )
    )


@click.command()
@inventory_argument
@click.argument("host")
@click.option("-u", "--unit", help="Only this unit, such as patroni.service.")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="How many to begin with.",
)
@state_option
def logs(hosts_yml: Path, host: str, unit: str | None, follow: bool, lines: int, state_dir: Path | None) -> None:
    """Show HOST's journal; its console when the machine does not run."""
    machine = _machine(open_cluster(hosts_yml, state_dir, quiet=True), host)
    try:
        arguments = ["journalctl", "--no-pager", f"--lines={lines}"]
        arguments += [f"--unit={unit}"] if unit else []
        arguments += ["--follow"] if follow else []
        raise click.exceptions.Exit(machine.interactive(arguments))
    except OperationError:
        if not machine.console.exists():
            raise
        tail = machine.console.read_text(errors="replace").splitlines()[-lines:]
        click.echo("\n".join(tail))


@click.command(context_settings={"ignore_unknown_options": True})
@inventory_argument
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--read-only", is_flag=True, help="Through the read-only port, on a replica.")
@click.option("-U", "--user", help="A user of the inventory. [default: its first]")
@click.option("-d", "--dbname", help="A database. [default: the first that the user owns]")
@state_option
def psql(
    hosts_yml: Path,
    arguments: tuple[str, ...],
    read_only: bool,
    user: str | None,
    dbname: str | None,
    state_dir: Path | None,
) -> None:
    """Open psql through HAProxy, with TLS verified in full; ARGUMENTS go to psql."""
    cluster = open_cluster(hosts_yml, state_dir, quiet=True)
    cluster.fleet.assert_reachable()
    postgresql = cluster.inventory.postgresql
    target = cluster.proxy_target(read_only=read_only)
    users = [u.name for u in postgresql.users] or [target.user]
    if user is not None and user not in [*users, target.user]:
        raise UsageError(f"user {user}: not in {hosts_yml}", hint=f"one of: {', '.join(users)}")
    user = user or users[0]
    dbname = dbname or next((d.name for d in postgresql.databases if d.owner == user), target.dbname)
    env = dict(os.environ) | {
        "PGPASSFILE": str(write_passfile(cluster)),
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": str(target.ca),
        "PGCONNECT_TIMEOUT": os.environ.get("PGCONNECT_TIMEOUT", "10"),
    }
    where = ["--host", target.host, "--port", str(target.port), "--username", user, "--dbname", dbname]
    raise click.exceptions.Exit(process.stream(["psql", *where, *arguments], env=env))


def _machine(cluster: Cluster, host: str) -> Machine:
    if host not in cluster.inventory.hosts:
        near = difflib.get_close_matches(host, cluster.inventory.hosts, n=1)
        known = f"did you mean {near[0]}?" if near else f"hosts: {', '.join(cluster.inventory.hosts)}"
        raise UsageError(f"{host}: no such host in {cluster.path}", hint=known)
    return cluster.machine(host)


def _known_hosts(cluster: Cluster) -> bytes:
    lines = [
        f"{name},{host.address} {cluster.pki.ssh_hosts[name].public}\n"
        for name, host in cluster.inventory.hosts.items()
    ]
    return "".join(lines).encode()
