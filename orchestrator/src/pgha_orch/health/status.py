"""The state of a whole cluster as one document, and what is wrong with it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from pydantic import Field

from pgha_orch.cluster import Cluster
from pgha_orch.errors import OperationError
from pgha_orch.health import backup_status, etcd, haproxy, patroni, unseen
from pgha_orch.health.backup_status import BackupRow
from pgha_orch.health.rows import Problem, Row
from pgha_orch.inventory.model import Durability, Role
from pgha_orch.machines import MachineState

STATS_USER = "operator"


class MachineRow(Row):
    """One machine of the inventory."""

    host: str
    role: Role
    address: str
    state: MachineState
    build_id: str | None = Field(description="Build id of the image that it runs")
    identity_current: bool = Field(description="Whether it runs with the identity that the inventory gives now")


class EtcdRow(Row):
    member: str
    healthy: bool
    leader: bool
    version: str
    db_size_bytes: int
    error: str


class MemberRow(Row):
    """One PostgreSQL node, in `patronictl list`'s terms."""

    member: str
    address: str
    role: str = Field(description='"leader", "sync_standby", "quorum_standby", "replica", or "" when not known')
    state: str = Field(description='Patroni\'s state: "running" (leader), "streaming" (replica), ...')
    timeline: int | None
    lag_bytes: int | None = Field(description="WAL that it has not replayed yet; None when not known or leader")
    pending_restart: bool


class ProxyRow(Row):
    host: str
    answers: bool
    write_servers: tuple[str, ...] = Field(description="Servers that HAProxy sends writes to; exactly one when healthy")
    read_servers: tuple[str, ...]
    error: str


class ClusterStatus(Row):
    """What `pgha-orch status --json` prints."""

    cluster: str
    checked_at: datetime
    healthy: bool = Field(description="True when `problems` is empty; the exit code is 0 then, else 1")
    paused: bool = Field(description="Whether Patroni is in maintenance mode")
    machines: tuple[MachineRow, ...]
    etcd: tuple[EtcdRow, ...]
    members: tuple[MemberRow, ...]
    proxies: tuple[ProxyRow, ...]
    backup: BackupRow | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = Field(description="What will hurt, and does not make it unhealthy")


def observe(cluster: Cluster) -> ClusterStatus:
    """Look at everything once, all parts at the same time. Raises nothing for what is down: it is a problem then."""
    cluster.fleet.assert_reachable()
    with ThreadPoolExecutor(max_workers=8) as pool:
        machines = pool.submit(_machines, cluster)
        stores = pool.submit(etcd.members, cluster.addresses(Role.ETCD), cluster.tls)
        nodes = pool.submit(_patroni, cluster)
        proxies = pool.submit(_proxies, cluster)
        backups = pool.submit(backup_status.observe, cluster)
    view, rest_silent = nodes.result()
    parts = (
        machines.result(),
        tuple(
            EtcdRow(
                member=m.name,
                healthy=m.healthy,
                leader=m.leader,
                version=m.version,
                db_size_bytes=m.db_size_bytes,
                error=m.error,
            )
            for m in stores.result()
        ),
        _member_rows(cluster, view),
        proxies.result(),
        backups.result(),
    )
    problems = _problems(cluster, view, rest_silent, *parts[:4])
    problems += unseen.problems(cluster, view, rest_silent)
    warnings: list[Problem] = []
    if parts[4] is not None and cluster.inventory.backup is not None:
        down = {m.host for m in parts[0] if m.state is not MachineState.RUNNING}
        more, warnings = backup_status.problems(parts[4], cluster.inventory.backup, down, datetime.now(UTC))
        problems += more
    return ClusterStatus(
        cluster=cluster.inventory.cluster,
        checked_at=datetime.now(UTC),
        healthy=not problems,
        paused=view.pause,
        machines=parts[0],
        etcd=parts[1],
        members=parts[2],
        proxies=parts[3],
        backup=parts[4],
        problems=tuple(problems),
        warnings=tuple(warnings),
    )


def _machines(cluster: Cluster) -> tuple[MachineRow, ...]:
    rows = []
    for name, host in cluster.inventory.hosts.items():
        machine = cluster.machine(name)
        current = machine.read("/run/pgha/SHA256SUMS") == cluster.identities[name].sums
        rows.append(
            MachineRow(
                host=name,
                role=host.role,
                address=str(host.address),
                state=machine.state(),
                build_id=machine.booted_image(),
                identity_current=current,
            )
        )
    return tuple(rows)


