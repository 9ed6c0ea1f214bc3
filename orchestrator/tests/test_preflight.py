"""What preflight concludes from what it measured."""

from __future__ import annotations

import socket
import subprocess
import threading

import pytest

from pgha_orch.inventory.model import Role
from pgha_orch.inventory.timings import Preset
from pgha_orch.machines import MachineState
from pgha_orch.preflight.disk import _seconds
from pgha_orch.preflight.reach import HERE, SCRIPT, Flow, _judge
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


def asked(port: int) -> list[str]:
    """What a host says about a time server on loopback: exit code and microseconds of two tries, or of the first."""
    done = subprocess.run(
        ["bash", "-c", SCRIPT, "bash", "2", "1"],
        input=f"127.0.0.1 {port} time\n",
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return [line.removeprefix(f"127.0.0.1 {port} time ") for line in done.stdout.splitlines()]


def test_a_time_server_is_asked_with_a_client_s_packet_and_timed_until_it_answers() -> None:
    packets: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            for _ in range(2):
                packet, sender = server.recvfrom(2048)
                packets.append(packet)
                server.sendto(b"\x24" + packet[1:], sender)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        said = asked(server.getsockname()[1])
        thread.join(timeout=5)
    assert packets == [b"\x23" + bytes(47)] * 2
    assert [line.split()[0] for line in said] == ["0", "0"]
    assert all(int(line.split()[1]) > 0 for line in said)


def test_a_time_server_that_drops_or_refuses_packets_is_a_problem() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        assert asked(port) == ["124 0"]
    assert asked(port) == ["1 0"]
