"""restore."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
from rich.markup import escape

from pgha_orch.backup import journal as records
from pgha_orch.backup import node
from pgha_orch.backup import restore as engine
from pgha_orch.backup.repository import mib
from pgha_orch.cluster import Cluster
from pgha_orch.commands.display import Progress, err, out
from pgha_orch.commands.options import image_option, inventory_argument, open_cluster, state_option
from pgha_orch.errors import UsageError


@click.command()
@inventory_argument
@state_option
@image_option
@click.option("--to", help="latest, a time with its zone (2026-11-23T18:30:00Z), lsn:0/3000148, or name:RESTORE_POINT.")
@click.option("--backup", "label", help="Start from this backup.  [default: the newest that fits]")
@click.option(
    "--timeline", type=click.IntRange(min=1), help="Follow this timeline.  [default: the cluster's at that time]"
)
@click.option("--plan", "plan_only", is_flag=True, help="Show what would be done, and end.")
@click.option("--yes", is_flag=True, help="Do not ask for the cluster's name.")
@click.option("--resume", is_flag=True, help="Go on with a restore that was broken off.")
@click.option("--undo", is_flag=True, help="Put the old data back, while the restore has not begun a new timeline.")
@click.option("--drop-old", is_flag=True, help="Remove the old data that past restores have kept aside.")
def restore(
    hosts_yml: Path,
    state_dir: Path | None,
    image_dir: Path,
    to: str | None,
    label: str | None,
    timeline: int | None,
    plan_only: bool,
    yes: bool,
    resume: bool,
    undo: bool,
    drop_old: bool,
) -> None:
    """Take the whole cluster back to a point in time, and take a full backup there.

    The plan is shown first. A target that cannot be reached is refused before anything stops. The old data stay on
    the machines, beside the new, until --drop-old. A restore that was broken off at any step goes on with --resume.
    """
    if sum((to is not None, resume, undo, drop_old)) != 1:
        raise click.UsageError("give one of --to, --resume, --undo and --drop-old")
    cluster = open_cluster(hosts_yml, state_dir, quiet=True)
    cluster.fleet.preflight()
    if cluster.inventory.backup is None:
        raise UsageError(f"{hosts_yml}: backup: there is no such section", hint="add `backup: {}`")
    if drop_old:
        _drop(cluster, yes)
    elif undo:
        with Progress() as progress:
            journal = engine.undo(cluster, progress)
        err.print(f"undone: the cluster has its old data again; the restore to {escape(journal.to)} is forgotten")
    elif resume:
        journal = _open_journal(cluster)
        err.print(f"going on with the restore to {escape(journal.to)}, after step {journal.stage}")
        _run(cluster, image_dir, journal)
    elif to is not None:
        journal = _plan(cluster, to, label, timeline)
        if plan_only:
            return
        _confirm(cluster, yes, "stop it and restore it")
        _run(cluster, image_dir, journal)


def _plan(cluster: Cluster, to: str, label: str | None, timeline: int | None) -> records.Journal:
    open_restore = records.load(cluster.state)
    if open_restore is not None and open_restore.to == to and label in (None, open_restore.label):
        err.print(f"this restore was broken off after step {open_restore.stage}: going on with it")
        return open_restore
    found = engine.plan(cluster, to, label, timeline, now=datetime.now(UTC))
    journal, way = found.journal, found.route
    took = (way.backup.stopped - way.backup.started).total_seconds()
    lines = (
        ("target", f"{way.target}, on timeline {way.timeline}"),
        ("from backup", f"{way.backup.label}, {mib(way.backup.database_bytes)}, taken in {took:.0f} s"),
        ("lost", found.lost),
        ("stops", f"every PostgreSQL node; {journal.first} is recovered and leads afterwards"),
        ("old data", f"kept on every node in {node.HOME}/{journal.kept}, until restore --drop-old"),
        ("then", "a new timeline, and a full backup"),
    )
    for name, text in lines:
        out.print(f"[bold]{name:>12}[/]  {escape(text)}")
    return journal


def _run(cluster: Cluster, image_dir: Path, journal: records.Journal) -> None:
    with Progress() as progress:
        images = cluster.fleet.images(image_dir, progress)
        made = engine.run(cluster, images, journal, progress)
    err.print(f"restored to {escape(journal.to)}; full backup {made.label}; old data: pgha-orch restore --drop-old")


def _open_journal(cluster: Cluster) -> records.Journal:
    journal = records.load(cluster.state)
    if journal is None:
        raise UsageError("no restore was broken off", hint="pgha-orch restore --to begins one")
    return journal


def _drop(cluster: Cluster, yes: bool) -> None:
    records.refuse_if_open(cluster.state, "restore --drop-old")
    found = engine.kept(cluster)
    total = sum(size for directories in found.values() for size in directories.values())
    if not total:
        err.print("no old data are kept")
        return
    for name, directories in found.items():
        for directory, size in directories.items():
            out.print(f"{name}: {directory}, {mib(size)}")
    _confirm(cluster, yes, f"REMOVE these {mib(total)} of old data")
    with Progress() as progress:
        engine.drop_old(cluster, progress)
    err.print(f"{mib(total)} removed")


def _confirm(cluster: Cluster, yes: bool, what: str) -> None:
    name = cluster.inventory.cluster
    if not yes and click.prompt(f"Type the cluster's name, {name}, to {what}", err=True) != name:
        raise UsageError("that is not the cluster's name: nothing was done")
