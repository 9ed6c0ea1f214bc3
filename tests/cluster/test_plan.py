"""plan and deploy of a changed inventory: the impact is named beforehand, and carried out in the right order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from lab import Lab

from pgha_orch.cluster import Cluster
from pgha_orch.inventory.load import load
from pgha_orch.inventory.timings import PRESETS, Preset
from pgha_orch.state import StateDir

pytestmark = pytest.mark.timeout(500)


@pytest.fixture(autouse=True)
def as_before(shared: Lab) -> Iterator[None]:
    """Each test finds and leaves the cluster as its inventory says, also when the one before it failed."""
    yield
    if shared.run("plan").out != "nothing to change\n":
        shared.deploy()


def impacts(plan: dict[str, object]) -> dict[tuple[str, str], str]:
    """Host and file to impact."""
    changes = plan["changes"]
    assert isinstance(changes, list)
    return {(c["host"], c["what"].split()[0]): c["impact"] for c in changes}


def parameters(plan: dict[str, object]) -> dict[str, tuple[str, str]]:
    found = plan["parameters"]
    assert isinstance(found, list)
    return {p["key"]: (p["now"], p["wanted"]) for p in found}


def test_what_reloads_is_named_and_only_reloads(shared: Lab) -> None:
    begun, machines, postmasters = time.monotonic(), shared.pids(), shared.postmasters()
    started = shared.since("haproxy.service", "haproxy") | shared.since("etcd.service", "etcd")
    postgresql = dict(shared.spec["postgresql"])  # type: ignore[call-overload]
    postgresql |= {"parameters": {"work_mem": "7MB"}, "hba": ["hostssl app app 10.83.0.99/32 reject"]}
    timings = PRESETS[Preset.FAST].model_dump() | {"check": {"inter_ms": 900, "fall": 4}}
    change = {"postgresql": postgresql, "failover": timings, "clients": ["10.83.0.64/26", "10.83.0.192/27"]}

    with shared.changed(**change):
        plan = shared.run("plan", "--json").json
        lines = shared.run("plan").out.splitlines()
        done = shared.deploy()
        again = shared.run("plan").out

        found = impacts(plan)
        for host in shared.of_role("postgres"):
            assert found[host, "patroni/patroni.yml"] == "reload"
        assert found["haproxy", "haproxy/haproxy.cfg"] == "reload"
        assert found["haproxy", "nftables.conf"] == "reload"
        assert set(found.values()) == {"reload"}
        assert parameters(plan) == {"postgresql.parameters.work_mem": ("unset", '"7MB"')}
        assert "haproxy: reload: haproxy/haproxy.cfg changed" in lines
        assert 'patroni: reload: postgresql.parameters.work_mem: unset -> "7MB"' in lines
        assert done["changed"] is True
        assert impacts(done) == found
        assert again == "nothing to change\n"

        assert shared.pids() == machines
        assert shared.postmasters() == postmasters
        assert shared.since("haproxy.service", "haproxy") | shared.since("etcd.service", "etcd") == started
        for host in shared.of_role("postgres"):
            wait_for_value(shared, host, "SHOW work_mem", "7MB")
            rules = "SELECT count(*) FROM pg_hba_file_rules WHERE address = '10.83.0.99' AND auth_method = 'reject'"
            wait_for_value(shared, host, rules, "1")
        # Not the whole file: it holds a password, and what commands say is searched for those.
        shared.exec("haproxy", "grep", "-q", "inter 900ms", "/run/pgha/haproxy/haproxy.cfg")
        asking = ["socat", "-", "/run/haproxy/admin.sock"]
        info = shared.run("exec", "haproxy", *asking, input="show info\n").out
        uptime_s = next(int(line.split(": ")[1]) for line in info.splitlines() if line.startswith("Uptime_sec"))
        assert uptime_s <= time.monotonic() - begun, "the worker that serves is still the old one"
        assert "10.83.0.192/27" in shared.exec("haproxy", "nft", "list", "ruleset").out
    assert parameters(shared.deploy()) == {"postgresql.parameters.work_mem": ('"7MB"', "unset")}
    wait_for_value(shared, "pg-1", "SHOW work_mem", "4MB")


def wait_for_value(lab: Lab, host: str, statement: str, wanted: str) -> None:
    """Patroni reloads at its next loop."""
    deadline = time.monotonic() + 20
    while (value := lab.sql(host, statement)) != wanted:
        assert time.monotonic() < deadline, f"{host}: {statement}: {value}, not {wanted}"
        time.sleep(0.3)


def test_a_parameter_that_restarts_restarts_the_replicas_before_the_leader(shared: Lab) -> None:
    leader, machines, before = shared.leader(), shared.pids(), shared.postmasters()
    timeline = shared.timeline(leader)
    postgresql = dict(shared.spec["postgresql"]) | {"parameters": {"shared_buffers": "96MB"}}  # type: ignore[call-overload]

    with shared.changed(postgresql=postgresql):
        plan = shared.run("plan").out
        done = shared.deploy()
        after = shared.postmasters()

        assert 'patroni: restart: postgresql.parameters.shared_buffers: unset -> "96MB"' in plan.splitlines()
        assert done["changed"] is True
        assert all(after[h] > before[h] for h in after), "every node restarts"
        assert max(after, key=after.__getitem__) == leader, f"the leader {leader} restarts last: {after}"
        assert {shared.sql(h, "SHOW shared_buffers") for h in after} == {"96MB"}
        assert shared.leader() == leader
        assert shared.timeline(leader) == timeline, "it failed over"
        assert shared.pids() == machines
        assert shared.run("plan").out == "nothing to change\n"


def test_etcd_members_restart_one_after_the_other_with_a_quorum_all_the_time(shared: Lab) -> None:
    cluster = Cluster.open(load(shared.inventory), StateDir.open(shared.state))
    members = list(shared.of_role("etcd"))
    postmasters = shared.postmasters()
    # What an earlier version may have rendered: the same with another comment.
    for name in members:
        now = cluster.identities[name]
        older = tuple(
            replace(m, content=m.content + b"# as it was\n") if m.path == "etcd/etcd.yml" else m for m in now.members
        )
        shared.machine(name).apply_identity(replace(now, members=older))
    before = shared.since("etcd.service", "etcd")

    found = impacts(shared.run("plan", "--json").json)
    shared.deploy()

    assert found == {(name, "etcd/etcd.yml"): "restart" for name in members}
    after = shared.since("etcd.service", "etcd")
    assert all(after[name] > before[name] for name in members)
    spans = []
    for name in members:
        reading = ["journalctl", "-u", "etcd.service", "-o", "short-unix", "--no-pager"]
        journal = shared.exec(name, *reading).out.splitlines()
        down, up = (
            max(float(line.split()[0]) for line in journal if f"{word} etcd.service" in line)
            for word in ("Stopping", "Started")
        )
        spans.append((down, up, name))
    spans.sort()
    assert [name for *_, name in spans] == members
    for (_, up, one), (down, _, other) in pairwise(spans):
        assert up < down, f"{other} went down before {one} was up"
    assert shared.run("plan").out == "nothing to change\n"
    assert shared.postmasters() == postmasters


def test_a_replica_is_added_and_taken_away_again(shared: Lab) -> None:
    machines, postmasters = shared.pids(), shared.postmasters()
    more = shared.hosts | {"pg-4": {"role": "postgres", "address": "10.83.0.24"}}

    with shared.changed(hosts=more):
        plan = shared.run("plan", "--json").json
        shared.deploy()

        found = impacts(plan)
        assert found["pg-4", "postgres"] == "new machine"
        assert found["haproxy", "haproxy/haproxy.cfg"] == "reload"
        assert "reboot" not in found.values() and "restart" not in found.values()
        assert {h: p for h, p in shared.pids().items() if h != "pg-4"} == machines
        assert {h: t for h, t in shared.postmasters().items() if h != "pg-4"} == postmasters
        members = {m["member"]: m["state"] for m in shared.status(code=0)["members"]}  # type: ignore[attr-defined]
        assert members["pg-4"] == "streaming"
        deadline = time.monotonic() + 15
        while "pg-4" not in shared.status()["proxies"][0]["read_servers"]:  # type: ignore[index]
            assert time.monotonic() < deadline, "HAProxy does not read from pg-4"
            time.sleep(0.5)
        assert shared.run("plan").out == "nothing to change\n"
        gone = shared.pids()["pg-4"]
        data = shared.state / "machines" / "pg-4"

    assert impacts(shared.run("plan", "--json").json)["pg-4", "no"] == "remove"
    shared.deploy()

    assert shared.pids() == machines
    assert not Path(f"/proc/{gone}").exists()
    assert data.exists(), "a machine's data goes with destroy --data only"
    # Patroni forgets a member that stopped when its key's ttl ends.
    deadline = time.monotonic() + 40
    while "pg-4" in shared.exec("pg-1", "patronictl", "list").out:
        assert time.monotonic() < deadline, "pg-4 is still a member"
        time.sleep(1)
    assert shared.run("plan").out == "nothing to change\n"
    shared.run("status", code=0)


def test_a_deploy_broken_off_before_the_reload_reloads_at_the_next_one(shared: Lab) -> None:
    with shared.changed(clients=["10.83.0.64/26", "10.83.0.160/27"]):
        # The reload of the firewall fails: the files are new, nothing has been told.
        override = "/run/systemd/system/pgha-firewall.service.d"
        broken = f"mkdir -p {override} && printf '[Service]\\nExecReload=\\nExecReload=false\\n' > {override}/t.conf"
        shared.exec("haproxy", "sh", "-c", f"{broken} && systemctl daemon-reload")
        try:
            failed = shared.run("deploy", code=1, timeout_s=120)
        finally:
            shared.exec("haproxy", "sh", "-c", f"rm -r {override} && systemctl daemon-reload")
        assert "haproxy: new configuration" in failed.err
        assert "10.83.0.160/27" in shared.exec("haproxy", "cat", "/run/pgha/nftables.conf").out
        assert "10.83.0.160/27" not in shared.exec("haproxy", "nft", "list", "ruleset").out

        plan = shared.run("plan").out
        done = shared.deploy()

        assert "haproxy: reload: an earlier deploy was broken off" in plan
        assert done["changed"] is True
        assert "10.83.0.160/27" in shared.exec("haproxy", "nft", "list", "ruleset").out
        assert shared.run("plan").out == "nothing to change\n"
