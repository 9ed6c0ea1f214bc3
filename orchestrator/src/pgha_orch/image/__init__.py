"""Images: what one says about itself, where they are kept, how the Debian ones are built."""

from pgha_orch.image.debian import build
from pgha_orch.image.disk import build as build_disks
from pgha_orch.image.ensure import build_images, ensure_images
from pgha_orch.image.manifest import CONTRACT, ROLES, Manifest
from pgha_orch.image.nix import build as build_with_nix
from pgha_orch.image.store import Image, default_image_dir, list_images, newest, prune

__all__ = [
    "CONTRACT",
    "ROLES",
    "Image",
    "Manifest",
    "build",
    "build_disks",
    "build_images",
    "build_with_nix",
    "default_image_dir",
    "ensure_images",
    "list_images",
    "newest",
    "prune",
]
