"""Which machine reaches which port of which other, tried for real, and how long a connection takes.

A machine that still waits for its identity gets a listener on the ports it will serve, behind a hole in its
firewall that closes by itself; on one that runs already its own services answer.
"""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from pgha_orch.cluster import Cluster
from pgha_orch.identity.firewall import rules
from pgha_orch.identity.site import Site
from pgha_orch.inventory.fields import IPAddress
from pgha_orch.machines import Machine, MachineState

HERE = "pgha-orch"
UNIT = "pgha-preflight"
TOKEN = "pgha-preflight"
OPEN_S = 120  # how long a hole stays open when this program is killed
CONNECT_S = 3
TRIES = 5
TIMEOUT_S = 300.0
# For each "address port": whether a connection stands, what it says first, and microseconds until it stood.
SCRIPT = r"""
try() {
  exec 2> /dev/null
  begun=${EPOCHREALTIME/[.,]/}
  exec 3<> "/dev/tcp/$1/$2" || exit 1
  ended=${EPOCHREALTIME/[.,]/}
  if [ "$3" = listen ]; then read -t 2 -r -u 3 line || exit 2; [ "$line" = pgha-preflight ] || exit 2; fi
  echo $((ended - begun))
}
export -f try
while read -r address port how; do
  for ((i = 0; i < $1; i++)); do
    took=$(timeout "$2" bash -c 'try "$@"' try "$address" "$port" "$how")
    echo "$address $port $? ${took:-0}"
    [ -n "$took" ] || break
  done
done
"""
LISTENS = "until (exec 3<> /dev/tcp/127.0.0.1/$1) 2> /dev/null; do sleep 0.1; done"


@dataclass(frozen=True)
class Flow:
    """Something the cluster needs: `source` (a host, or this one) opens a TCP connection to a port of `target`."""

    source: str
    target: str
    port: int
    what: str


@dataclass(frozen=True)
class Reached:
    """A flow that was tried. `connect_ms` is the median; None when it did not work, and then `error` says how."""

    flow: Flow
    connect_ms: float | None
    error: str = ""


def flows(cluster: Cluster) -> list[Flow]:
    """Every TCP flow of the cluster's own firewall rules, from hosts of the cluster or from here."""
    found: list[Flow] = []
    own = _own_addresses(cluster)
    for target in cluster.inventory.hosts:
        for rule in rules(Site(cluster.inventory, cluster.secrets, cluster.pki, target)):
            if rule.protocol != "tcp":
                continue
            networks = [ip_network(source) for source in rule.sources]
            sources = [
                name
                for name, host in cluster.inventory.hosts.items()
                if name != target and any(ip_address(host.address) in network for network in networks)
            ]
            here = [HERE] if any(address in network for address in own for network in networks) else []
            found += [Flow(source, target, rule.port, rule.comment) for source in (*here, *sources)]
    return found


def try_all(cluster: Cluster, wanted: Sequence[Flow]) -> list[Reached]:
    """Try every flow, from all sources at once; in the order given."""
    names = {flow.target for flow in wanted} | {flow.source for flow in wanted} - {HERE}
    waiting = {n for n in names if cluster.machine(n).state() is MachineState.ABSENT}
    ports = {n: sorted({f.port for f in wanted if f.target == n and f.port != 22}) for n in waiting}
    at = {name: _address(cluster, name, waits=name in waiting) for name in names}
    with _listening({n: p for n, p in ports.items() if p}, cluster), ThreadPoolExecutor(max_workers=8) as pool:
        by_source: dict[str, list[Flow]] = {}
        for flow in wanted:
            by_source.setdefault(flow.source, []).append(flow)
        tasks = [pool.submit(_from, cluster, source, own, waiting, at) for source, own in by_source.items()]
        tried = {reached.flow: reached for task in tasks for reached in task.result()}
    return [tried[flow] for flow in wanted]


