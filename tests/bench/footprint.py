"""Resident memory and CPU of the whole idle cluster, nspawn's own processes included.

    .venv/bin/python -m tests.bench.footprint [SECONDS]

Memory is the sum of proportional set sizes (/proc/PID/smaps_rollup: a shared page counts once, split among those
who map it), and of resident set sizes, which count it again for each process.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from tests.bench.lab import lab

SETTLE_S = 30.0


def processes(roots: list[int]) -> set[int]:
    """These processes and all their descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found: set[int] = set()
    queue = list(roots)
    while queue:
        pid = queue.pop()
        found.add(pid)
        queue += children.get(pid, [])
    return found


def cpu_seconds(pids: set[int]) -> float:
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(f) for f in fields[11:15])  # user and system, own and waited-for children
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mib(pids: set[int], field: str) -> float:
    kib = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        kib += sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
    return kib / 1024


def main(seconds: float) -> None:
    with lab() as one:
        one.deploy()
        time.sleep(SETTLE_S)
        roots = [int(path.read_text()) for path in sorted((one.state / "machines").glob("*/pid"))]
        pids = processes(roots)
        begun, used = time.monotonic(), cpu_seconds(pids)
        time.sleep(seconds)
        share = (cpu_seconds(processes(roots)) - used) / (time.monotonic() - begun)
        print(f"{len(roots)} machines, {len(pids)} processes, idle for {seconds:.0f} s")
        print(
            f"resident (sum of PSS) {memory_mib(pids, 'Pss'):.0f} MiB, (sum of RSS) {memory_mib(pids, 'Rss'):.0f} MiB"
        )
        print(f"CPU {share:.3f} of a core")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
