"""The image store: `<image dir>/<role>/<builder>-<input hash>-<build id>/` with `root/`, `image.json`, `tree.txt`.
Beside the roles: `base/` (see `image.base`) and `debs/`, the downloaded packages.

An image is made in a temporary directory beside the others and renamed when it is complete, so that whatever
has a name here is whole. A refreshed image lands beside the old one: machines may still run on that.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pgha_orch.errors import OperationError
from pgha_orch.image import manifest
from pgha_orch.image.manifest import Manifest

KEY_LENGTH = 16
BUILD_ID_LENGTH = 12


@dataclass(frozen=True)
class Image:
    """A complete image. `root` is its directory tree, never to be written to."""

    role: str
    builder: str
    build_id: str
    root: Path
    manifest: Manifest

    @property
    def directory(self) -> Path:
        """What the store keeps of it: `root/`, `image.json`, `tree.txt` (what the build id was computed from)."""
        return self.root.parent

    @property
    def input_hash(self) -> str:
        """Shortened hash of everything that its builder read, see `debian.input_hash`."""
        return self.directory.name.split("-")[1]


def default_image_dir() -> Path:
    """`PGHA_IMAGE_DIR`, or /var/cache/pgha/images."""
    return Path(os.environ.get("PGHA_IMAGE_DIR") or "/var/cache/pgha/images")


def list_images(image_dir: Path) -> list[Image]:
    """Every complete image, by role, newest first. An image directory that is not there holds none."""
    found: list[tuple[str, int, Image]] = []
    for path in image_dir.glob(f"*/*-*-*/{manifest.IN_IMAGE.rsplit('/', 1)[-1]}"):
        if path.parent.name.startswith("."):
            continue
        image = _load(path.parent)
        found.append((image.role, -path.stat().st_mtime_ns, image))
    return [image for _, _, image in sorted(found, key=lambda item: item[:2])]


def newest(image_dir: Path, role: str, builder: str) -> Image:
    """The image of this role that was built last. Raises OperationError when there is none."""
    for image in list_images(image_dir):
        if image.role == role and image.builder == builder:
            return image
    raise OperationError(
        f"{image_dir}: no image of role {role} by builder {builder}", hint=f"pgha-orch image build {role}"
    )


def find(image_dir: Path, role: str, builder: str, input_hash: str) -> Image | None:
    """The newest image that was built from these very inputs, if there is one."""
    for image in list_images(image_dir):
        if (image.role, image.builder, image.input_hash) == (role, builder, input_hash[:KEY_LENGTH]):
            return image
    return None


def prune(image_dir: Path, *, keep: set[Path]) -> list[Path]:
    """Delete every image whose `directory` is not in `keep` and which is not the newest of its role and builder.

    Returns the directories that are gone. The caller knows which images machines run on, by root or by disk.
    """
    gone: list[Path] = []
    seen: set[tuple[str, str]] = set()
    with locked(image_dir):
        for image in list_images(image_dir):
            kind = (image.role, image.builder)
            if kind in seen and image.directory not in keep:
                discard(image.directory)
                gone.append(image.directory)
            seen.add(kind)
    return gone


@contextmanager
def locked(image_dir: Path) -> Iterator[None]:
    """One builder at a time: a second one waits, and then finds the images of the first."""
    _make(image_dir)
    with (image_dir / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def staging(image_dir: Path, role: str) -> Iterator[Path]:
    """A directory to make an image in; gone afterwards unless it was published."""
    _make(image_dir / role)
    directory = Path(tempfile.mkdtemp(prefix=".new-", dir=image_dir / role))
    try:
        yield directory
    finally:
        if directory.exists():
            discard(directory)


def sweep(image_dir: Path) -> None:
    """Delete what broken-off builds left. Only under the lock."""
    for left in image_dir.glob("*/.new-*"):
        discard(left)


def discard(directory: Path) -> None:
    """First away from its name, so that a broken-off deletion leaves no half image under it."""
    if not directory.name.startswith(".new-"):
        directory = directory.rename(directory.with_name(f".new-gone-{directory.name}"))
    shutil.rmtree(directory)


def publish(staged: Path, image_dir: Path, described: Manifest, input_hash: str) -> Image:
    """Give a complete image its name. One with the same content that is there already becomes the newest."""
    name = f"{described.builder}-{input_hash[:KEY_LENGTH]}-{described.build_id[:BUILD_ID_LENGTH]}"
    (staged / "image.json").write_text(described.to_json())
    final = image_dir / described.role / name
    if final.exists():
        (final / "image.json").touch()
    else:
        staged.chmod(0o755)
        staged.rename(final)
    return _load(final)


def _load(directory: Path) -> Image:
    described = manifest.read(directory / "image.json")
    return Image(described.role, described.builder, described.build_id, directory / "root", described)


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OperationError(
            f"{directory}: {exc.strerror}", hint="run as root, or set PGHA_IMAGE_DIR to a directory of yours"
        ) from exc
