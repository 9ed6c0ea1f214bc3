"""Which machine reaches which port of which other, tried for real, and how long a connection takes.

A machine that still waits for its identity gets a listener on the TCP ports it will serve, and a chronyd that
serves its own clock on UDP port 123, behind a hole in its firewall that closes by itself; on one that runs already
its own services answer.
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
from typing import Literal

from pgha_orch.cluster import Cluster
from pgha_orch.identity import ports
from pgha_orch.identity.firewall import rules
from pgha_orch.identity.site import Site
from pgha_orch.inventory.fields import IPAddress
from pgha_orch.machines import Machine, MachineState

HERE = "pgha-orch"
UNIT, TIME_UNIT = "pgha-preflight", "pgha-preflight-time"
TOKEN = "pgha-preflight"
# A time server with directives in place of a file, which touches no clock (-x) and keeps nothing. It goes to the
# background once it serves.
CLOCK = (
    *("chronyd", "-x", "-u", "root", "local stratum 10", "allow all", "cmdport 0"),
    *("pidfile /run/pgha-preflight-time.pid", "bindcmdaddress /"),
)
OPEN_S = 120  # how long a hole stays open when this program is killed
CONNECT_S = 3
TRIES = 5
TIMEOUT_S = 300.0
# For each "address port how": whether a connection stands, what it says first, and microseconds until it stood; of
# time, until a server answered a client's packet (RFC 5905: version 4, mode 3, the rest zero).
SCRIPT = r"""
packet='\x23'
for ((i = 1; i < 48; i++)); do packet+='\0'; done
export packet
ask() {
  exec 2> /dev/null
  exec 3<> "/dev/udp/$1/$2" || exit 1
  begun=${EPOCHREALTIME/[.,]/}
  printf "$packet" >&3 || exit 1
  [ "$(head -c 1 <&3 | wc -c)" = 1 ] || exit 1
  ended=${EPOCHREALTIME/[.,]/}
  echo $((ended - begun))
}
try() {
  exec 2> /dev/null
  begun=${EPOCHREALTIME/[.,]/}
  exec 3<> "/dev/tcp/$1/$2" || exit 1
  ended=${EPOCHREALTIME/[.,]/}
  if [ "$3" = listen ]; then read -t 2 -r -u 3 line || exit 2; [ "$line" = pgha-preflight ] || exit 2; fi
  echo $((ended - begun))
}
export -f ask try
while read -r address port how; do
  for ((i = 0; i < $1; i++)); do
    if [ "$how" = time ]; then way=ask; else way=try; fi
    took=$(timeout "$2" bash -c "$way \"\$@\"" "$way" "$address" "$port" "$how")
    echo "$address $port $how $? ${took:-0}"
    [ -n "$took" ] || break
  done
done
"""
LISTENS = "until (exec 3<> /dev/tcp/127.0.0.1/$1) 2> /dev/null; do sleep 0.1; done"


@dataclass(frozen=True)
class Flow:
    """Something the cluster needs: `source` (a host, or this one) reaches a port of `target`. UDP is time."""

    source: str
    target: str
    port: int
    what: str
    protocol: Literal["tcp", "udp"] = "tcp"

    def how(self, waiting: set[str]) -> str:
        """What SCRIPT does to try it; `waiting`: who has a listener in place of the services."""
        if self.protocol == "udp":
            return "time"
        return "listen" if self.target in waiting and self.port != ports.SSH else "connect"


@dataclass(frozen=True)
class Reached:
    """A flow that was tried. `connect_ms` is the median; None when it did not work, and then `error` says how."""

    flow: Flow
    connect_ms: float | None
    error: str = ""


def flows(cluster: Cluster) -> list[Flow]:
    """Every flow of the cluster's own firewall rules, from hosts of the cluster or, by TCP, from here."""
    found: list[Flow] = []
    own = _own_addresses(cluster)
    for target in cluster.inventory.hosts:
        for rule in rules(Site(cluster.inventory, cluster.secrets, cluster.pki, target)):
            networks = [ip_network(source) for source in rule.sources]
            sources = [
                name
                for name, host in cluster.inventory.hosts.items()
                if name != target and any(ip_address(host.address) in network for network in networks)
            ]
            asks = rule.protocol == "tcp" and any(address in network for address in own for network in networks)
            here = [HERE] if asks else []
            found += [Flow(source, target, rule.port, rule.comment, rule.protocol) for source in (*here, *sources)]
    return found