@contextmanager
def _listening(ports: Mapping[str, Sequence[int]], cluster: Cluster) -> Iterator[None]:
    """Listeners on machines that wait for their identity."""
    try:
        _together(lambda name: _listen(cluster.machine(name), ports[name]), ports)
        yield
    finally:
        _together(lambda name: _silence(cluster.machine(name)), ports)


def _listen(machine: Machine, ports: Sequence[int]) -> None:
    elements = ", ".join(f"tcp . {port} timeout {OPEN_S}s" for port in ports)
    machine.exec(["nft", "flush set inet pgha probe"], timeout_s=20)
    machine.exec(["nft", f"add element inet pgha probe {{ {elements} }}"], timeout_s=20)
    machine.exec(["systemctl", "stop", UNIT], timeout_s=20, check=False)
    listen = [part for port in ports for part in ("--listen", str(port))]
    machine.exec(
        [
            *("systemd-run", "--quiet", "--collect", f"--unit={UNIT}", f"--property=RuntimeMaxSec={OPEN_S}"),
            *("systemd-socket-activate", "--accept", "--inetd", *listen, "echo", TOKEN),
        ],
        timeout_s=20,
    )
    machine.exec(["bash", "-c", LISTENS, "bash", str(ports[-1])], timeout_s=20)


def _silence(machine: Machine) -> None:
    machine.exec(["systemctl", "stop", UNIT], timeout_s=20, check=False)
    machine.exec(["nft", "flush set inet pgha probe"], timeout_s=20, check=False)


def _address(cluster: Cluster, name: str, *, waits: bool) -> str:
    """Where it answers now."""
    host = cluster.inventory.hosts[name]
    before = host.ssh.address if host.ssh is not None else None
    return str(before if waits and before is not None else host.address)


def _from(
    cluster: Cluster, source: str, wanted: Sequence[Flow], waiting: set[str], at: Mapping[str, str]
) -> list[Reached]:
    if source == HERE:
        return [_from_here(at[flow.target], flow) for flow in wanted]
    lines = "".join(
        f"{at[f.target]} {f.port} {'listen' if f.target in waiting and f.port != 22 else 'connect'}\n" for f in wanted
    )
    done = cluster.machine(source).exec(
        ["bash", "-c", SCRIPT, "bash", str(TRIES), str(CONNECT_S)], input=lines, timeout_s=TIMEOUT_S
    )
    seen: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for line in done.stdout.splitlines():
        address, port, code, took = line.split()
        seen.setdefault((address, int(port)), []).append((int(code), int(took)))
    return [_judge(flow, seen.get((at[flow.target], flow.port), [])) for flow in wanted]


def _judge(flow: Flow, tries: Sequence[tuple[int, int]]) -> Reached:
    bad = next((code for code, _ in tries if code != 0), None)
    if tries and bad is None:
        return Reached(flow, statistics.median(took for _, took in tries) / 1e3)
    why = {1: "refused", 2: "something else answers there", 124: f"no answer within {CONNECT_S} s"}
    return Reached(flow, None, why.get(bad, f"exit code {bad}") if bad is not None else "it was not tried")


def _from_here(address: str, flow: Flow) -> Reached:
    took = []
    for _ in range(TRIES):
        begun = time.monotonic()
        try:
            socket.create_connection((address, flow.port), timeout=CONNECT_S).close()
        except TimeoutError:
            return Reached(flow, None, f"no answer within {CONNECT_S} s")
        except OSError as exc:
            return Reached(flow, None, (exc.strerror or str(exc)).lower())
        took.append((time.monotonic() - begun) * 1e3)
    return Reached(flow, statistics.median(took))


def _own_addresses(cluster: Cluster) -> list[IPAddress]:
    """The address that this host sends from to the cluster, or none."""
    target = next(iter(cluster.inventory.hosts.values())).address
    family = socket.AF_INET6 if target.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(target), 9))  # sends nothing: asks the kernel which address it would use
            return [ip_address(probe.getsockname()[0])]
        except OSError:
            return []


def _together(action: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(max_workers=8) as pool:
        for task in [pool.submit(action, name) for name in names]:
            task.result()
