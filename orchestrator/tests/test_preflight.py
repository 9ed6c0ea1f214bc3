"""What preflight concludes from what it measured."""

from __future__ import annotations

import pytest

from pgha_orch.inventory.model import Role
from pgha_orch.inventory.timings import Preset
from pgha_orch.machines import MachineState
from pgha_orch.preflight.disk import _seconds
from pgha_orch.preflight.reach import HERE, Flow, _judge
from pgha_orch.preflight.report import FlowReport, HostReport, fitting, update_ms


def store(name: str, p99_ms: float) -> HostReport:
    return HostReport(host=name, role=Role.ETCD, state=MachineState.ABSENT, write_p99_ms=p99_ms)


def flow(source: str, target: str, connect_ms: float | None) -> FlowReport:
    return FlowReport(source=source, target=target, port=2379, what="etcd clients", connect_ms=connect_ms, error="")


def test_an_update_of_the_leader_key_is_two_trips_and_two_writes_at_their_slowest() -> None:
    hosts = [store("etcd-1", 3.0), store("etcd-2", 5.0)]
    flows = (flow("pg-1", "etcd-1", 2.0), flow("pg-1", "etcd-2", 7.0), flow(HERE, "etcd-1", 90.0))
    assert update_ms(hosts, flows) == 2 * 7.0 + 2 * 5.0  # our own way there does not count


@pytest.mark.parametrize(
    ("p99_ms", "presets"),
    [
        (1.0, ["fast", "norm", "safe", "wide"]),
        (25.0, ["fast", "norm", "safe", "wide"]),
        (26.0, ["norm", "safe", "wide"]),
        (99.0, ["safe", "wide"]),
        (140.0, ["wide"]),
        (200.0, []),
    ],
)
def test_a_preset_fits_while_a_hundred_updates_fit_into_its_retry_timeout(p99_ms: float, presets: list[str]) -> None:
    assert fitting([store("etcd-1", p99_ms)], ()) == tuple(Preset(p) for p in presets)


def test_the_time_of_a_write_is_dd_s_own() -> None:
    assert _seconds("2300 bytes (2.3 kB, 2.2 KiB) copied, 0.000923 s, 2.5 MB/s") == 0.000923
    assert _seconds("8192 bytes (8.2 kB, 8.0 KiB) copied, 1.2e-05 s, 680 MB/s") == 1.2e-05
    assert _seconds("1+0 records out") is None


def test_one_failed_try_of_a_flow_makes_it_a_problem() -> None:
    tried = Flow("pg-1", "etcd-1", 2379, "etcd clients")
    assert _judge(tried, [(0, 300), (0, 100), (0, 200)]).connect_ms == 0.2
    assert _judge(tried, [(0, 300), (124, 0)]).error == "no answer within 3 s"
    assert _judge(tried, [(1, 0)]).error == "refused"
    assert _judge(tried, []).error == "it was not tried"
