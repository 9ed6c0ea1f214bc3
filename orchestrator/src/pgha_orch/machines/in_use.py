"""Which images the machines of this host run on now, whoever started them: read from their supervisors' arguments."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

NSPAWN, QEMU = "systemd-nspawn", "qemu-system-"


def images_in_use() -> set[Path]:
    """Directories of images of which a root or a disk is in use."""
    found: set[Path] = set()
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found |= set(images_named([os.fsdecode(a) for a in cmdline.read_bytes().split(b"\0")]))
    return found


def images_named(argv: list[str]) -> Iterator[Path]:
    """Directories of images that a supervisor with these arguments uses; those of no image do no harm."""
    program = Path(argv[0]).name
    if program == NSPAWN:
        yield from _parents(a.partition("=")[2] for a in argv if a.startswith("--directory="))
    elif program.startswith(QEMU):
        options = (option for a in argv for option in a.split(","))
        yield from _parents(o.partition("=")[2] for o in options if o.startswith(("file=", "filename=")))


def _parents(paths: Iterable[str]) -> Iterator[Path]:
    yield from (Path(path).parent for path in paths if path)
