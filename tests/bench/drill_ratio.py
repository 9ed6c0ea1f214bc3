"""The same drills with this project's timings and with the guide's, in one go, and the ratios of their outages.

    .venv/bin/python -m tests.bench.drill_ratio [REPEATS] [SCENARIO...]

Both clusters have the same images, TLS, durability and load, and one runs at a time, so that neither takes the
other's processor. The guide's has its timings (examples/guide-timings.yml) and, word for word but for the addresses,
its two listeners in HAProxy: with this project's way to read an answer, `rise` would not count (a server that says
"no" is left out of the choice, not down).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.bench.lab import LAB, NETWORK, ORCH, REPOSITORY, Lab, lab

GUIDE = REPOSITORY / "examples" / "guide-timings.yml"
SCENARIOS = ("switchover", "kill-postmaster", "power-off", "partition", "sync-standby")
RUN_S = 150  # of one run, with settling and checks
SETTLE_S = 20.0  # three failed checks, 3 s apart, until the guide's HAProxy leaves a replica out

HAPROXY_CFG = "/run/pgha/haproxy/haproxy.cfg"
DEFAULTS = """
defaults
    log global
    mode tcp
    retries 2
    timeout client 30m
    timeout connect 4s
    timeout server 30m
    timeout check 5s
"""
LISTENER = """
listen {name}
    bind *:{port}
    option httpchk{request}
    http-check expect status 200
    default-server inter 3s fall 3 rise 2 on-marked-down shutdown-sessions
{servers}
"""
LISTENERS = (("postgres_rw", 5000, ""), ("postgres_ro", 5001, " GET /replica"))


def guide_haproxy(ours: str, addresses: dict[str, str]) -> str:
    """haproxy.cfg with the guide's `defaults` and listeners, and the rest (socket, stats page) of `ours`.

    ours: the file as pgha-orch renders it. addresses: PostgreSQL host to IPv4 address.
    """
    start, rest = ours.split("\ndefaults\n", 1)[0], "userlist " + ours.split("\nuserlist ", 1)[1]
    servers = "\n".join(
        f"    server {name} {address}:5432 maxconn 100 check port 8008 check-ssl verify none"
        for name, address in addresses.items()
    )
    # Its servers start UP, as they do by hand.
    start = "\n".join(line for line in start.splitlines() if "server-state-file" not in line)
    listeners = [LISTENER.format(name=n, port=p, request=r, servers=servers) for n, p, r in LISTENERS]
    return "\n".join([start, DEFAULTS, *listeners, rest])


def as_the_guide(one: Lab) -> None:
    """Let the cluster's HAProxy run with the guide's listeners, until it reboots."""
    addresses = {f"pg-{i}": f"{NETWORK}.2{i}" for i in (1, 2, 3)}
    text = guide_haproxy(one.exec("haproxy", "cat", HAPROXY_CFG), addresses)
    subprocess.run(
        [ORCH, "exec", str(one.hosts_yml), "haproxy", "tee", HAPROXY_CFG],
        input=text,
        stdout=subprocess.DEVNULL,
        check=True,
        text=True,
    )
    one.exec("haproxy", "systemctl", "restart", "haproxy.service")
    time.sleep(SETTLE_S)


def outages(text: str, scenarios: Sequence[str], repeats: int, *, guide: bool) -> dict[str, list[float]]:
    """Scenario to seconds of RTO (or of the longest gap where the timeline stayed), all runs."""
    with lab(text=text) as one:
        one.deploy()
        if guide:
            as_the_guide(one)
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
    ours = outages(LAB.read_text(), scenarios, repeats, guide=False)
    theirs = outages(
        GUIDE.read_text().replace("10.78.0", "10.77.0").replace("cluster: guide-timings", "cluster: lab"),
        scenarios,
        repeats,
        guide=True,
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
