"""The images that a deploy needs: built when they can be, or the newest that another builder put in the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pgha_orch.image import debian, store
from pgha_orch.image.store import Image
from pgha_orch.inventory.model import Inventory, Role
from pgha_orch.progress import Reporter


def build_images(roles: Sequence[Role], image_dir: Path, reporter: Reporter, *, refresh: bool = False) -> list[Image]:
    """Build the Debian images of these roles; with `refresh` also those that the store has already."""
    return debian.build([role.value for role in roles], image_dir=image_dir, refresh=refresh, reporter=reporter)


def ensure_images(inventory: Inventory, image_dir: Path, reporter: Reporter) -> dict[Role, Image]:
    """An image for each role that the inventory has a host of.

    Raises OperationError when a build fails, or when the builder that the inventory names is not run from here
    and the store has no image of it.
    """
    roles = [role for role in Role if any(host.role is role for host in inventory.hosts.values())]
    builder = inventory.image.builder
    if builder == debian.BUILDER:
        return dict(zip(roles, build_images(roles, image_dir, reporter), strict=True))
    return {role: store.newest(image_dir, role.value, builder) for role in roles}
