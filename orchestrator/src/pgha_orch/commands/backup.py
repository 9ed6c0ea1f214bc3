"""backup run, list, check, prove."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import click
from rich.markup import escape
from rich.table import Column, Table

from pgha_orch.backup import prove, repository
from pgha_orch.backup.repository import Kind, mib
from pgha_orch.cluster import Cluster
from pgha_orch.commands.display import Progress, err, out
from pgha_orch.commands.options import inventory_argument, json_option, open_cluster, state_option
from pgha_orch.errors import UsageError
from pgha_orch.health.backup import BackupSet


@click.group()
def backup() -> None:
    """Take backups, list them, check the repository, prove that it restores."""


@backup.command("run")
@inventory_argument
@state_option
@json_option
@click.option(
    "--type",
    "kind",
    type=click.Choice(["full", "diff", "incr"]),
    default="incr",
    show_default=True,
    help="Everything, or what changed since the last full one, or since the last one of any kind.",
)
def run_(hosts_yml: Path, state_dir: Path | None, as_json: bool, kind: str) -> None:
    """Take a backup now. It becomes a full one when there is none to build on."""
    cluster = _open(hosts_yml, state_dir)
    with Progress() as progress:
        made = repository.run(cluster, cast(Kind, kind), progress)
    if as_json:
        click.echo(json.dumps(_document(made), indent=2))


@backup.command("list")
@inventory_argument
@state_option
@json_option
def list_(hosts_yml: Path, state_dir: Path | None, as_json: bool) -> None:
    """List the backups in the repository with their sizes, oldest first. Times are UTC."""
    cluster = _open(hosts_yml, state_dir)
    found = repository.look(cluster)
    if as_json:
        wal = {"id": found.archive_id, "first": found.wal_min, "last": found.wal_max}
        document = {"status": found.status, "wal": wal, "backups": [_document(b) for b in found.backups]}
        click.echo(json.dumps(document, indent=2))
        return
    table = Table(
        Column("Label", no_wrap=True), "Type", "Ended (UTC)", "Took", "Database", "Added", "Timeline", "Pages"
    )
    for one in found.backups:
        seconds = (one.stopped - one.started).total_seconds()
        table.add_row(
            one.label,
            one.kind,
            f"{one.stopped:%Y-%m-%d %H:%M:%S}",
            f"{seconds:.0f} s",
            mib(one.database_bytes),
            mib(one.repository_bytes),
            str(one.timeline),
            "[red]bad checksums[/]" if one.error else "ok",
        )
    out.print(table)
    total = sum(b.repository_bytes for b in found.backups)
    out.print(f"{len(found.backups)} backups, {mib(total)}; WAL {found.wal_min or '-'} to {found.wal_max or '-'}")


@backup.command("check")
@inventory_argument
@state_option
@json_option
@click.option("--verify/--no-verify", default=True, show_default=True, help="Read every file in the repository.")
def check(hosts_yml: Path, state_dir: Path | None, as_json: bool, verify: bool) -> None:
    """Check that WAL reaches the archive, and that every file in the repository is as it was written.

    Exit code 0 when all is well, 1 when something is wrong.
    """
    cluster = _open(hosts_yml, state_dir)
    with Progress() as progress:
        seen = repository.check(cluster, progress, verify=verify)
    if as_json:
        click.echo(json.dumps(asdict(seen), indent=2))
    for finding in () if as_json else seen.findings:
        out.print(f"[red]problem:[/] {escape(finding.what)}; next: {escape(finding.next)}")
    if seen.findings:
        raise click.exceptions.Exit(1)


@backup.command("prove")
@inventory_argument
@state_option
@json_option
@click.option("--to", "target", default="consistent", show_default=True, help="As restore's --to; consistent: no more.")
@click.option("--backup", "label", help="This backup.  [default: the newest that can reach the target]")
def prove_(hosts_yml: Path, state_dir: Path | None, as_json: bool, target: str, label: str | None) -> None:
    """Prove that a backup restores: beside everything else, started, every page and index read, rows counted.

    Nothing of the cluster is touched. The proof is recorded, and `status` shows its age.
    """
    cluster = _open(hosts_yml, state_dir)
    with Progress() as progress:
        proof = prove.prove(cluster, target, label, progress, now=datetime.now(UTC))
    if as_json:
        click.echo(proof.model_dump_json(indent=2))
    elif proof.ok:
        rows = "".join(f", {table} {count} rows" for table, count in proof.rows.items())
        err.print(f"proven: {proof.label} restores, up to {proof.recovered_to or 'no transaction'}{rows}")
    if not proof.ok:
        if not as_json:
            err.print(f"[red]not proven:[/] {escape(proof.error)}")
        raise click.exceptions.Exit(1)


def _open(hosts_yml: Path, state_dir: Path | None) -> Cluster:
    cluster = open_cluster(hosts_yml, state_dir, quiet=True)
    if cluster.inventory.backup is None:
        raise UsageError(f"{hosts_yml}: backup: there is no such section", hint="add `backup: {}` and a backup host")
    cluster.fleet.assert_reachable()
    return cluster


def _document(one: BackupSet) -> dict[str, object]:
    times = {"started": one.started.isoformat(), "stopped": one.stopped.isoformat()}
    return asdict(one) | times | {"timeline": one.timeline}
