"""Role images built by the flake: `<image>-nspawn` for containers. The store's `root` is a link to Nix's result,
which is a root of Nix's garbage collector for as long as the image is in the store."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from pgha_orch import nix
from pgha_orch.errors import OperationError
from pgha_orch.image import manifest, store
from pgha_orch.image.store import Image
from pgha_orch.inventory.model import Role
from pgha_orch.progress import Reporter, step

BUILDER = "nix"
# What the flake calls a role's image (images/*.nix).
NAMES = {
    Role.ETCD: "etcd-node",
    Role.POSTGRES: "pg-node",
    Role.HAPROXY: "haproxy-node",
    Role.BACKUP: "backup-node",
}


def build(roles: Sequence[Role], image_dir: Path, reporter: Reporter) -> list[Image]:
    """Build these roles' images with Nix, one after the other; what did not change comes from Nix's own store.

    Raises OperationError when there is no Nix, or when a build fails: its log stays beside the images.
    """
    nix.require()
    with store.locked(image_dir):
        return [_build(role, image_dir, reporter) for role in roles]


def _build(role: Role, image_dir: Path, reporter: Reporter) -> Image:
    attribute = f"packages.{nix.system()}.{NAMES[role]}-nspawn"
    with step(f"image {role}", reporter) as current:
        with store.staging(image_dir, role) as staged:
            done = nix.build(attribute, staged / "build.log")
            if done.output is None:
                kept = image_dir / role / "build.log"
                shutil.copy(done.log, kept)
                raise OperationError(f"{attribute}: {done.said}", hint=f"read {kept}")
            described = manifest.read(done.output / manifest.IN_IMAGE)
            (staged / "root").symlink_to(done.output)
            image = store.publish(staged, image_dir, described, hashlib.sha256(str(done.output).encode()).hexdigest())
        # Again, from the name that the image has now: this registers the link with Nix's garbage collector.
        nix.build(attribute, image.directory / "build.log", out_link=image.root)
        current.note = image.build_id[: store.BUILD_ID_LENGTH]
    return image
