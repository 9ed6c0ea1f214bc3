"""pgbench through HAProxy against the primary direct, interleaved on one cluster.

    .venv/bin/python -m tests.bench.pgbench [REPEATS] [SECONDS]

Scale 20, 8 clients, TPC-B and -S, TLS verified in full on both ways, prepared statements. The load generator
runs on this host, in the network of the operator, and shares the cores with the machines. It is the pgbench of
the PostgreSQL image, started in a container of that image which has this host's network.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys

from tests.bench.lab import NETWORK, Lab, lab, report

SCALE, CLIENTS, THREADS = 20, 8, 2
KINDS = {"TPC-B": [], "-S": ["-S"]}


def pgbench(one: Lab, host: str, port: int, *arguments: str) -> str:
    secrets = json.loads((one.state / "secrets.json").read_text())
    images = json.loads(one.orch("image", "list", "--json"))
    root = next(i["root"] for i in images if i["role"] == "postgres" and i["builder"] == "debian")
    container = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--volatile=overlay", "--pipe"]
    return subprocess.run(
        [
            *container,
            f"--directory={root}",
            f"--machine=bench-{os.getpid()}",
            "--resolv-conf=off",
            "--timezone=off",
            f"--bind-ro={one.state}/pki/ca.crt:/run/ca.crt",
            "--setenv=PGPASSWORD",
            "--setenv=PGSSLMODE=verify-full",
            "--setenv=PGSSLROOTCERT=/run/ca.crt",
            "/usr/lib/postgresql/17/bin/pgbench",
            *("-h", host, "-p", str(port), "-U", "app", *arguments, "app"),
        ],
        check=True,
        env=dict(os.environ) | {"PGPASSWORD": secrets["users"]["app"]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=1800,
    ).stdout


def tps(output: str) -> float:
    found = re.search(r"^tps = ([0-9.]+)", output, re.MULTILINE)
    if found is None:
        raise SystemExit(f"pgbench printed no tps: {output}")
    return float(found.group(1))


def main(repeats: int, seconds: int) -> None:
    with lab() as one:
        one.deploy()
        proxy, direct = f"{NETWORK}.30", f"{NETWORK}.2{one.leader().rpartition('-')[2]}"
        pgbench(one, direct, 5432, "-i", "-s", str(SCALE), "-q")
        options = ["-c", str(CLIENTS), "-j", str(THREADS), "-T", str(seconds), "-M", "prepared", "-n"]
        found: dict[tuple[str, str], list[float]] = {}
        for _ in range(repeats):
            for kind, extra in KINDS.items():
                for way, host, port in (("direct", direct, 5432), ("HAProxy", proxy, 5000)):
                    found.setdefault((kind, way), []).append(tps(pgbench(one, host, port, *options, *extra)))
        for (kind, way), values in found.items():
            report(f"pgbench {kind}, {way}", values, "tps")
        for kind in KINDS:
            ratio = statistics.median(found[kind, "HAProxy"]) / statistics.median(found[kind, "direct"])
            print(f"pgbench {kind}, HAProxy / direct: {ratio:.2f}")


if __name__ == "__main__":
    arguments = [int(a) for a in sys.argv[1:]]
    main(*(arguments + [5, 20][len(arguments) :]))
