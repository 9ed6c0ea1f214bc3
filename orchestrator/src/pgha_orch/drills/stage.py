"""What a scenario's functions work with: the cluster's parts by role, and verbs that break them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydantic import JsonValue

from pgha_orch.cluster import Cluster
from pgha_orch.drills.faults import Fault, Injector
from pgha_orch.drills.ledger import Ledger
from pgha_orch.errors import OperationError
from pgha_orch.health import etcd, patroni
from pgha_orch.health.patroni import Rest
from pgha_orch.inventory.model import Role
from pgha_orch.machines import Machine

EXEC_TIMEOUT_S = 15.0
SWITCHOVER_TIMEOUT_S = 60.0
SETTLE_DEADLINE_S = 90.0
POLL_S = 0.1
POSTMASTER_PID = "/var/lib/pgha/postgresql/data/postmaster.pid"


@dataclass
class Stage:
    """One run of one scenario. `tick` is called often while it waits, so that the caller can show the pulse."""

    cluster: Cluster
    injector: Injector
    ledger: Ledger
    repeat: int
    tick: Callable[[], None]
    leader: str = ""
    replicas: tuple[str, ...] = ()
    sync_standby: str | None = None
    notes: list[str] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)
    begun_s: float = 0.0
    struck: str = ""  # who led when the fault came; `leader` is who led at the last look

    @property
    def rest(self) -> Rest:
        return Rest(self.cluster.addresses(Role.POSTGRES), self.cluster.tls)

    @property
    def nodes(self) -> list[str]:
        return list(self.cluster.addresses(Role.POSTGRES))

    @property
    def stores(self) -> list[str]:
        return list(self.cluster.addresses(Role.ETCD))

    def look(self) -> patroni.Cluster:
        """Learn who is who now; OperationError without a leader."""
        seen = self.rest.cluster()
        if seen.leader is None:
            raise OperationError("no leader", hint="pgha-orch status says why")
        self.leader = seen.leader.name
        self.replicas = tuple(m.name for m in seen.members if not m.is_leader)
        self.sync_standby = next(iter(seen.sync_standbys), None)
        return seen

    def etcd_leader(self) -> str:
        found = etcd.members(self.cluster.addresses(Role.ETCD), self.cluster.tls)
        name = next((m.name for m in found if m.leader), None)
        if name is None:
            raise OperationError("etcd: no leader")
        return name

    def machine(self, host: str) -> Machine:
        return self.cluster.machine(host)

    def mark(self, label: str) -> None:
        """Note a moment for the plot."""
        self.marks.append((time.monotonic(), label))

    def note(self, text: str) -> None:
        """Something found out that belongs into the report."""
        self.notes.append(text)

    def settle(self) -> None:
        """Wait until there is a leader, every other node streams and a sync standby is named; learn who is who."""

        def so() -> bool:
            try:
                seen = self.rest.cluster()
            except OperationError:
                return False
            members = [seen.member(name) for name in self.nodes]
            return bool(seen.leader and seen.sync_standbys and all(m is not None and m.is_healthy for m in members))

        deadline_s = SETTLE_DEADLINE_S * self.cluster.fleet.patience
        if not self.until(so, deadline_s):
            raise OperationError(f"not all nodes streamed within {deadline_s:.0f} s")
        self.look()

    def wait(self, seconds: float) -> None:
        self.until(lambda: False, seconds)

    def until(self, true: Callable[[], bool], deadline_s: float) -> bool:
        """Wait until it is so, at most `deadline_s` seconds; whether it came to be."""
        deadline = time.monotonic() + deadline_s
        looked = time.monotonic()
        while not true():
            if time.monotonic() > deadline:
                return False
            self.tick()
            time.sleep(max(POLL_S, time.monotonic() - looked))  # looking costs the machines too
            looked = time.monotonic()
        return True

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Keep the pulse shown while a call blocks."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(POLL_S):
                self.tick()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    # What breaks things

    def switchover(self) -> None:
        self.mark(f"switchover from {self.leader}")
        with self.ticking():
            self.rest.switchover(self.leader, timeout_s=SWITCHOVER_TIMEOUT_S * self.cluster.fleet.patience)

    def power_off(self, *hosts: str) -> None:
        """Cut the power of machines, all at once."""
        faults = [Fault(kind="power", host=h, args={"build_id": self.machine(h).booted_image()}) for h in hosts]
        self.mark(f"power off {', '.join(hosts)}")
        threads = [threading.Thread(target=self.machine(h).kill) for h in hosts[1:]]
        for fault in faults[1:]:
            self.injector.note(fault)
        for thread in threads:
            thread.start()
        self.injector.inject(faults[0])
        for thread in threads:
            thread.join()

    def shut_down(self, host: str) -> None:
        """An orderly shutdown; healed as a power-off is."""
        fault = Fault(kind="power", host=host, args={"build_id": self.machine(host).booted_image()})
        self.mark(f"shut down {host}")
        self.injector.note(fault)
        with self.ticking():
            self.machine(host).stop(timeout_s=90)

    def power_on(self, host: str) -> None:
        for fault in self.injector.in_place():
            if fault.kind == "power" and fault.host == host:
                self.mark(f"power on {host}")
                self.injector.heal(fault)

    def freeze(self, host: str) -> None:
        self.mark(f"freeze {host}")
        self.injector.inject(Fault(kind="freeze", host=host))

    def cut(self, host: str, peers: Sequence[str], *, direction: str = "both", port: int | None = None) -> None:
        """Cut a machine off from others; "host" among the peers is the host of pgha-orch."""
        args: dict[str, JsonValue] = {"peers": list(peers), "direction": direction}
        if port is not None:
            args["port"] = port
        self.mark(f"cut {host}")
        self.injector.inject(Fault(kind="cut", host=host, args=args))

    def others(self, host: str) -> list[str]:
        """Every host of the inventory but this one."""
        return [name for name in self.cluster.inventory.hosts if name != host]

    def setting(self, key: str, value: JsonValue) -> None:
        """Change Patroni's dynamic configuration until the heal, and wait until every node has loaded it."""
        before = self.rest.config(self.leader).get(key)
        self.injector.inject(
            Fault(kind="setting", host=self.leader, args={"key": key, "value": value, "before": before})
        )
        self.wait(2.0 * self.cluster.inventory.timings.loop_wait + 1.0)

    def postmaster(self, host: str) -> str:
        """Process id, inside, of the postmaster."""
        text = self.machine(host).read(POSTMASTER_PID)
        if not text:
            raise OperationError(f"{host}: no {POSTMASTER_PID}; PostgreSQL does not run")
        return text.decode().split()[0]

    def main_pid(self, host: str, unit: str) -> str:
        """Process id, inside, of a unit's main process."""
        done = self.run(host, "systemctl", "show", "--property=MainPID", "--value", unit)
        return done.strip()

    def kill(self, host: str, pid: str, what: str) -> None:
        """SIGKILL to one process inside."""
        self.mark(f"kill -9 {what} on {host}")
        self.run(host, "kill", "-KILL", pid)

    def stop_process(self, host: str, pid: str, what: str) -> None:
        """SIGSTOP to one process inside, until the heal."""
        self.mark(f"SIGSTOP {what} on {host}")
        self.injector.inject(Fault(kind="stopped-process", host=host, args={"pid": pid}))

    def run(self, host: str, *argv: str, check: bool = True) -> str:
        """Run a program inside a machine; its standard output."""
        return self.machine(host).exec(argv, timeout_s=EXEC_TIMEOUT_S, check=check).stdout
