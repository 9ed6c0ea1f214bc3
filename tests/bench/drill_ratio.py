"""The same drills with this project's timings and with the guide's, in one go, and the ratios of their outages.

    .venv/bin/python -m tests.bench.drill_ratio [REPEATS] [SCENARIO...]

Both clusters have the same images, TLS, durability and load; only `failover` differs (examples/guide-timings.yml),
and one runs at a time, so that neither takes the other's processor.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from tests.bench.lab import LAB, ORCH, REPOSITORY, lab

GUIDE = REPOSITORY / "examples" / "guide-timings.yml"
SCENARIOS = ("switchover", "kill-postmaster", "power-off", "partition", "sync-standby")
RUN_S = 150  # of one run, with settling and checks


def outages(text: str, scenarios: Sequence[str], repeats: int) -> dict[str, list[float]]:
    """Scenario to seconds of RTO (or of the longest gap where the timeline stayed), all runs."""
    with lab(text=text) as one:
        one.deploy()
        command = [ORCH, "drill", str(one.hosts_yml), *scenarios, "--repeat", str(repeats), "--json"]
        # Exit code 1 says that an expectation, which is of preset `fast`, was not met: with the guide's it never is.
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=RUN_S * repeats * len(scenarios) + 120,
        )
        found = json.loads(done.stdout)
    lost = sum(run["lost"] for s in found["scenarios"] for run in s["runs"])
    if lost:
        raise SystemExit(f"{lost} acknowledged rows lost: the ratios do not matter")
    return {
        s["name"]: [run["outage_s"] if run["rto_s"] is None else run["rto_s"] for run in s["runs"]]
        for s in found["scenarios"]
    }


def quantile(values: Sequence[float], share: float) -> float:
    """Nearest rank, as the drill's own table."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 100) * len(ordered) // 100) - 1)]


def main(repeats: int, scenarios: Sequence[str]) -> None:
    ours = outages(LAB.read_text(), scenarios, repeats)
    theirs = outages(
        GUIDE.read_text().replace("10.78.0", "10.77.0").replace("cluster: guide-timings", "cluster: lab"),
        scenarios,
        repeats,
    )
    print(
        f"{'outage, seconds':<20} {'fast p50':>9} {'p95':>7} {'guide p50':>10} {'p95':>7} {'ratio p50':>10} {'p95':>6}"
    )
    for name in ours:
        cells = [quantile(side[name], share) for side in (ours, theirs) for share in (0.5, 0.95)]
        ratios = cells[0] / cells[2], cells[1] / cells[3]
        print(
            f"{name:<20} {cells[0]:>9.2f} {cells[1]:>7.2f} {cells[2]:>10.2f} {cells[3]:>7.2f}"
            f" {ratios[0]:>10.2f} {ratios[1]:>6.2f}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, tuple(sys.argv[2:]) or SCENARIOS)
