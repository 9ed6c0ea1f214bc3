"""The script that mounts, and may format, the data disk: on loop devices, in a mount namespace of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pgha_orch.image import debian

MIB = 1 << 20
SIZE = 320 * MIB


def _loop(image: Path) -> str:
    done = subprocess.run(
        ["losetup", "--find", "--show", image], capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"needs loop devices: {done.stderr.strip()}")
    return done.stdout.strip()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Makes a disk of `size` bytes with `content` at `offset`; returns its device."""
    if os.geteuid() != 0:
        pytest.skip("needs root for loop devices")
    made: list[str] = []

    def make(content: bytes = b"", offset: int = 0, size: int = SIZE) -> str:
        image = tmp_path / f"disk-{len(made)}"
        with image.open("wb") as file:
            file.truncate(size)
            file.seek(offset)
            file.write(content)
        made.append(_loop(image))
        return made[-1]

    yield make
    for device in made:
        subprocess.run(["losetup", "--detach", device], timeout=30, check=True)


Mount = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    """Runs data-mount on a machine that has these disks and is no container."""
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    (fakes / "systemd-detect-virt").write_text("#!/bin/sh\nexit 1\n")
    (fakes / "udevadm").write_text("#!/bin/sh\n")
    # Loop devices are no disks to lsblk, and this machine's own disks are none of the script's business.
    (fakes / "lsblk").write_text('#!/bin/sh\nfor d in $DISKS; do echo "$d disk 0 $(blockdev --getsize64 $d)"; done\n')
    (fakes / "findfs").write_text(
        '#!/bin/sh\nfor d in $DISKS; do\n  [ "$(blkid -p -o value -s LABEL $d)" = "${1#LABEL=}" ] && echo $d && exit\n'
        "done\nexit 1\n"
    )
    for fake in fakes.iterdir():
        fake.chmod(0o755)
    script = debian.images_source() / "node/all/lib/pgha/data-mount"
    text = script.read_text().replace("@bash@", "/bin/bash").replace("@path@", f"{fakes}:/usr/sbin:/usr/bin")
    (tmp_path / "data-mount").write_text(text)

    def run(*disks: str, then: str = "true") -> subprocess.CompletedProcess[str]:
        command = f"set -e; mount -t tmpfs none /var/lib; bash {tmp_path}/data-mount; cd /var/lib/pgha; {then}"
        env = {"PATH": "/usr/sbin:/usr/bin", "DISKS": " ".join(disks)}
        argv = ["unshare", "--mount", "bash", "-c", command]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, env=env, check=False)

    return run


def test_a_blank_disk_is_formatted_once_and_keeps_its_data(disk: Callable[..., str], mount: Mount) -> None:
    device = disk()
    first = mount(device, then="findmnt -no SOURCE,FSTYPE /var/lib/pgha; echo kept > mine")
    assert (first.returncode, first.stdout.split(), first.stderr) == (0, [device, "ext4"], "")
    second = mount(device, then="cat mine; ls -d log/journal")
    assert second.stdout.split() == ["kept", "log/journal"], second.stderr


def test_the_labelled_disk_wins_over_a_blank_one(disk: Callable[..., str], mount: Mount) -> None:
    labelled = disk()
    assert mount(labelled).returncode == 0
    done = mount(disk(), labelled, then="findmnt -no SOURCE /var/lib/pgha")
    assert done.stdout.strip() == labelled


@pytest.mark.parametrize(
    ("content", "offset"),
    [
        (b"someone's raw data", 0),
        (b"someone's raw data", 15 * MIB),
        (b"EFI PART\x00\x00\x01\x00\x5c\x00\x00\x00", 512),
        (b"LUKS\xba\xbe\x00\x02", 0),
    ],
)
def test_a_disk_that_holds_anything_is_never_formatted(
    disk: Callable[..., str], mount: Mount, content: bytes, offset: int
) -> None:
    device = disk(content, offset)
    done = mount(device)
    assert done.returncode == 1
    assert done.stderr == (
        "data disk: none labelled PGHA-DATA and none blank; a disk that holds data is never formatted\n"
    )
    with Path(device).open("rb") as file:
        file.seek(offset)
        assert file.read(len(content)) == content


def test_a_disk_with_another_file_system_is_never_formatted(disk: Callable[..., str], mount: Mount) -> None:
    device = disk()
    subprocess.run(["mkfs.ext4", "-q", "-L", "precious", device], timeout=60, check=True)
    assert mount(device).returncode == 1
    label = subprocess.run(["blkid", "-p", "-o", "value", "-s", "LABEL", device], capture_output=True, text=True)
    assert label.stdout.strip() == "precious"


def test_between_two_blank_disks_nobody_guesses(disk: Callable[..., str], mount: Mount) -> None:
    one, two = disk(), disk()
    done = mount(one, two)
    assert done.stderr == f"data disk: several blank ones, label one PGHA-DATA: {one} {two}\n"
    for device in (one, two):
        assert subprocess.run(["blkid", "-p", device], timeout=30, check=False).returncode == 2, "nothing found"


def test_a_small_blank_disk_is_no_data_disk(disk: Callable[..., str], mount: Mount) -> None:
    assert "none blank" in mount(disk(size=64 * MIB)).stderr
