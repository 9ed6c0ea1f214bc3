"""Drills end to end: the short set holds its expectations, and whatever ends a drill, what it broke is healed."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator

import pytest
from lab import Lab

pytestmark = pytest.mark.timeout(420)

SHORT = ("1", "2", "6", "10", "17")
DRILL_S = 240
JOURNAL = "drill-faults.json"
# What a busy CI host may spoil once; everything else has no second chance.
TIMING = ("outage ", "write sessions dropped")


@pytest.fixture(autouse=True)
def allowed(shared: Lab) -> Iterator[None]:
    """The shared cluster may be drilled here, and is healthy before and after."""
    with shared.changed(drills="allowed"):
        shared.until_healthy(120)
        yield
        if shared.run("status", code=None).code != 0:
            shared.deploy()


def drilled(lab: Lab, *scenarios: str) -> dict[str, dict[str, object]]:
    """Scenario number to its one run, as `--json` gives it."""
    done = lab.run("drill", *scenarios, "--json", code=None, timeout_s=DRILL_S)
    assert done.code in (0, 1), str(done)
    document = done.json
    assert document["healthy_after"] is True, document["problems_after"]
    found = {}
    for scenario in document["scenarios"]:  # type: ignore[attr-defined]
        (run,) = scenario["runs"]
        found[scenario["number"]] = run
    assert done.code == (1 if any(run["broken"] for run in found.values()) else 0)
    return found


def only_late(run: dict[str, object]) -> bool:
    broken = run["broken"]
    assert isinstance(broken, list)
    return bool(broken) and all(any(word in line for word in TIMING) for line in broken)


@pytest.mark.parametrize("number", SHORT)
def test_the_short_set_loses_nothing_and_meets_its_expectations(shared: Lab, number: str) -> None:
    run = drilled(shared, number)[number]
    if only_late(run):
        run = drilled(shared, number)[number]

    assert run["broken"] == []
    assert run["lost"] == 0
    assert run["errors"].get("25006", 0) == 0  # type: ignore[attr-defined]
    assert int(str(run["acknowledged"])) > 100
    verdicts = {v["invariant"]: v["ok"] for v in run["invariants"]}  # type: ignore[attr-defined]
    assert verdicts == dict.fromkeys(("I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8"), True)
    if number in ("1", "10"):
        assert run["leader_after"] != run["leader_before"]
        assert int(str(run["timeline_after"])) > int(str(run["timeline_before"]))


def test_a_cluster_that_does_not_allow_drills_is_not_touched(shared: Lab) -> None:
    with shared.changed(drills="forbidden"):
        done = shared.run("drill", "17", code=2)
    assert "may not be broken on purpose" in done.err and "drills: allowed" in done.err
    assert not (shared.state / JOURNAL).exists()


def test_an_unhealthy_cluster_is_not_drilled(shared: Lab) -> None:
    leader = shared.leader()
    replica = next(name for name in shared.of_role("postgres") if name != leader)
    shared.exec(replica, "systemctl", "stop", "patroni.service")
    try:
        done = shared.run("drill", "17", code=1)
    finally:
        shared.exec(replica, "systemctl", "start", "patroni.service")
    assert "not healthy, so it is not drilled" in done.err and replica in done.err
    shared.until_healthy()


def broken_off(lab: Lab, how: signal.Signals) -> int:
    """Start drill 17, end it by a signal once its fault is in place; its exit code."""
    drill = lab.start("drill", "17")
    journal = lab.state / JOURNAL
    deadline = time.monotonic() + 60
    while not journal.exists() and drill.poll() is None:
        assert time.monotonic() < deadline, "no fault was put in"
        time.sleep(0.05)
    (fault,) = json.loads(journal.read_text())
    assert fault["kind"] == "power"
    time.sleep(1.0)
    drill.send_signal(how)
    said, _ = drill.communicate(timeout=90)
    lab.said.append(said)
    return drill.returncode


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_drill_that_is_interrupted_heals_what_it_broke(shared: Lab, how: signal.Signals) -> None:
    assert broken_off(shared, how) == 130
    assert not (shared.state / JOURNAL).exists()
    shared.until_healthy()


def test_a_drill_that_was_killed_is_healed_later(shared: Lab) -> None:
    assert broken_off(shared, signal.SIGKILL) == -signal.SIGKILL
    assert (shared.state / JOURNAL).exists()
    refused = shared.run("drill", "1", code=1)
    assert "faults of an earlier drill are still in place: power etcd-" in refused.err
    assert "drill --heal" in refused.err

    assert "healed power etcd-" in shared.run("drill", "--heal").err

    assert not (shared.state / JOURNAL).exists()
    shared.until_healthy()
    assert shared.run("drill", "--heal").code == 0
