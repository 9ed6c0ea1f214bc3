"""Backup, restore, delta restore and proof of a database of more than 1 GB, next to plain pg_basebackup.

    .venv/bin/python -m tests.bench.backup [SCALE] [REPEATS]

Scale 80 is about 1.2 GB. pg_basebackup and the restores write to a directory of their own on a replica, over TLS,
with pgBackRest's settings of the inventory (lz4, two processes). Everything shares this host's cores and disk.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from tests.bench.lab import Lab, lab, report
from tests.bench.pgbench import pgbench

BENCH = "/var/lib/pgha/postgresql/bench"
CONFIG = "--config=/run/pgha/pgbackrest/pgbackrest.conf --stanza=bench"


def timed(act: Callable[[], object]) -> float:
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


def shell(one: Lab, host: str, script: str) -> Callable[[], str]:
    return lambda: one.exec(host, "runuser", "-u", "postgres", "--", "sh", "-c", script)


def taken(one: Lab, kind: str) -> Callable[[], str]:
    return lambda: one.orch("backup", "run", "--type", kind, str(one.hosts_yml))


def proxy(one: Lab) -> str:
    text = one.hosts_yml.read_text()
    return next(line.split("address:")[1].strip(" }\n") for line in text.splitlines() if "role: haproxy" in line)


def main(scale: int, repeats: int) -> None:
    with lab() as one:
        one.deploy()
        host = proxy(one)
        pgbench(one, host, 5000, "-i", "-q", "-s", str(scale))
        leader = one.leader()
        replica = next(name for name in ("pg-1", "pg-2", "pg-3") if name != leader)
        size = one.exec(
            leader, "psql", "-XAtqc", "SELECT sum(pg_database_size(oid)) FROM pg_database", "-d", "postgres"
        )
        print(f"database: {int(size) / 1e9:.2f} GB", flush=True)
        hosts = one.exec(replica, "cat", "/run/pgha/hosts").splitlines()
        address = next(line.split()[0] for line in hosts if leader in line.split()[1:])
        base = (
            f"rm -rf {BENCH}; PGPASSFILE=/run/postgresql/.pgpass pg_basebackup -h {address} -U replicator -D {BENCH}"
            " -c fast -X stream"
        )
        fresh = f"rm -rf {BENCH}; mkdir -m 0700 {BENCH}; pgbackrest {CONFIG} --pg1-path={BENCH} --type=standby restore"
        delta = f"pgbackrest {CONFIG} --pg1-path={BENCH} --type=standby --delta restore"
        rows: dict[str, list[float]] = {}
        for _ in range(repeats):
            rows.setdefault("pg_basebackup", []).append(timed(shell(one, replica, base)))
            rows.setdefault("full backup", []).append(timed(taken(one, "full")))
            rows.setdefault("restore into an empty directory", []).append(timed(shell(one, replica, fresh)))
            pgbench(one, host, 5000, "-n", "-c", "4", "-j", "2", "-T", "10")
            rows.setdefault("incremental backup after 10 s of TPC-B", []).append(timed(taken(one, "incr")))
            rows.setdefault("delta restore of that", []).append(timed(shell(one, replica, delta)))
            rows.setdefault("proof, the whole command", []).append(
                timed(lambda: one.orch("backup", "prove", str(one.hosts_yml)))
            )
            one.exec(replica, "rm", "-rf", BENCH)
        for name, values in rows.items():
            report(name, values, "s")
        print(one.exec("backup", "tail", "-n", "1", "/var/lib/pgha/pgbackrest/proofs.jsonl"), flush=True)
        seconds = timed(lambda: one.orch("restore", "--to", "latest", "--yes", str(one.hosts_yml)))
        report("restore of the whole cluster, with its full backup", [seconds], "s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 80, int(sys.argv[2]) if len(sys.argv) > 2 else 3)
