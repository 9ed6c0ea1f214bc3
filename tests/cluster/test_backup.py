"""Backups: taken, listed, checked, proven; the repository damaged, down and full; the schedule."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from lab import Lab

pytestmark = pytest.mark.timeout(1200)
# Seconds; `make drill-repository` takes the five minutes that a longer outage has.
DOWN_S = float(os.environ.get("PGHA_REPO_DOWN_S", "25"))
REPO = "/var/lib/pgha/pgbackrest/repo"


@pytest.fixture(autouse=True)
def healthy_again(shared: Lab) -> Iterator[None]:
    """Each of these tests begins and ends with a healthy cluster."""
    if shared.run("status", code=None).code != 0:
        shared.deploy()
    yield
    if shared.run("status", code=None).code != 0:
        shared.deploy()
    shared.until_healthy()


def listed(lab: Lab) -> list[dict[str, object]]:
    found = lab.run("backup list", "--json").json["backups"]
    assert isinstance(found, list)
    return found


def until(look: Callable[[], bool], what: str, timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while not look():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(0.5)


def reinitialise(lab: Lab, host: str) -> str:
    """Throw a replica's data away and wait until it streams again; what its Patroni said."""
    since = lab.exec(host, "date", "+%s").out.strip()
    lab.exec(lab.leader(), "patronictl", "reinit", "--force", lab.name, host)
    log = ["journalctl", "-u", "patroni", "--no-pager", "--since", f"@{since}"]
    until(lambda: "replica has been created using" in lab.exec(host, *log).out, f"{host}: made anew", timeout_s=240)
    lab.until_healthy(120)
    return lab.exec(host, *log).out


@dataclass
class Writer:
    """Rows written through HAProxy one by one: which were acknowledged, and the longest wait between two."""

    acknowledged: list[int] = field(default_factory=list)
    longest_s: float = 0.0
    errors: list[str] = field(default_factory=list)


@contextmanager
def writing(lab: Lab, table: str) -> Iterator[Writer]:
    """20 rows a second until the block ends."""
    seen, stop = Writer(), threading.Event()
    with lab.connect() as connection:
        connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (id int PRIMARY KEY)")  # type: ignore[arg-type]

    def write() -> None:
        last, number = time.monotonic(), 0
        while not stop.wait(0.05):
            try:
                with lab.connect() as connection:
                    while not stop.wait(0.05):
                        number += 1
                        connection.execute(f"INSERT INTO {table} VALUES ({number})")  # type: ignore[arg-type]
                        seen.acknowledged.append(number)
                        seen.longest_s, last = max(seen.longest_s, time.monotonic() - last), time.monotonic()
            except psycopg.Error as exc:
                seen.errors.append(str(exc))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(timeout=30)


def test_a_backup_is_made_and_listed_with_its_sizes(shared: Lab) -> None:
    before = listed(shared)

    made = shared.run("backup run", "--type", "diff", "--json", timeout_s=240).json

    after = listed(shared)
    assert [b["label"] for b in after] == [*(b["label"] for b in before), made["label"]]
    assert made["kind"] == "diff"
    assert int(str(made["database_bytes"])) > 10 * 2**20
    assert 0 < int(str(made["repository_bytes"])) < int(str(before[0]["repository_bytes"]))
    assert made["label"] in shared.run("backup list").out
    status = shared.status(code=0)["backup"]
    assert isinstance(status, dict) and status["newest"] == made["label"] and status["newest_kind"] == "diff"


def test_a_proof_counts_rows_and_its_age_is_in_status(shared: Lab) -> None:
    with shared.connect() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS counted (id int PRIMARY KEY)")
        connection.execute("INSERT INTO counted SELECT generate_series(1, 4711) ON CONFLICT DO NOTHING")
    with shared.changed(backup={"prove": {"tables": ["app.public.counted"], "schedule": "Sun *-*-* 05:00:00"}}):
        shared.deploy()
        timers = shared.exec("backup", "systemctl", "list-timers", "--no-pager").out
        assert "pgha-prove.timer" in timers
        proof = shared.run("backup prove", "--to", "latest", "--json", timeout_s=240).json

    assert proof["ok"] is True
    assert proof["rows"] == {"app.public.counted": 4711}
    assert int(str(proof["bytes"])) > 10 * 2**20
    status = shared.status()["backup"]
    assert isinstance(status, dict)
    assert status["proven_at"] is not None and status["proof_error"] == ""
    shared.deploy()
    left = shared.exec("backup", "sh", "-c", "ls /var/lib/pgha/prove; pgrep -c -u pgbackrest postgres || true").out
    assert "data" not in left.split() and left.split()[-1] == "0", "the throw-away database is still there"


