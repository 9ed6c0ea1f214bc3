"""Images as disks: GPT with an EFI partition (systemd-boot, kernel, initrd) and the root as a squashfs.

The root's bytes are the image's own plus /usr/lib/modules; it is never written to, so one file serves all machines
of a role. It boots by UEFI, or with the kernel and initrd given directly (`-kernel`), which is what QEMU does here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pgha_orch import process
from pgha_orch.errors import OperationError, UsageError
from pgha_orch.image import kernel, store
from pgha_orch.image.kernel import Kernel
from pgha_orch.image.store import Image
from pgha_orch.progress import Reporter

ROOT_LABEL = "pgha-root"
COMMAND_LINE = f"root=PARTLABEL={ROOT_LABEL} rootfstype=squashfs ro panic=5 quiet console=tty0 console=ttyS0"
MIB = 1 << 20
ESP_MIB = 64
TIMEOUT_S = 600.0
PROGRAMS = {
    "mksquashfs": "squashfs-tools",
    "qemu-img": "qemu-utils",
    "sfdisk": "fdisk",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
}


@dataclass(frozen=True)
class Disk:
    """A role's disk, qcow2, never to be written to, and the kernel that is on it."""

    path: Path
    kernel: Kernel


def find(image: Image, image_dir: Path) -> Disk:
    """The image's disk with today's kernel; it need not be built yet."""
    own = kernel.find(image_dir)
    layout = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    return Disk(image.directory / f"disk-{own.key}-{layout}.qcow2", own)


def build(images: Sequence[Image], image_dir: Path, reporter: Reporter) -> Mapping[str, Disk]:
    """Role to disk; made where it is not there yet. UsageError without root or a program, OperationError otherwise."""
    disks = {image.role: find(image, image_dir) for image in images}
    if all(disk.path.exists() and disk.kernel.directory.exists() for disk in disks.values()):
        return disks
    _check_host()
    own = kernel.build(image_dir, reporter)
    with store.locked(image_dir), ThreadPoolExecutor(max_workers=2) as pool:
        for task in [pool.submit(_make, image, disks[image.role].path, own, reporter) for image in images]:
            task.result()
    return disks


def _make(image: Image, target: Path, own: Kernel, reporter: Reporter) -> None:
    if target.exists():
        return
    reporter.saw("disks", f"making the disk of {image.role}")
    with tempfile.TemporaryDirectory(prefix=".new-disk-", dir=image.directory) as name:
        work = Path(name)
        with _merged(image.root, own.modules, work) as merged:
            # lz4: a machine without KVM feels every cycle of unpacking.
            options = ["-comp", "lz4", "-noappend", "-quiet", "-no-progress", "-all-time", "0"]
            process.run(["mksquashfs", merged, work / "root.sqfs", *options], timeout_s=TIMEOUT_S)
        _esp(work / "esp.img", own)
        _assemble(work / "disk.raw", work / "esp.img", work / "root.sqfs")
        process.run(["qemu-img", "convert", "-O", "qcow2", work / "disk.raw", work / "disk.qcow2"], timeout_s=TIMEOUT_S)
        (work / "disk.qcow2").replace(target)
    for old in image.directory.glob("disk-*.qcow2"):
        if old != target:
            old.unlink()


@contextmanager
def _merged(root: Path, modules: Path, work: Path) -> Iterator[Path]:
    """The root with the kernel's modules in it, both untouched."""
    added = work / "added"
    (added / "usr/lib").mkdir(parents=True)
    shutil.copytree(modules, added / "usr/lib/modules", copy_function=os.link, symlinks=True)
    merged = work / "merged"
    merged.mkdir()
    process.run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={added}:{root}", merged], timeout_s=30)
    try:
        yield merged
    finally:
        process.run(["umount", merged], timeout_s=30)


def _esp(path: Path, own: Kernel) -> None:
    """The EFI partition, made without mounting it."""
    entry = f"title pgha\nlinux /vmlinuz\ninitrd /initrd.img\noptions {COMMAND_LINE}\n"
    path.touch()
    os.truncate(path, ESP_MIB * MIB)
    process.run(["mkfs.vfat", "-n", "PGHA-ESP", path], timeout_s=60)
    process.run(["mmd", "-i", path, "::/EFI", "::/EFI/BOOT", "::/loader", "::/loader/entries"], timeout_s=60)
    files = {own.loader: "::/EFI/BOOT/BOOTX64.EFI", own.vmlinuz: "::/vmlinuz", own.initrd: "::/initrd.img"}
    for file, target in files.items():
        process.run(["mcopy", "-i", path, file, target], timeout_s=60)
    process.run(["mcopy", "-i", path, "-", "::/loader/entries/pgha.conf"], input=entry, timeout_s=60)
    process.run(["mcopy", "-i", path, "-", "::/loader/loader.conf"], input="timeout 0\n", timeout_s=60)


def _assemble(disk: Path, esp: Path, root: Path) -> None:
    """Both parts at 1 MiB and behind it, in a GPT."""
    root_mib = -(-root.stat().st_size // MIB)
    disk.touch()
    os.truncate(disk, (1 + ESP_MIB + root_mib + 1) * MIB)
    table = (
        "label: gpt\n"
        f"start=1MiB, size={ESP_MIB}MiB, type=uefi, name=pgha-esp\n"
        f"start={1 + ESP_MIB}MiB, size={root_mib}MiB, type=linux, name={ROOT_LABEL}\n"
    )
    process.run(["sfdisk", "--quiet", disk], input=table, timeout_s=60)
    with disk.open("r+b") as target:
        for part, at in ((esp, 1), (root, 1 + ESP_MIB)):
            target.seek(at * MIB)
            with part.open("rb") as source:
                shutil.copyfileobj(source, target, MIB)


def _check_host() -> None:
    if os.geteuid() != 0:
        raise UsageError("building a disk needs root", hint="run it with sudo")
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            raise OperationError(f"{program}: not found", hint=f"apt-get install {package}")
