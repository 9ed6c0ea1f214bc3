"""Small drives that a machine finds by their label: PGHA-IDENT and PGHA-BOOT (images/node/README.md)."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pgha_orch.process import run

SIZE = "4M"


def write(path: Path, label: str, name: str, content: bytes) -> None:
    """Make `path` the image of an ext4 drive with this label and one file in it; only its owner can read it."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    with tempfile.TemporaryDirectory(prefix="pgha-drive-") as directory:
        file = Path(directory) / name
        file.touch(mode=0o600)
        file.write_bytes(content)
        options = ["-q", "-F", "-L", label, "-E", "root_owner=0:0", "-O", "^has_journal", "-d", directory]
        run(["mkfs.ext4", *options, part, SIZE], timeout_s=60)
    part.replace(path)