def test_damage_in_the_repository_is_found_by_check_and_by_prove(shared: Lab) -> None:
    label = str(shared.run("backup run", "--type", "full", "--json", timeout_s=240).json["label"])
    repo = shared.state / "machines" / "backup" / "data" / "pgbackrest" / "repo"
    # The bundle that holds the small files of the database, system catalogues among them.
    victim = max(
        (repo / "backup" / shared.name / label).rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0
    )
    whole = victim.read_bytes()
    middle = len(whole) // 2
    _overwrite(victim, whole[:middle] + bytes(b ^ 0xFF for b in whole[middle : middle + 64]) + whole[middle + 64 :])
    try:
        check = shared.run("backup check", code=1, timeout_s=240)
        prove = shared.run("backup prove", code=1, timeout_s=240)
        problems = shared.problems()
    finally:
        _overwrite(victim, whole)

    assert label in check.out and "checksum invalid" in check.out, check
    assert "not proven: restore:" in prove.err and "ERROR" in prove.err, prove
    assert "the newest proof of a restore failed" in problems["backup"]
    shared.run("backup check", timeout_s=240)
    shared.run("backup prove", timeout_s=240)
    shared.run("status", code=0)


def _overwrite(path: Path, content: bytes) -> None:
    """In place: owner and mode stay."""
    with path.open("r+b") as file:
        file.write(content)


def test_a_scheduled_run_that_failed_is_in_status_until_a_backup_makes_it_good(shared: Lab) -> None:
    # Another pgBackRest holds the stanza's lock: as its own user, or the file is root's and stops every later backup.
    file = f"/run/pgbackrest/{shared.name}-backup-1.lock"
    lock, run = f"flock {file}", "runuser -u pgbackrest --"
    holder = f"{run} {lock} sleep 10 & until ! {run} flock -n {file} true; do sleep 0.2; done"
    try:
        shared.exec("backup", "sh", "-c", f"{holder}; systemctl start pgha-backup@incr.service", code=1)
        said = shared.problems()["backup"]
    finally:
        shared.exec("backup", "systemctl", "stop", "pgha-backup@incr.service")
        shared.exec("backup", "sh", "-c", f"{run} {lock} true")
        shared.run("backup run", "--type", "incr", timeout_s=240)

    assert "scheduled backup failed: incr at" in said and "exit-code" in said
    shared.until_healthy()


def test_a_run_missed_while_the_backup_host_was_down_is_made_up(shared: Lab) -> None:
    count = len(listed(shared))
    # As if the machine had been off since then: the stamp is what systemd knows of the last run.
    shared.exec("backup", "touch", "-d", "8 days ago", "/var/lib/pgha/timers/stamp-pgha-backup@diff.timer")
    shared.machine("backup").kill()
    shared.deploy()

    until(lambda: len(listed(shared)) > count, "a differential backup by itself")
    assert listed(shared)[-1]["kind"] == "diff"
    assert "success" in shared.exec("backup", "cat", "/var/lib/pgha/pgbackrest/last-diff").out


def test_writes_go_on_while_the_repository_is_down_and_nothing_is_lost(shared: Lab) -> None:
    replica = next(h for h in reversed(list(shared.of_role("postgres"))) if h != shared.leader())
    with writing(shared, "down") as seen:
        until(lambda: len(seen.acknowledged) > 5, "the first rows")
        shared.machine("backup").kill()
        begun = time.monotonic()
        leader = shared.leader()
        shared.exec(leader, "patronictl", "reinit", "--force", shared.name, replica)
        while time.monotonic() - begun < DOWN_S:
            shared.sql(leader, "SELECT pg_switch_wal()")
            time.sleep(max(2.0, DOWN_S / 60))
        until(lambda: "WAL does not reach the repository" in shared.problems().get(leader, ""), "status says so")
        said = shared.problems()[leader]
        until(lambda: replica not in shared.problems(), "a replica made with pg_basebackup", timeout_s=240)
        shared.run("deploy", code=None, timeout_s=240)  # not healthy yet: PostgreSQL tries the archive once a minute
        until(lambda: _waiting(shared) == 0, "the archive to catch up", timeout_s=120)
    shared.until_healthy()

    assert "of at most 8192 MiB of WAL wait for it; writes go on" in said
    journal = shared.exec(replica, "journalctl", "-u", "patroni", "--no-pager", "--since", "-20min").out
    assert "replica has been created using basebackup" in journal
    assert seen.errors == [], "no write failed"
    assert seen.longest_s < 5, f"the longest wait for a write was {seen.longest_s:.1f} s"
    with shared.connect() as connection:
        rows = {row[0] for row in connection.execute("SELECT id FROM down")}
        connection.execute("DROP TABLE down")
    assert rows >= set(seen.acknowledged) and len(seen.acknowledged) > DOWN_S
    report = shared.run("backup check", "--json", timeout_s=240).json
    assert report["findings"] == [] and "missing: 0" in str(report["report"]), "a gap in the archive"