def _patroni(cluster: Cluster) -> tuple[patroni.Cluster, tuple[str, ...]]:
    """The cluster as Patroni knows it, and the nodes whose REST API does not answer."""
    addresses = cluster.addresses(Role.POSTGRES)
    rest = patroni.Rest(addresses, cluster.tls)

    def silent(name: str) -> str | None:
        try:
            rest.node(name)
        except OperationError:
            return name
        return None

    with ThreadPoolExecutor(max_workers=len(addresses)) as pool:
        quiet = tuple(name for name in pool.map(silent, addresses) if name)
    try:
        return rest.cluster([n for n in addresses if n not in quiet]), quiet
    except OperationError:
        return patroni.Cluster(), quiet


def _member_rows(cluster: Cluster, view: patroni.Cluster) -> tuple[MemberRow, ...]:
    rows = []
    for name, address in cluster.addresses(Role.POSTGRES).items():
        seen = view.member(name)
        rows.append(
            MemberRow(
                member=name,
                address=str(address),
                role=seen.role if seen else "",
                state=seen.state if seen else "unknown",
                timeline=seen.timeline if seen and isinstance(seen.timeline, int) else None,
                lag_bytes=seen.lag if seen and isinstance(seen.lag, int) else None,
                pending_restart=bool(seen and seen.pending_restart),
            )
        )
    return tuple(rows)


def _proxies(cluster: Cluster) -> tuple[ProxyRow, ...]:
    auth = (STATS_USER, cluster.secrets.stats.get_secret_value())
    rows = []
    for name, address in cluster.addresses(Role.HAPROXY).items():
        try:
            servers = haproxy.servers(address, cluster.inventory.haproxy.port_stats, auth, cluster.tls)
        except OperationError as exc:
            rows.append(ProxyRow(host=name, answers=False, write_servers=(), read_servers=(), error=exc.message))
            continue
        rows.append(
            ProxyRow(
                host=name,
                answers=True,
                write_servers=tuple(s.name for s in servers if s.up and s.proxy.endswith("rw")),
                read_servers=tuple(s.name for s in servers if s.up and s.proxy.endswith("ro")),
                error="",
            )
        )
    return tuple(rows)


def _problems(
    cluster: Cluster,
    view: patroni.Cluster,
    rest_silent: tuple[str, ...],
    machines: tuple[MachineRow, ...],
    stores: tuple[EtcdRow, ...],
    members: tuple[MemberRow, ...],
    proxies: tuple[ProxyRow, ...],
) -> list[Problem]:
    found: list[Problem] = []

    def say(where: str, what: str, then: str) -> None:
        found.append(Problem(where=where, what=what, next=then))

    down = {m.host for m in machines if m.state is not MachineState.RUNNING}
    for host in sorted(down):
        say(host, "the machine does not run", "pgha-orch deploy starts it")
    for row in machines:
        if row.host not in down and not row.identity_current:
            say(
                row.host,
                "runs with another configuration than the inventory gives",
                "pgha-orch plan, then deploy",
            )
    for store in stores:
        if not store.healthy and store.member not in down:
            say(
                store.member,
                f"etcd is not healthy: {store.error or 'no quorum'}",
                f"pgha-orch logs {store.member}",
            )
    for name in rest_silent:
        if name not in down:
            say(
                name,
                "Patroni's REST API does not answer: HAProxy cannot route to it",
                f"pgha-orch logs {name}",
            )
    if view.pause:
        say("patroni", "the cluster is paused: no failover happens", "patronictl resume")
    if view.leader is None:
        say("patroni", "no leader: nothing can be written", "pgha-orch logs of the PostgreSQL hosts")
    for member in members:
        if member.member in down or member.member in rest_silent:
            continue
        wanted = "running" if member.role == "leader" else "streaming"
        if member.state != wanted:
            say(member.member, f'state "{member.state}", not {wanted}', f"pgha-orch logs {member.member}")
        if member.pending_restart:
            say(member.member, "a changed parameter waits for a restart", "pgha-orch deploy")
    if view.leader is not None and cluster.inventory.durability is not Durability.ASYNC and not view.sync_standbys:
        strict = cluster.inventory.durability is Durability.STRICT
        then = "writes block until a replica streams again" if strict else "a failover may lose the newest commits"
        say("patroni", f"no sync standby: {then}", "bring a replica back: pgha-orch deploy")
    for proxy in proxies:
        if proxy.host in down:
            continue
        if not proxy.answers:
            say(proxy.host, f"HAProxy does not answer: {proxy.error}", f"pgha-orch logs {proxy.host}")
        elif len(proxy.write_servers) != 1:
            names = ", ".join(proxy.write_servers) or "nobody"
            say(
                proxy.host,
                f"HAProxy sends writes to {names}, not to one leader",
                "wait for its next checks; logs if it stays",
            )
    return found
