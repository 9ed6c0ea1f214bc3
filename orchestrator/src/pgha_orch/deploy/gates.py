"""The gates of a deploy: each looks at the real thing and says whether it is so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pgha_orch import sql
from pgha_orch.cluster import PROBE, Cluster
from pgha_orch.errors import OperationError
from pgha_orch.health import etcd, patroni
from pgha_orch.health.patroni import Rest
from pgha_orch.inventory.model import Durability, Role
from pgha_orch.machines import Machine, MachineState
from pgha_orch.progress import Seen

SQL_TIMEOUT_S = 4.0
EXEC_TIMEOUT_S = 10.0
IDENTITY_UNIT = "pgha-identity.service"


def etcd_quorum(cluster: Cluster, names: Sequence[str]) -> Callable[[], Seen]:
    """Every named member is healthy: it answers, and a linearizable read through it works."""
    addresses = {n: a for n, a in cluster.addresses(Role.ETCD).items() if n in names}

    def look() -> Seen:
        members = etcd.members(addresses, cluster.tls)
        text = ", ".join(f"{m.name} {'healthy' if m.healthy else m.error or 'unhealthy'}" for m in members)
        return _or_dead(cluster, names, Seen(text, open=all(m.healthy for m in members)))

    return look


def leader(cluster: Cluster, names: Sequence[str]) -> Callable[[], Seen]:
    """Some PostgreSQL node holds the leader key, runs, and answers HAProxy's check."""
    rest = Rest(cluster.addresses(Role.POSTGRES), cluster.tls)

    def look() -> Seen:
        try:
            seen = rest.cluster(names)
        except OperationError as exc:
            return _or_dead(cluster, names, Seen(exc.message))
        if seen.leader is None:
            states = ", ".join(f'{m.name} "{m.state}"' for m in seen.members) or "no members yet"
            return _or_dead(cluster, names, Seen(f"no leader; {states}"))
        ready = seen.leader.state == "running" and rest.is_primary(seen.leader.name)
        return Seen(f'leader {seen.leader.name} "{seen.leader.state}"', open=ready)

    return look


def replicas(cluster: Cluster) -> Callable[[], Seen]:
    """Every replica streams, and as many sync standbys are named as the inventory's durability wants."""
    names = list(cluster.addresses(Role.POSTGRES))
    rest = Rest(cluster.addresses(Role.POSTGRES), cluster.tls)
    eligible = [n for n, h in cluster.inventory.of_role(Role.POSTGRES).items() if not h.tags.nosync]
    wanted_sync = 0
    if cluster.inventory.durability is not Durability.ASYNC:
        wanted_sync = min(cluster.inventory.postgresql.synchronous_node_count, len(eligible) - 1)

    def look() -> Seen:
        # What the DCS says of a node whose machine or leader has just restarted may be from before: it says so itself.
        # First, because what it then writes into the DCS is from after that.
        silent = [n for n in names if not rest.serves(n)]
        seen = rest.cluster()
        missing = [n for n in names if seen.member(n) is None]
        waiting = [f'{m.name} "{m.state}"' for m in seen.members if m.name in names and not m.is_healthy]
        if missing or waiting or silent:
            mute = [f"{n} does not stream yet" for n in silent if n not in missing]
            text = ", ".join([*waiting, *mute, *(f"{n} has not joined" for n in missing)])
            return _or_dead(cluster, names, Seen(text))
        sync = seen.sync_standbys
        text = f"{len(names) - 1} streaming" + (f", sync standby {', '.join(sync)}" if sync else ", no sync standby")
        return Seen(text, open=len(sync) >= wanted_sync or len(sync) >= _sync_now(rest, seen))

    return look


def _sync_now(rest: Rest, seen: patroni.Cluster) -> int:
    """Sync standbys that Patroni keeps as it is configured now; what the inventory wants may be yet to come."""
    if seen.leader is None:
        return 1
    config = rest.config(seen.leader.name)
    count = config.get("synchronous_node_count", 1)
    return (count if isinstance(count, int) else 1) if config.get("synchronous_mode") else 0


def service(machine: Machine, unit: str) -> Callable[[], Seen]:
    """A unit on a machine is active."""

    def look() -> Seen:
        state = machine.exec(["systemctl", "is-active", unit], timeout_s=EXEC_TIMEOUT_S, check=False).stdout.strip()
        seen = Seen(f"{machine.name}: {unit} {state or 'not known yet'}", open=state == "active")
        return seen if seen.open else (_identity_verdict(machine) or seen)

    return look


def write_and_read(cluster: Cluster) -> Callable[[], Seen]:
    """A row written through HAProxy's read/write port is read back there, and through the read-only port too."""
    writer, reader = cluster.proxy_target(), cluster.proxy_target(read_only=True)

    def look() -> Seen:
        with sql.connect(writer, timeout_s=SQL_TIMEOUT_S) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS probe (id int PRIMARY KEY, at timestamptz NOT NULL)")
            written = connection.execute(
                "INSERT INTO probe VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET at = excluded.at"
                " RETURNING at, pg_current_wal_lsn()"
            ).fetchone()
        if written is None:
            return Seen("the write gave no row")
        read = sql.query(
            reader,
            "SELECT pg_is_in_recovery(), (SELECT at FROM probe WHERE id = 1)"
            " WHERE NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= %s",
            [written[1]],
            timeout_s=SQL_TIMEOUT_S,
        )
        if not read:
            return Seen(f"port {reader.port}: the replica has not replayed the write yet")
        side = "a replica" if read[0][0] else "the leader"
        return Seen(
            f"written through :{writer.port}, read on {side} through :{reader.port}",
            open=read[0][1] == written[0],
        )

    return look


def write_only(cluster: Cluster) -> Callable[[], Seen]:
    """A committed write through HAProxy's read/write port."""
    writer = cluster.proxy_target()

    def look() -> Seen:
        sql.query(writer, "SELECT txid_current()", timeout_s=SQL_TIMEOUT_S)
        return Seen(f"a write through :{writer.port} as {PROBE} committed", open=True)

    return look


def _or_dead(cluster: Cluster, names: Sequence[str], seen: Seen) -> Seen:
    """`seen`, unless it is shut and a machine behind it can never open it."""
    if seen.open:
        return seen
    for name in names:
        machine = cluster.machine(name)
        if machine.state() is not MachineState.RUNNING:
            return Seen(f"{name}: it stopped running", fatal=f"pgha-orch logs {name} shows why")
        verdict = _identity_verdict(machine)
        if verdict is not None:
            return verdict
    return seen


def _identity_verdict(machine: Machine) -> Seen | None:
    """A fatal observation when the machine has refused its identity."""
    try:
        state = machine.exec(["systemctl", "is-failed", IDENTITY_UNIT], timeout_s=EXEC_TIMEOUT_S, check=False)
    except OperationError:
        return None
    if state.stdout.strip() != "failed":
        return None
    line = machine.exec(
        ["journalctl", "--unit", IDENTITY_UNIT, "--output=cat", "--lines=20", "--no-pager"],
        timeout_s=EXEC_TIMEOUT_S,
        check=False,
    ).stdout
    why = [text for text in line.splitlines() if text.startswith("identity ")]
    return Seen(
        f"{machine.name}: {why[-1] if why else 'the identity was refused'}",
        fatal=f"pgha-orch logs {machine.name}; the image and the inventory must fit together",
    )
