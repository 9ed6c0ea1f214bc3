"""restore: to a point in time after failovers, broken off and resumed, undone, with every machine lost, or refused."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from lab import Lab, kill_when
from test_backup import reinitialise, until

pytestmark = pytest.mark.timeout(1500)
RESTORE_S = 600


def now(lab: Lab) -> str:
    """The leader's clock, as --to takes it."""
    shape = "to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
    return lab.sql(lab.leader(), f"SELECT {shape}") + "Z"


def insert(lab: Lab, *rows: int) -> None:
    with lab.connect() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS pitr (id int PRIMARY KEY)")
        for row in rows:
            connection.execute("INSERT INTO pitr VALUES (%s)", [row])


def rows(lab: Lab) -> list[int]:
    with lab.connect() as connection:
        return [int(row[0]) for row in connection.execute("SELECT id FROM pitr ORDER BY id").fetchall()]  # type: ignore[call-overload]


def fail_over(lab: Lab) -> tuple[str, str]:
    """Cut the leader's power, wait for another, bring the old one back; old and new leader."""
    old = lab.leader()
    lab.machine(old).kill()

    def led() -> bool:
        members = lab.status()["members"]
        assert isinstance(members, list)
        return any(m["role"] == "leader" and m["member"] != old and m["state"] == "running" for m in members)

    until(led, "a new leader")
    lab.deploy()
    lab.until_healthy(120)
    return old, lab.leader()


def test_a_target_that_cannot_be_reached_is_refused_before_anything_stops(shared: Lab) -> None:
    started = shared.postmasters()
    first = shared.run("backup list", "--json").json["backups"]
    assert isinstance(first, list)
    label = str(first[-1]["label"])
    before = datetime.fromisoformat(str(first[0]["stopped"])) - timedelta(hours=1)
    later = datetime.now(UTC) + timedelta(hours=1)
    refusals = {
        (f"{before:%Y-%m-%dT%H:%M:%SZ}",): "is before the first backup",
        (f"{later:%Y-%m-%dT%H:%M:%SZ}",): "is in the future",
        ("lsn:FFFF/0",): "is after the last WAL",
        (f"{later:%Y-%m-%dT%H:%M:%S}",): "it has no time zone",
        (f"{later:%Y-%m-%d %H:%M:%S} Europe/Berln",): "did you mean Europe/Berlin?",
        ("2026-03-29 02:30 Europe/Berlin",): "does not exist on that day",
        ("2026-10-25 02:30 Europe/Berlin",): "comes twice on that day",
        ("name:never-made",): "no such restore point",
        ("yesterday",): "not a target",
        ("latest", "--backup", f"{label[:-1]}X"): f"did you mean {label}?",
        ("latest", "--timeline", "99"): "the archive has timelines up to",
    }
    for (to, *more), words in refusals.items():
        done = shared.run("restore", "--to", to, *more, "--yes", code=2, timeout_s=120)
        assert words in done.err.replace("\n", " "), (to, done)
        assert "Traceback" not in done.err
    done = shared.run("restore", "--to", "latest", code=2, input="not its name\n", timeout_s=120)
    assert "nothing was done" in done.err
    assert not (shared.state / "restore.json").exists()
    assert shared.postmasters() == started, "something was restarted"
    shared.run("status", code=0)


def test_to_a_second_between_two_writes_after_two_failovers_and_a_reinitialised_old_primary(shared: Lab) -> None:
    insert(shared, 1)
    old, new = fail_over(shared)
    insert(shared, 2)
    # Both have led; the one that does not lead now is thrown away and made anew.
    reinitialise(shared, old if shared.leader() != old else new)
    fail_over(shared)
    insert(shared, 3)
    time.sleep(1.2)
    target = now(shared)
    time.sleep(1.2)
    insert(shared, 4)
    timeline = _timeline(shared)

    # Killed at every kind of step, and gone on with: old data just aside, the first node while it is being promoted,
    # etcd just emptied, the first node leading alone.
    kill_when(shared.start("restore", "--to", target, "--yes"), "old data kept aside (")
    refused = shared.run("deploy", code=2)
    assert "a restore to" in refused.err and "--resume" in refused.err
    for step in ("recovery (", "etcd forgets the old cluster's state (", "PostgreSQL leader ("):
        kill_when(shared.start("restore", "--resume"), step)
    done = shared.run("restore", "--resume", timeout_s=RESTORE_S)

    assert rows(shared) == [1, 2, 3]
    assert _timeline(shared) > timeline
    assert "full backup" in done.err
    shared.until_healthy()
    newest = shared.run("backup list", "--json").json["backups"]
    assert isinstance(newest, list) and newest[-1]["kind"] == "full" and int(newest[-1]["timeline"]) > timeline
    for host in shared.of_role("postgres"):
        kept = shared.exec(host, "sh", "-c", "ls -d /var/lib/pgha/postgresql/before-*/data/PG_VERSION").out
        assert kept.count("PG_VERSION") == 1
    shared.run("restore", "--drop-old", "--yes", timeout_s=120)
    for host in shared.of_role("postgres"):
        assert "before-" not in shared.exec(host, "ls", "/var/lib/pgha/postgresql").out
    assert shared.run("backup check", "--json", timeout_s=240).json["findings"] == []


def test_a_restore_that_was_broken_off_early_can_be_undone(shared: Lab) -> None:
    insert(shared, 10, 11)
    begun = shared.start("restore", "--to", now(shared), "--yes")
    kill_when(begun, "kept aside")
    refused = shared.run("restore", "--drop-old", "--yes", code=2)
    assert "under way" in refused.err

    shared.run("restore", "--undo", timeout_s=240)

    shared.until_healthy(120)
    assert rows(shared)[-2:] == [10, 11]
    assert "no restore is under way" in shared.run("restore", "--undo", code=2).err


def test_every_postgresql_machine_lost(shared: Lab) -> None:
    insert(shared, 20, 21)
    shared.run("backup check", "--no-verify")  # sends what there is to the archive
    for host in shared.of_role("postgres"):
        machine = shared.machine(host)
        machine.kill()
        machine.destroy()
    after = datetime.now(UTC) + timedelta(seconds=1)
    late = shared.run("restore", "--to", f"{after:%Y-%m-%dT%H:%M:%SZ}", "--yes", code=2, timeout_s=120)
    assert "is after the last WAL" in late.err

    shared.run("restore", "--to", "latest", "--yes", timeout_s=RESTORE_S)

    shared.until_healthy()
    assert rows(shared)[-2:] == [20, 21]


def _timeline(lab: Lab) -> int:
    members = lab.status()["members"]
    assert isinstance(members, list)
    return max(int(m["timeline"] or 0) for m in members)
