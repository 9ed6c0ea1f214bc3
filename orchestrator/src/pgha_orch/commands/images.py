"""image build, image list."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Table

from pgha_orch.commands.display import Progress, out
from pgha_orch.commands.options import image_option, json_option
from pgha_orch.image import Image, build_disks, build_images, build_with_nix, list_images, prune
from pgha_orch.inventory.model import Role
from pgha_orch.machines import images_in_use


@click.group()
def image() -> None:
    """Build and list the role images."""


@image.command("build")
@click.argument("roles", nargs=-1, type=click.Choice([r.value for r in Role]))
@image_option
@click.option("--refresh", is_flag=True, help="Build anew from today's packages, also what is in the cache.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["root", "qcow2"]),
    default="root",
    show_default=True,
    help="root: a directory, for nspawn. qcow2: a disk besides, with a kernel of its own, for VMs and bare metal.",
)
@click.option(
    "--builder",
    type=click.Choice(["debian", "nix"]),
    default="debian",
    show_default=True,
    help="nix: from the flake of this checkout, for `image: {builder: nix}` in hosts.yml. Needs Nix.",
)
def build(roles: tuple[str, ...], image_dir: Path, refresh: bool, form: str, builder: str) -> None:
    """Build the images of ROLES (all four when none is named). What did not change comes from the cache."""
    wanted = tuple(Role(r) for r in roles) or tuple(Role)
    if builder == "nix":
        if refresh or form != "root":
            raise click.UsageError("--builder nix: disks are `nix build .#pg-node`, newer packages `nix flake update`")
        with Progress() as progress:
            _show(build_with_nix(wanted, image_dir, progress))
        return
    with Progress() as progress:
        built = build_images(wanted, image_dir, progress, refresh=refresh)
        disks = build_disks(built, image_dir, progress) if form == "qcow2" else {}
    _show(built)
    for role, disk in disks.items():
        out.print(f"{role}: {disk.path}")


@image.command("list")
@image_option
@json_option
def list_(image_dir: Path, as_json: bool) -> None:
    """List the built images."""
    found = list_images(image_dir)
    if as_json:
        click.echo(json.dumps([_document(i) for i in found], indent=2))
    else:
        _show(found)


@image.command("prune")
@image_option
def prune_(image_dir: Path) -> None:
    """Delete images that are neither the newest of their role nor booted on this host now."""
    gone = prune(image_dir, keep=images_in_use())
    for directory in gone:
        out.print(f"deleted {directory}")
    out.print(f"{len(gone)} images deleted")


def _show(images: list[Image]) -> None:
    table = Table("Role", "Builder", "Build id", "Components", "Root")
    for one in images:
        parts = ", ".join(f"{name} {version}" for name, version in one.manifest.components.items())
        table.add_row(one.role, one.builder, one.build_id[:12], parts, str(one.root))
    out.print(table)


def _document(one: Image) -> dict[str, object]:
    return asdict(one) | {"root": str(one.root), "manifest": one.manifest.model_dump(mode="json")}
