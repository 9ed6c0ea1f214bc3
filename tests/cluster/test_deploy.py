"""deploy: from nothing to healthy, again without a change, and on from wherever it was broken off."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import psycopg
import pytest
from lab import DEPLOY_S, Lab, kill_when

pytestmark = pytest.mark.timeout(600)


def test_a_fresh_deploy_ends_healthy(shared: Lab) -> None:
    seen = shared.status(code=0)

    assert seen["healthy"] is True
    assert seen["problems"] == []


def test_rows_written_through_5000_are_read_on_a_replica_through_5001(shared: Lab) -> None:
    with shared.connect() as writer:
        writer.execute("CREATE TABLE IF NOT EXISTS fruit (id int PRIMARY KEY, name text)")
        writer.execute(
            "INSERT INTO fruit SELECT n, 'apple ' || n FROM generate_series(1, 100) n ON CONFLICT DO NOTHING"
        )
        lsn = writer.execute("SELECT pg_current_wal_lsn()").fetchone()[0]  # type: ignore[index]
        assert writer.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)

    with shared.connect(port=5001) as reader:
        assert reader.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
        deadline = time.monotonic() + 10
        while reader.execute("SELECT pg_last_wal_replay_lsn() >= %s", [lsn]).fetchone() != (True,):
            assert time.monotonic() < deadline, "the replica did not replay the rows within 10 s"
            time.sleep(0.1)
        assert reader.execute("SELECT count(*), max(name) FROM fruit WHERE id <= 100").fetchone() == (100, "apple 99")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            reader.execute("INSERT INTO fruit VALUES (1000, 'pear')")
        row = reader.execute("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        assert row == (True, "TLSv1.3")


def test_a_second_deploy_changes_nothing(shared: Lab) -> None:
    machines, postmasters = shared.pids(), shared.postmasters()
    assert len(machines) == len(shared.hosts)

    done = shared.deploy()

    assert (done["changed"], done["changes"], done["parameters"], done["sql"]) == (False, [], [], [])
    assert shared.pids() == machines
    assert shared.postmasters() == postmasters


def test_machines_outlive_the_pgha_orch_that_started_them(shared: Lab) -> None:
    for host, pid in shared.pids().items():
        ancestors, at = [], pid
        while at > 1:
            at = int(Path(f"/proc/{at}/stat").read_text().rpartition(")")[2].split()[1])
            ancestors.append(at)
        assert os.getpid() not in ancestors, f"{host} would end with this process"


def test_a_deploy_that_is_killed_again_and_again_finishes_when_run_again(blank: Lab) -> None:
    assert not blank.pids(), "this test begins with nothing"

    # While etcd boots: no member is healthy yet.
    kill_when(blank.start("deploy"), "network", after_s=0.7)
    early = set(blank.pids())
    assert not early & set(blank.of_role("postgres"))

    # While the replica clones the leader.
    said = kill_when(blank.start("deploy"), "ok PostgreSQL leader", after_s=1.0)
    assert not any("ok replicas" in line for line in said)
    kept = blank.pids()
    assert set(blank.of_role("etcd")) <= set(kept)

    # While the first backup runs.
    kill_when(blank.start("deploy"), "ok WAL archive", after_s=0.3)
    members = blank.pids()
    assert {h: members[h] for h in kept} == kept, "a machine was restarted, not gone on with"
    blank.run("status", code=None)

    done = blank.deploy()

    assert blank.pids() == members
    backup = done["status"]["backup"]  # type: ignore[index]
    assert backup["newest"] is not None
    assert blank.deploy()["changed"] is False


def test_of_two_deploys_at_once_the_second_is_refused_and_the_first_goes_on(other: Lab) -> None:
    other.run("destroy", "--yes", timeout_s=120)
    first = other.start("deploy")
    assert first.stdout is not None
    for line in first.stdout:
        if "network" in line:
            break

    second = other.run("deploy", code=1)

    held = [line for line in second.err.splitlines() if line.startswith("error:")]
    assert held == [f"error: {other.state}/deploy.lock: held by process {first.pid}, another pgha-orch on this cluster"]
    assert "next: wait for it to end" in second.err
    rest, _ = first.communicate(timeout=DEPLOY_S)
    assert first.returncode == 0, rest


def test_power_off_of_all_machines_loses_no_acknowledged_row(other: Lab) -> None:
    with other.connect() as setup:
        setup.execute("CREATE TABLE IF NOT EXISTS ledger (id bigint PRIMARY KEY)")
        setup.execute("TRUNCATE ledger")
    acknowledged: list[int] = []

    def write() -> None:
        # Until the power goes: what ends it is the connection's end.
        with pytest.raises(psycopg.OperationalError), other.connect() as connection:
            for n in range(100_000):
                connection.execute("INSERT INTO ledger VALUES (%s)", [n])
                acknowledged.append(n)

    writer = threading.Thread(target=write)
    writer.start()
    while len(acknowledged) < 200:
        time.sleep(0.01)
        assert writer.is_alive()
    killers = [
        threading.Thread(target=other.machine(h).kill) for h in ["pg-1", "pg-2", *set(other.hosts) - {"pg-1", "pg-2"}]
    ]
    for killer in killers:
        killer.start()
    for killer in killers:
        killer.join()
    assert not other.pids()
    writer.join(60)
    assert not writer.is_alive(), "a client hangs on a cluster that has no power"

    other.deploy()

    with other.connect() as reader:
        there = {row[0] for row in reader.execute("SELECT id FROM ledger")}
    assert not set(acknowledged) - there, "acknowledged rows are lost"
    # The one statement under way when the power went may or may not be there.
    assert len(there - set(acknowledged)) <= 1
