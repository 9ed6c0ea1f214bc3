"""Backups in S3, encrypted, against a real S3-compatible server: no backup host, and the leader keeps the schedule."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab, spec
from test_backup import until

pytestmark = pytest.mark.timeout(1200)
NETWORK = "10.93.0"


@pytest.fixture(scope="module")
def cloud(workspace: Path) -> Iterator[tuple[Lab, Path]]:
    """A small cluster whose repository is a bucket, and the directory where the server keeps its objects."""
    pytest.importorskip("nanio", reason="needs the S3 server nanio (pip install nanio)")
    directory = workspace / "s3"
    bucket = directory / "objects" / "backups"
    bucket.mkdir(parents=True)
    certificate, key = directory / "server.crt", directory / "server.key"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    name = ["-days", "2", "-subj", "/CN=s3", "-addext", f"subjectAltName=IP:{NETWORK}.1"]
    subprocess.run(
        [*make, *name, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    keys = {"NANIO_ACCESS_KEY": "pgha-tests", "NANIO_SECRET_KEY": "not-a-secret-of-anyone"}
    program = Path(__file__).with_name("s3_server.py")
    server = subprocess.Popen(
        [sys.executable, program, f"{NETWORK}.1", "9000", bucket.parent, certificate, key],
        env=os.environ | keys,
    )
    s3 = {
        "bucket": "backups",
        "endpoint": f"{NETWORK}.1:9000",
        "region": "us-east-1",
        "uri_style": "path",
        "verify_tls": False,
    }
    roles = {"etcd": ["etcd-1"], "postgres": ["pg-1", "pg-2"], "haproxy": ["haproxy"]}
    lab = Lab(
        workspace / "cloud",
        spec("cloud", NETWORK, roles, backup={"repository": {"s3": s3, "cipher": "aes-256-cbc"}}),
    )
    os.environ |= {"PGHA_S3_ACCESS_KEY": keys["NANIO_ACCESS_KEY"], "PGHA_S3_SECRET_KEY": keys["NANIO_SECRET_KEY"]}
    try:
        lab.deploy()
        yield lab, bucket
    finally:
        del os.environ["PGHA_S3_ACCESS_KEY"], os.environ["PGHA_S3_SECRET_KEY"]
        lab.destroy()
        server.terminate()
        server.wait(timeout=20)


def test_the_bucket_holds_an_encrypted_backup_and_the_wal(cloud: tuple[Lab, Path]) -> None:
    lab, bucket = cloud
    lab.run("backup check", timeout_s=240)

    files = [p for p in bucket.rglob("*") if p.is_file() and "pgbackrest" in p.parts]
    manifest = next(p for p in files if p.name == "backup.manifest")
    assert manifest.read_bytes()[:8] == b"Salted__", "the manifest can be read without the key"
    assert any(p.name.startswith("0000000") for p in files), "no WAL in the bucket"
    assert lab.status(code=0)["backup"]["status"] == "ok"  # type: ignore[index]


def test_the_schedule_runs_on_the_leader_alone(cloud: tuple[Lab, Path]) -> None:
    lab, _ = cloud
    leader = lab.leader()
    replica = next(h for h in lab.of_role("postgres") if h != leader)
    for host in (leader, replica):
        assert "pgha-backup@diff.timer" in lab.exec(host, "systemctl", "list-timers", "--no-pager").out
        lab.exec(host, "systemctl", "start", "--no-block", "pgha-backup@diff.service")

    note = "/var/lib/pgha/pgbackrest/last-diff"
    until(lambda: "success" in lab.exec(leader, "cat", note, code=None).out, "the leader's backup")
    until(lambda: _state(lab, replica) == "inactive", "the replica's condition", timeout_s=180)
    assert lab.exec(replica, "test", "-e", note, code=None).code == 1, "the replica ran it too"
    found = lab.run("backup list", "--json").json["backups"]
    assert isinstance(found, list) and [b["kind"] for b in found].count("diff") == 1


def test_a_restore_from_the_bucket_is_proven_and_made(cloud: tuple[Lab, Path]) -> None:
    lab, _ = cloud
    with lab.connect() as connection:
        connection.execute("CREATE TABLE kept (id int PRIMARY KEY)")
        connection.execute("INSERT INTO kept VALUES (1)")
    time.sleep(1.2)
    clock = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
    target = lab.sql(lab.leader(), clock) + "Z"
    time.sleep(1.2)
    with lab.connect() as connection:
        connection.execute("INSERT INTO kept VALUES (2)")

    assert lab.run("backup prove", "--to", target, "--json", timeout_s=240).json["ok"] is True
    lab.run("restore", "--to", target, "--yes", timeout_s=600)

    lab.until_healthy()
    with lab.connect() as connection:
        assert connection.execute("SELECT id FROM kept").fetchall() == [(1,)]


def _state(lab: Lab, host: str) -> str:
    return lab.exec(host, "systemctl", "is-active", "pgha-backup@diff.service", code=None).out.strip()