def try_all(cluster: Cluster, wanted: Sequence[Flow]) -> list[Reached]:
    """Try every flow, from all sources at once; in the order given."""
    names = {flow.target for flow in wanted} | {flow.source for flow in wanted} - {HERE}
    waiting = {n for n in names if cluster.machine(n).state() is MachineState.ABSENT}
    served = {
        name: sorted({(f.protocol, f.port) for f in wanted if f.target == name and f.port != ports.SSH})
        for name in waiting
    }
    at = {name: _address(cluster, name, waits=name in waiting) for name in names}
    with _listening({n: p for n, p in served.items() if p}, cluster), ThreadPoolExecutor(max_workers=8) as pool:
        by_source: dict[str, list[Flow]] = {}
        for flow in wanted:
            by_source.setdefault(flow.source, []).append(flow)
        tasks = [pool.submit(_from, cluster, source, own, waiting, at) for source, own in by_source.items()]
        tried = {reached.flow: reached for task in tasks for reached in task.result()}
    return [tried[flow] for flow in wanted]


@contextmanager
def _listening(served: Mapping[str, Sequence[tuple[str, int]]], cluster: Cluster) -> Iterator[None]:
    """Listeners on machines that wait for their identity, by protocol and port."""
    try:
        _together(lambda name: _listen(cluster.machine(name), served[name]), served)
        yield
    finally:
        _together(lambda name: _silence(cluster.machine(name)), served)


def _listen(machine: Machine, served: Sequence[tuple[str, int]]) -> None:
    elements = ", ".join(f"{protocol} . {port} timeout {OPEN_S}s" for protocol, port in served)
    machine.exec(["nft", "flush set inet pgha probe"], timeout_s=20)
    machine.exec(["nft", f"add element inet pgha probe {{ {elements} }}"], timeout_s=20)
    machine.exec(["systemctl", "stop", UNIT, TIME_UNIT], timeout_s=20, check=False)
    tcp = [port for protocol, port in served if protocol == "tcp"]
    if tcp:
        listen = [part for port in tcp for part in ("--listen", str(port))]
        _start(machine, UNIT, ["systemd-socket-activate", "--accept", "--inetd", *listen, "echo", TOKEN])
        machine.exec(["bash", "-c", LISTENS, "bash", str(tcp[-1])], timeout_s=20)
    if len(tcp) < len(served):
        _start(machine, TIME_UNIT, CLOCK, kind="forking")


def _start(machine: Machine, unit: str, argv: Sequence[str], *, kind: str = "simple") -> None:
    limit = f"--property=RuntimeMaxSec={OPEN_S}"
    run = ["systemd-run", "--quiet", "--collect", f"--unit={unit}", f"--service-type={kind}", limit]
    machine.exec([*run, *argv], timeout_s=20)


def _silence(machine: Machine) -> None:
    machine.exec(["systemctl", "stop", UNIT, TIME_UNIT], timeout_s=20, check=False)
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
    lines = "".join(f"{at[f.target]} {f.port} {f.how(waiting)}\n" for f in wanted)
    done = cluster.machine(source).exec(
        ["bash", "-c", SCRIPT, "bash", str(TRIES), str(CONNECT_S)], input=lines, timeout_s=TIMEOUT_S
    )
    seen: dict[tuple[str, int, str], list[tuple[int, int]]] = {}
    for line in done.stdout.splitlines():
        address, port, how, code, took = line.split()
        seen.setdefault((address, int(port), how), []).append((int(code), int(took)))
    return [_judge(flow, seen.get((at[flow.target], flow.port, flow.how(waiting)), [])) for flow in wanted]


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
