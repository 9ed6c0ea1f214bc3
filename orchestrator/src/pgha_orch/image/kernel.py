"""A kernel and initrd of our own for images that run as virtual machines or on bare metal.

Kept apart in the store (`kernel/INPUTS/`: `vmlinuz`, `initrd.img`, `modules/`, `bootx64.efi`), because all roles share
it. The initrd finds the read-only root and puts memory over it, see images/disk.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from pgha_orch import process
from pgha_orch.errors import OperationError
from pgha_orch.image import base, store
from pgha_orch.image.debian import images_source
from pgha_orch.progress import Reporter

LOADER = "usr/lib/systemd/boot/efi/systemd-bootx64.efi"
OPTIONS = ("--mode=root", "--format=directory", "--variant=essential", '--aptopt=Apt::Install-Recommends "false"')
# $0 is images/disk, $1 the root: an initrd that finds a read-only root and puts memory over it.
CONFIGURE = (
    'cp "$0/modules" "$1/etc/initramfs-tools/modules"'
    ' && cp "$0/root-overlay" "$1/etc/initramfs-tools/scripts/init-bottom/pgha-root"'
    ' && sed -i "s/^MODULES=.*/MODULES=list/" "$1/etc/initramfs-tools/initramfs.conf"'
    ' && chroot "$1" update-initramfs -u'
)


@dataclass(frozen=True)
class Kernel:
    """A complete kernel in the store. `key` is the hash of what it was made from."""

    directory: Path

    @property
    def key(self) -> str:
        return self.directory.name

    @property
    def vmlinuz(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.directory / "initrd.img"

    @property
    def modules(self) -> Path:
        """As /usr/lib/modules is in the machine."""
        return self.directory / "modules"

    @property
    def loader(self) -> Path:
        """systemd-boot, for firmware that is UEFI."""
        return self.directory / "bootx64.efi"


def find(image_dir: Path) -> Kernel:
    """The kernel of today's inputs; its directory need not exist yet."""
    digest = hashlib.sha256(f"{base.SUITE} {platform.machine()} {OPTIONS} {CONFIGURE}\n".encode())
    for path in sorted((images_source() / "disk").iterdir()):
        if path.suffix != ".md":
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return Kernel(image_dir / "kernel" / digest.hexdigest()[: store.KEY_LENGTH])


def build(image_dir: Path, reporter: Reporter) -> Kernel:
    """The kernel from the store, or made now from Debian's cloud kernel. OperationError when a step fails."""
    kernel = find(image_dir)
    if kernel.directory.exists():
        return kernel
    with store.locked(image_dir), store.staging(image_dir, "kernel") as staged:
        if kernel.directory.exists():
            return kernel
        reporter.saw("disks", "installing a kernel")
        root = staged / "root"
        _bootstrap(root)
        versions = [path.name for path in (root / "usr/lib/modules").iterdir()]
        if len(versions) != 1:
            raise OperationError(f"kernel: one version of modules expected, found {', '.join(versions) or 'none'}")
        made = staged / "made"
        made.mkdir()
        shutil.copy(root / "boot" / f"vmlinuz-{versions[0]}", made / "vmlinuz")
        shutil.copy(root / "boot" / f"initrd.img-{versions[0]}", made / "initrd.img")
        shutil.copy(root / LOADER, made / "bootx64.efi")
        (root / "usr/lib/modules").rename(made / "modules")
        made.chmod(0o755)
        made.rename(kernel.directory)
    return kernel


def _bootstrap(root: Path) -> None:
    """Debian's essential packages with a kernel, and an initrd made by them from images/disk."""
    disk = images_source() / "disk"
    hook = f"--customize-hook=set -- \"$1\"; sh -c '{CONFIGURE}' '{disk}' \"$1\""
    process.run(
        [
            "mmdebstrap",
            *OPTIONS,
            f"--keyring={base.KEYRING}",
            f"--include={','.join(base.lines(disk / 'packages'))}",
            hook,
            base.SUITE,
            root,
        ],
        env=base.environment(),
        timeout_s=base.TIMEOUT_S,
    )
