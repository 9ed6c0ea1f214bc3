"""Expectations in words, against results, and what a scenario needs of the machines."""

from __future__ import annotations

from pgha_orch.cluster import Cluster
from pgha_orch.drills.results import RunResult
from pgha_orch.drills.scenario import Expect, Need, Scenario
from pgha_orch.inventory.model import Driver, Role
from pgha_orch.machines import faults


def expected(expect: Expect) -> str:
    """An expectation in a few words, for tables."""
    parts = []
    if expect.outage_s is not None:
        parts.append(f"outage <= {expect.outage_s:g} s")
    if expect.blocked:
        parts.append("writes block")
    if expect.resume_s is not None:
        parts.append(f"resumes <= {expect.resume_s:g} s after the heal")
    if expect.timeline is not None:
        parts.append("failover" if expect.timeline == "advances" else "no failover")
    if expect.dropped is not None:
        parts.append(f"{expect.dropped} sessions dropped")
    if expect.forbidden:
        parts.append(f"no {', '.join(expect.forbidden)}")
    return ", ".join(parts) or "recorded"


def unmet(expect: Expect, result: RunResult, *, acknowledged_while_blocked: int) -> list[str]:
    """Expectations that a run did not meet, each as a sentence with the figure."""
    wrong = []
    if expect.outage_s is not None and result.judged_s > expect.outage_s:
        wrong.append(f"outage {result.judged_s:.2f} s, expected at most {expect.outage_s:g} s")
    if expect.resume_s is not None:
        if result.resume_s is None:
            wrong.append("no write after the heal")
        elif result.resume_s > expect.resume_s:
            wrong.append(f"writes resumed {result.resume_s:.2f} s after the heal, expected {expect.resume_s:g} s")
    if expect.blocked and acknowledged_while_blocked:
        wrong.append(f"{acknowledged_while_blocked} writes acknowledged though they should have blocked")
    advanced = result.timeline_after > result.timeline_before
    if expect.timeline == "advances" and not advanced:
        wrong.append(f"no failover: the timeline stayed {result.timeline_after}")
    if expect.timeline == "stays" and advanced:
        wrong.append(f"failover: timeline {result.timeline_before} -> {result.timeline_after}")
    if expect.dropped is not None and result.write_sessions_dropped > expect.dropped:
        wrong.append(f"{result.write_sessions_dropped} write sessions dropped, expected at most {expect.dropped}")
    wrong += [f"{result.errors[s]} errors {s}" for s in expect.forbidden if result.errors.get(s)]
    return wrong


def skip_reason(cluster: Cluster, scenario: Scenario) -> str:
    """Why a scenario cannot run on this cluster's machines; empty when it can."""
    nodes = list(cluster.addresses(Role.POSTGRES))
    for need in sorted(scenario.needs):
        match need:
            case Need.WATCHDOG:
                if not all(faults.has_watchdog(cluster.machine(n)) for n in nodes):
                    return f"needs a watchdog device, which {_driver(cluster)} machines do not have"
            case Need.CLOCK:
                if not all(faults.owns_clock(cluster.machine(n)) for n in nodes):
                    return f"needs a clock of each machine's own; {_driver(cluster)} machines share their host's"
            case Need.BACKUP:
                if not cluster.addresses(Role.BACKUP):
                    return "needs a backup host in the inventory"
            case Need.THREE_ETCD:
                if len(cluster.addresses(Role.ETCD)) < 3:
                    return "needs three etcd members"
            case Need.STANDBYS:
                if len(nodes) < 3:
                    return "needs two standbys"
    return ""


def _driver(cluster: Cluster) -> Driver:
    return cluster.inventory.machines