def test_a_reinitialised_replica_comes_from_the_repository(shared: Lab) -> None:
    replica = next(h for h in shared.of_role("postgres") if h != shared.leader())

    assert "replica has been created using pgbackrest" in reinitialise(shared, replica)


def test_a_full_repository_disk_is_an_alarm_and_the_database_goes_on(shared: Lab) -> None:
    size = int(shared.exec("backup", "du", "-sm", REPO).out.split()[0]) + 6
    spare = "/run/spare"
    mount = (
        f"set -e; mkdir {spare}; mount -t tmpfs -o size={size}m,mode=750 none {spare}; chown pgbackrest: {spare};"
        f" cp -a {REPO}/. {spare}/; mount --bind {spare} {REPO}; systemctl restart pgbackrest.service"
    )
    # Stopped first: a segment that is being received keeps the mount busy.
    back = (
        f"set -e; systemctl stop pgbackrest.service; umount {REPO}; cp -a {spare}/. {REPO}/; umount {spare};"
        f" rmdir {spare}; systemctl start pgbackrest.service"
    )
    leader = shared.leader()
    shared.exec("backup", "sh", "-c", mount)
    try:
        with writing(shared, "disk_full") as seen:
            # Random text, so that compression does not make room.
            fill = "SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 500000)"
            shared.sql(leader, f"CREATE TABLE fill AS {fill}; SELECT pg_switch_wal()")

            def alarmed() -> bool:
                said = shared.problems()
                return "disk is" in said.get("backup", "") and "WAL does not reach" in said.get(leader, "")

            until(alarmed, "both alarms", timeout_s=120)
            count = len(seen.acknowledged)
            until(lambda: len(seen.acknowledged) > count + 20, "writes to go on")
    finally:
        shared.exec("backup", "sh", "-c", back)
        shared.sql(leader, "DROP TABLE IF EXISTS fill")
    until(lambda: _waiting(shared) == 0, "the archive to catch up", timeout_s=180)
    assert seen.errors == [] and seen.longest_s < 5, seen.longest_s
    assert shared.run("backup check", "--json", timeout_s=240).json["findings"] == []


def test_a_segment_that_a_broken_off_promotion_left_empty_is_named_and_the_next_step_clears_it(shared: Lab) -> None:
    leader = shared.leader()
    segment = f"{shared.timeline(leader) + 1:08X}{1:016X}"
    file, owner = f"/var/lib/pgha/postgresql/data/pg_wal/{segment}", "runuser -u postgres --"
    shared.exec(leader, "sh", "-c", f"{owner} head -c 16M /dev/zero | {owner} tee {file} > /dev/null")
    shared.sql(leader, "SELECT pg_switch_wal()")
    shared.sql(leader, "CHECKPOINT")  # PostgreSQL itself hands an old segment without a status to the archiver

    until(lambda: f"segment {segment} holds no WAL" in shared.problems().get(leader, ""), "status says so")
    advice = next(text for text in shared.problems()[leader].split("; ") if "pgha-orch exec" in text)

    # Word for word, but for the inventory.
    shared.exec(*advice.removeprefix("pgha-orch exec HOSTS_YML ").split())
    until(lambda: _waiting(shared) == 0, "the archive to go on", timeout_s=120)
    shared.until_healthy()
    assert shared.run("backup check", "--json", timeout_s=240).json["findings"] == []


def _waiting(lab: Lab) -> int:
    found = lab.status()["backup"]
    assert isinstance(found, dict)
    archive = found["archive"]
    return -1 if archive is None or archive["failing"] else int(archive["waiting_bytes"])
