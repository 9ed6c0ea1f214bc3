"""Seconds to build all four images: cold (an empty store), with kept packages, and warm.

.venv/bin/python -m tests.bench.images [REPEATS]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.lab import ORCH, report


def build(store: Path) -> float:
    begun = time.monotonic()
    env = dict(os.environ) | {"PGHA_IMAGE_DIR": str(store)}
    subprocess.run([ORCH, "image", "build"], check=True, timeout=1800, stdout=subprocess.DEVNULL, env=env)
    return time.monotonic() - begun


def main(repeats: int) -> None:
    cold, kept, warm = [], [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="pgha-images-", dir="/var/cache/pgha") as directory:
            store = Path(directory)
            cold.append(build(store))
            for role in ("etcd", "postgres", "haproxy", "backup"):
                shutil.rmtree(store / role)
            kept.append(build(store))
            warm.append(build(store))
    report("build of all four images, cold", cold, "s")
    report("the same, Debian's packages kept", kept, "s")
    report("the same, nothing changed", warm, "s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
