"""All measurements of a cluster's hosts, what of them is a problem, and which failover preset they allow."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pgha_orch.cluster import Cluster
from pgha_orch.errors import OperationError
from pgha_orch.image import Manifest, manifest
from pgha_orch.image.manifest import IN_IMAGE
from pgha_orch.inventory.model import Role
from pgha_orch.inventory.timings import PRESETS, Preset, Timings
from pgha_orch.machines import Machine, MachineState
from pgha_orch.preflight import disk, reach

# etcd's hardware guide: 99 % of its durable writes below 10 ms.
ETCD_WRITE_MS = 10.0
# etcd's tuning guide: the election timeout (1 s, as etcd.yml sets) is ten round trips or more.
ETCD_CONNECT_MS = 100.0
# Patroni compares the leader's heartbeat with its own wall clock; certificates start a day back.
CLOCK_MS = 500.0
FREE_BYTES = {Role.ETCD: 4 << 30, Role.POSTGRES: 4 << 30, Role.BACKUP: 4 << 30, Role.HAPROXY: 256 << 20}
# One update of the leader key is a round trip to etcd, one among its members, and durable writes on both sides. A
# preset is called fitting when a hundred of them, as slow as the slowest measured, fit into its retry_timeout.
ROOM = 100


class Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HostReport(Row):
    """One host. Milliseconds and bytes; None where it could not be measured."""

    host: str
    role: Role
    state: MachineState
    builder: str | None = None
    build_id: str | None = None
    clock_offset_ms: float | None = None
    clock_error_ms: float | None = None
    write_median_ms: float | None = None
    write_p99_ms: float | None = None
    write_worst_ms: float | None = None
    free_bytes: int | None = None
    watchdog: bool | None = None


class FlowReport(Row):
    """A flow that the cluster needs. `connect_ms` (by UDP: until the answer) None: it does not work."""

    source: str
    target: str
    protocol: Literal["tcp", "udp"] = "tcp"
    port: int
    what: str
    connect_ms: float | None
    error: str


class Finding(Row):
    """`fatal`: a deploy would fail or not hold."""

    where: str
    what: str
    next: str
    fatal: bool


class Report(Row):
    cluster: str
    checked_at: datetime
    hosts: tuple[HostReport, ...]
    flows: tuple[FlowReport, ...]
    preset: str
    fits: tuple[Preset, ...]
    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        return not any(finding.fatal for finding in self.findings)


def measure(cluster: Cluster) -> Report:
    """Ask every host; writes a small file on each and removes it. Raises SshError when a host cannot be asked."""
    names = list(cluster.inventory.hosts)
    findings: list[Finding] = []
    with ThreadPoolExecutor(max_workers=8) as pool:
        rows = list(pool.map(lambda name: _host(cluster, name, findings), names))
    reached = reach.try_all(cluster, reach.flows(cluster))
    flows = tuple(
        FlowReport(
            source=r.flow.source,
            target=r.flow.target,
            protocol=r.flow.protocol,
            port=r.flow.port,
            what=r.flow.what,
            connect_ms=None if r.connect_ms is None else round(r.connect_ms, 3),
            error=r.error,
        )
        for r in reached
    )
    timings = cluster.inventory.timings
    allowed = fitting(rows, flows)
    findings += [*_of_hosts(cluster, rows), *_of_flows(flows), *_of_timings(timings, rows, flows, allowed)]
    return Report(
        cluster=cluster.inventory.cluster,
        checked_at=datetime.now(UTC),
        hosts=tuple(rows),
        flows=flows,
        preset=_name(timings),
        fits=allowed,
        findings=tuple(findings),
    )


def fitting(hosts: list[HostReport], flows: tuple[FlowReport, ...]) -> tuple[Preset, ...]:
    """The presets whose retry_timeout leaves room for ROOM updates of the leader key, fastest first."""
    cost = update_ms(hosts, flows)
    return tuple(preset for preset in Preset if cost * ROOM <= PRESETS[preset].retry_timeout * 1e3)


def update_ms(hosts: list[HostReport], flows: tuple[FlowReport, ...]) -> float:
    """Milliseconds that one update of the leader key takes at worst, of what was measured."""
    stores = {h.host for h in hosts if h.role is Role.ETCD}
    own = [f for f in flows if f.target in stores and f.source != reach.HERE and f.protocol == "tcp"]
    trips = [f.connect_ms for f in own if f.connect_ms]
    writes = [h.write_p99_ms for h in hosts if h.role is Role.ETCD and h.write_p99_ms]
    return 2 * max(trips, default=0.0) + 2 * max(writes, default=0.0)


def _host(cluster: Cluster, name: str, findings: list[Finding]) -> HostReport:
    machine, role = cluster.machine(name), cluster.inventory.hosts[name].role
    state = machine.state()
    image = _image(machine, findings)
    offset, error = _clock(machine)
    watchdog = None
    if role is Role.POSTGRES:
        watchdog = machine.exec(["test", "-c", "/dev/watchdog"], timeout_s=10, check=False).returncode == 0
    row = HostReport(
        host=name,
        role=role,
        state=state,
        builder=image.builder if image else None,
        build_id=image.build_id if image else None,
        clock_offset_ms=round(offset, 3),
        clock_error_ms=round(error, 3),
        watchdog=watchdog,
    )
    if image is not None and image.role != role:
        what = f"runs the image of role {image.role}, the inventory says {role}"
        findings.append(Finding(where=name, what=what, next=f"boot the {role} image on it", fatal=True))
    try:
        found = disk.measure(machine, role)
    except OperationError as exc:
        findings.append(Finding(where=name, what=exc.message.partition(": ")[2], next=exc.hint or "", fatal=True))
        return row
    if not found.mounted:
        findings.append(
            Finding(where=name, what=f"{disk.STATE} is no data disk", next="attach a blank disk", fatal=True)
        )
    return row.model_copy(
        update={
            "write_median_ms": round(found.median_ms, 3),
            "write_p99_ms": round(found.p99_ms, 3),
            "write_worst_ms": round(found.worst_ms, 3),
            "free_bytes": found.free_bytes,
        }
    )


def _image(machine: Machine, findings: list[Finding]) -> Manifest | None:
    content = machine.read(f"/{IN_IMAGE}")
    try:
        if content is not None:
            return manifest.parse(content, f"/{IN_IMAGE}")
        why, then = f"no /{IN_IMAGE}", "boot an image of pgha on it"
    except OperationError as exc:
        why, then = exc.message, "boot an image of contract 1 on it"
    findings.append(Finding(where=machine.name, what=why, next=then, fatal=True))
    return None


def _clock(machine: Machine) -> tuple[float, float]:
    """How far its clock is ahead of ours, and by how much that may be wrong; milliseconds. The best of three."""
    best = (0.0, float("inf"))
    for _ in range(3):
        begun, before = time.monotonic(), datetime.now(UTC).timestamp()
        told = float(machine.exec(["date", "+%s.%N"], timeout_s=10).stdout)
        half = (time.monotonic() - begun) / 2
        best = min(best, ((told - before - half) * 1e3, half * 1e3), key=lambda found: found[1])
    return best


def _of_hosts(cluster: Cluster, rows: list[HostReport]) -> list[Finding]:
    found: list[Finding] = []

    def say(where: str, what: str, then: str, *, fatal: bool = False) -> None:
        found.append(Finding(where=where, what=what, next=then, fatal=fatal))

    for row in rows:
        if row.watchdog is False and cluster.inventory.watchdog_mode == "required":
            say(
                row.host,
                "no /dev/watchdog: it would never lead",
                "load softdog, or postgresql.watchdog: off",
                fatal=True,
            )
        if row.free_bytes is not None and row.free_bytes < FREE_BYTES[row.role]:
            wanted = f"{FREE_BYTES[row.role] / 2**30:g} GiB"
            say(row.host, f"{row.free_bytes / 2**20:.0f} MiB free, less than {wanted}", "give it a larger data disk")
        offset, doubt = row.clock_offset_ms, row.clock_error_ms
        if offset is not None and doubt is not None and abs(offset) - doubt > CLOCK_MS:
            say(
                row.host,
                f"its clock is {offset:+.0f} ms off this host's",
                "set it, and give the inventory `ntp` servers",
            )
        if row.role is Role.ETCD and row.write_p99_ms is not None and row.write_p99_ms > ETCD_WRITE_MS:
            what = f"a durable write takes {row.write_p99_ms:.1f} ms (p99), etcd wants below {ETCD_WRITE_MS:g}"
            say(row.host, what, "give etcd a faster disk, or one of its own")
    for role in Role:
        builds = {row.build_id for row in rows if row.role is role and row.build_id}
        if len(builds) > 1:
            shown = ", ".join(sorted(build[:12] for build in builds))
            say(role.value, f"its hosts run different builds: {shown}", "boot the same image on all of them")
    return found


def _of_flows(flows: tuple[FlowReport, ...]) -> list[Finding]:
    return [
        Finding(
            where=f"{flow.source} -> {flow.target}:{flow.port}{'/udp' if flow.protocol == 'udp' else ''}",
            what=f"{flow.what}: {flow.error}",
            next="let it through between these machines",
            fatal=True,
        )
        for flow in flows
        if flow.connect_ms is None
    ]


def _of_timings(
    timings: Timings, rows: list[HostReport], flows: tuple[FlowReport, ...], allowed: tuple[Preset, ...]
) -> list[Finding]:
    found = []
    cost = update_ms(rows, flows)
    if cost * ROOM > timings.retry_timeout * 1e3:
        what = f"an update of the leader key takes up to {cost:.0f} ms, {ROOM} of them exceed retry_timeout"
        then = f"failover: {allowed[0]}" if allowed else "faster disks or a faster network between etcd hosts"
        found.append(Finding(where="failover", what=f"{what} {timings.retry_timeout} s", next=then, fatal=False))
    stores = {row.host for row in rows if row.role is Role.ETCD}
    slow = [f for f in flows if {f.source, f.target} <= stores and (f.connect_ms or 0) > ETCD_CONNECT_MS]
    if slow:
        what = f"{slow[0].source} and {slow[0].target} are {slow[0].connect_ms:.0f} ms apart: elections will fail"
        found.append(Finding(where="etcd", what=what, next="put etcd hosts closer together", fatal=True))
    return found


def _name(timings: Timings) -> str:
    return next((preset.value for preset, known in PRESETS.items() if known == timings), "own timings")
