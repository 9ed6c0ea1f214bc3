"""Seconds from built images to a committed write through HAProxy, to the end, and of a second deploy.

.venv/bin/python -m tests.bench.deploy [REPEATS]
"""

from __future__ import annotations

import sys
import time

from tests.bench.lab import lab, report


def main(repeats: int) -> None:
    first, whole, again = [], [], []
    for _ in range(repeats):
        with lab() as one:
            done = one.deploy()
            first.append(float(str(done["first_write_seconds"])))
            whole.append(float(str(done["seconds"])))
            begun = time.monotonic()
            second = one.deploy()
            again.append(time.monotonic() - begun)
            if second["changed"]:
                raise SystemExit(f"the second deploy changed something: {second}")
    report("deploy to a committed write through :5000", first, "s")
    report("deploy with users, stanza and first full backup", whole, "s")
    report("second deploy, the whole command", again, "s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
