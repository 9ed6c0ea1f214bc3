"""status: healthy is 0; each thing that is wrong is 1, with the host and the next step."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator

import jsonschema
import pytest
from lab import ORCH, Lab

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def healthy_again(shared: Lab) -> Iterator[None]:
    """Each of these tests begins and ends with a healthy cluster; what a test broke, deploy repairs."""
    shared.run("status", code=0)
    yield
    if shared.run("status", code=None).code != 0:
        shared.deploy()


def test_a_healthy_cluster_is_exit_code_0_and_a_table(shared: Lab) -> None:
    said = shared.run("status", code=0).out

    assert "Cluster: shared (healthy)" in said
    for host in [*shared.of_role("etcd"), *shared.of_role("postgres"), "haproxy", "backup"]:
        assert host in said
    for word in ("Leader", "Sync Standby", "Replica", "streaming", "newest"):
        assert word in said
    assert "problem" not in said


def test_json_is_what_its_schema_says(shared: Lab) -> None:
    schema = json.loads(subprocess.run([ORCH, "status", "--json-schema"], capture_output=True, check=True).stdout)
    validator = jsonschema.Draft202012Validator(schema)
    jsonschema.Draft202012Validator.check_schema(schema)
    seen = shared.status(code=0)

    validator.validate(seen)

    assert list(validator.iter_errors(seen | {"surprise": 1})), "an unknown field would go unnoticed"
    assert list(validator.iter_errors({k: v for k, v in seen.items() if k != "problems"}))
    assert {m["member"]: m["role"] for m in seen["members"]}["pg-1"]  # type: ignore[attr-defined]


def test_watch_prints_again_and_again_until_ctrl_c(shared: Lab) -> None:
    watching = shared.start("status", "--watch", "--interval", "0.3", "--json")
    assert watching.stdout is not None
    try:
        documents = [json.loads(watching.stdout.readline()) for _ in range(3)]
    finally:
        watching.send_signal(signal.SIGINT)
    rest, _ = watching.communicate(timeout=20)

    assert watching.returncode == 130
    assert "Traceback" not in rest
    assert len({d["checked_at"] for d in documents}) == 3


def test_a_replica_without_power_is_named(shared: Lab) -> None:
    replica = next(h for h in reversed(list(shared.of_role("postgres"))) if h != shared.leader())
    before = shared.pids()
    shared.machine(replica).kill()

    done = shared.run("status", code=1)

    assert f"problem: {replica}: the machine does not run; next: pgha-orch deploy starts it" in done.out
    assert "not healthy" in done.out
    changed = shared.deploy()
    assert [(c["host"], c["impact"]) for c in changed["changes"]] == [(replica, "boot")]  # type: ignore[attr-defined]
    after = shared.pids()
    assert {h: p for h, p in after.items() if h != replica} == {h: p for h, p in before.items() if h != replica}


def test_a_stopped_haproxy_is_named_and_deploy_starts_it(shared: Lab) -> None:
    shared.exec("haproxy", "systemctl", "stop", "haproxy.service")

    problems = shared.problems()

    assert set(problems) == {"haproxy"}
    assert "HAProxy does not answer" in problems["haproxy"]
    assert "Connection refused" in problems["haproxy"]
    assert "pgha-orch logs haproxy" in problems["haproxy"]
    shared.run("status", code=1)
    shared.deploy()
    shared.run("status", code=0)


def test_an_etcd_member_that_is_down_is_named(shared: Lab) -> None:
    shared.exec("etcd-2", "systemctl", "stop", "etcd.service")

    problems = shared.problems()

    assert set(problems) == {"etcd-2"}
    assert "etcd is not healthy" in problems["etcd-2"]
    assert "pgha-orch logs etcd-2" in problems["etcd-2"]
    shared.run("status", code=1)
    shared.deploy()
    shared.run("status", code=0)


def test_a_cluster_without_a_sync_standby_is_unhealthy(shared: Lab) -> None:
    # As an operator might, at night; the inventory still says strict.
    shared.exec("pg-1", "patronictl", "edit-config", "--force", "-q", "-s", "synchronous_mode=false")
    deadline = time.monotonic() + 30
    while "patroni" not in (problems := shared.problems()):
        assert time.monotonic() < deadline, "Patroni did not give its sync standby up"
        time.sleep(0.5)

    assert "no sync standby: writes block until a replica streams again" in problems["patroni"]
    assert "pgha-orch deploy" in problems["patroni"]
    shared.run("status", code=1)
    plan = shared.run("plan").out
    assert "patroni: reload: synchronous_mode: false -> true" in plan
    shared.deploy()
    assert shared.status(code=0)["healthy"] is True


def test_a_paused_cluster_is_unhealthy(shared: Lab) -> None:
    shared.exec("pg-1", "patronictl", "pause", "--wait")
    try:
        done = shared.run("status", code=1)
    finally:
        shared.exec("pg-1", "patronictl", "resume", "--wait")

    assert "problem: patroni: the cluster is paused: no failover happens; next: patronictl resume" in done.out
    assert "paused" in done.out.splitlines()[0]
    shared.until_healthy()
