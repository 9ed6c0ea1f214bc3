"""The topology critic: what works but will hurt. Warnings only, each with what to do.

A rule warns of one thing, at the field that would change it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from pgha_orch.inventory.fields import IPNetwork
from pgha_orch.inventory.findings import Problem, shown
from pgha_orch.inventory.model import Driver, Durability, Inventory, Role
from pgha_orch.inventory.timings import Preset


def criticise(inventory: Inventory) -> list[Problem]:
    """All warnings about an inventory that passed its checks."""
    return [problem for rule in RULES for problem in rule(inventory)]


def _warn(path: tuple[str | int, ...], message: str, hint: str, value: object = "") -> Problem:
    return Problem(path, shown(value) if value != "" else "", message, hint)


def _single_points(inventory: Inventory) -> Iterator[Problem]:
    proxies = list(inventory.of_role(Role.HAPROXY))
    if len(proxies) == 1:
        message = "the only HAProxy: while it is down no client reaches the database"
        hint = "add a second haproxy host, with `haproxy.vip` or both in the clients' connection string"
        yield _warn(("hosts", proxies[0]), message, hint)
        if inventory.haproxy.vip is not None:
            message = "a virtual address with one HAProxy has nowhere to move"
            yield _warn(("haproxy", "vip"), message, "add a second haproxy host", inventory.haproxy.vip)
    members = list(inventory.of_role(Role.ETCD))
    if len(members) == 1:
        message = "the only etcd member: when it is lost, so is the vote, and no failover happens"
        yield _warn(("hosts", members[0]), message, "use three")
    nodes = list(inventory.of_role(Role.POSTGRES))
    if len(nodes) == 1:
        message = "the only PostgreSQL node: nothing to fail over to"
        yield _warn(("hosts", nodes[0]), message, "add a second and a third")


def _zones(inventory: Inventory) -> Iterator[Problem]:
    """Only where zones are named: without them nothing is known."""
    named = [host.zone for host in inventory.hosts.values() if host.zone is not None]
    if not named:
        return
    for name, host in inventory.hosts.items():
        if host.zone is None:
            yield _warn(("hosts", name), "no zone, though others have one", f"add `zone: {named[0]}` or another")
    for role, what in ((Role.POSTGRES, "database"), (Role.HAPROXY, "way in"), (Role.ETCD, "etcd member")):
        hosts = inventory.of_role(role)
        zones = {host.zone for host in hosts.values()}
        if len(hosts) > 1 and len(zones) == 1 and None not in zones:
            zone = next(iter(zones))
            message = f"every {role} host is in zone {zone}: when it is lost, no {what} is left"
            yield _warn(("hosts", next(iter(hosts)), "zone"), message, "put them in different zones", zone)
    members = inventory.of_role(Role.ETCD)
    counts = Counter(host.zone for host in members.values() if host.zone is not None)
    if len(members) < 2 or len(counts) < 2:
        return
    zone, count = counts.most_common(1)[0]
    majority = len(members) // 2 + 1
    if count >= majority:
        path = ("hosts", next(name for name, host in members.items() if host.zone == zone), "zone")
        if len(counts) == 2:
            message = f"etcd in two zones, {count} of {len(members)} in {zone}: losing {zone} stops failover"
            hint = "add a third zone; one etcd member is enough in it"
        else:
            message = f"{count} of {len(members)} etcd members in zone {zone}: losing it loses the majority"
            hint = "spread them, one a zone"
        yield _warn(path, message, hint, zone)


def _durability(inventory: Inventory) -> Iterator[Problem]:
    nodes = inventory.of_role(Role.POSTGRES)
    able = [name for name, host in nodes.items() if not host.tags.nosync]
    standbys = len(able) - 1
    count = inventory.postgresql.synchronous_node_count
    mode = inventory.durability
    if mode is Durability.STRICT and standbys == 1:
        message = "strict with one possible sync standby: while it is away, writes block"
        yield _warn(("durability",), message, "add a postgres host, or use `durability: sync`", mode)
    elif mode is not Durability.ASYNC and standbys > 1 and count == standbys:
        message = "every standby has to confirm each COMMIT: losing one stalls writes for a while"
        hint = f"set it to {standbys - 1}, or add a postgres host"
        yield _warn(("postgresql", "synchronous_node_count"), message, hint, count)
    if mode is Durability.ASYNC and inventory.failover is Preset.FAST:
        message = "async with fast failover: a short hiccup moves the leader and loses the newest transactions"
        yield _warn(("durability",), message, "use `durability: sync`, or a slower `failover` preset", mode)
    elif mode is Durability.ASYNC:
        message = "async: a failover loses the transactions that no replica has yet"
        yield _warn(("durability",), message, "use `durability: strict` or `sync` for data that matters", mode)


_DANGEROUS = {
    "fsync": "a power-off then corrupts or loses data",
    "restart_after_crash": "Patroni then takes each crash of a backend for a dead server",
    "zero_damaged_pages": "damaged data is thrown away in silence",
    "ignore_checksum_failure": "damaged data is handed out",
}
_SAFE = {
    "fsync": True,
    "restart_after_crash": True,
    "zero_damaged_pages": False,
    "ignore_checksum_failure": False,
}
_WORDS = {
    "on": True,
    "true": True,
    "yes": True,
    "1": True,
    "off": False,
    "false": False,
    "no": False,
    "0": False,
}


def _postgresql(inventory: Inventory) -> Iterator[Problem]:
    for name, value in inventory.postgresql.parameters.items():
        if name in _DANGEROUS and _WORDS.get(shown(value).lower()) is not _SAFE[name]:
            yield _warn(("postgresql", "parameters", name), _DANGEROUS[name], "remove it", value)
    commit = shown(inventory.postgresql.parameters.get("synchronous_commit", "on"))
    if commit in ("false", "off") and inventory.durability is Durability.ASYNC:
        message = "a crash, even without a failover, loses the newest transactions"
        yield _warn(("postgresql", "parameters", "synchronous_commit"), message, "set it per session instead", commit)
    for i, user in enumerate(inventory.postgresql.users):
        if "superuser" in user.options:
            message = "an application that logs in as superuser can run programs on the host"
            yield _warn(("postgresql", "users", i), message, "remove `superuser`; grant what it needs", user.name)
    if not inventory.postgresql.failsafe_mode:
        message = "without failsafe mode a lost etcd majority makes the primary read-only"
        yield _warn(("postgresql", "failsafe_mode"), message, "set it to true", False)
    if inventory.postgresql.watchdog == "off" and inventory.machines is not Driver.NSPAWN:
        message = "without a watchdog a hung Patroni can leave two writable primaries"
        yield _warn(("postgresql", "watchdog"), message, "set it to auto or required", "off")


def _backup(inventory: Inventory) -> Iterator[Problem]:
    backup = inventory.backup
    if backup is None:
        message = "no backups: a dropped table is gone, and replicas drop it too"
        hint = "add `backup: {}` and a host with `role: backup`, or `backup.repository.s3`"
        yield _warn((), message, hint)
        return
    times, path = backup.schedule, ("backup", "schedule")
    if times.full is None and (times.differential or times.incremental):
        message = "no full backups: each later one builds on the first, which is never renewed"
        yield _warn((*path, "full"), message, "give it a time, such as weekly")
    elif times.full is None:
        message = "no backup is ever scheduled: the archive grows from the first one on, and restores get slower"
        yield _warn(path, message, "give `full` a time, such as weekly")
    if backup.retention.full == 1:
        message = "one full backup kept: the old one goes the moment the new one ends, good or not"
        yield _warn(("backup", "retention", "full"), message, "keep 2", 1)
    s3 = backup.repository.s3
    if s3 is None:
        return
    if backup.repository.cipher == "none":
        message = "backups in S3 unencrypted: whoever reads the bucket has the database"
        yield _warn(("backup", "repository"), message, "add `cipher: aes-256-cbc`: the key is generated")
    if not s3.verify_tls:
        message = "anyone between here and S3 can read and change the backups"
        yield _warn(("backup", "repository", "s3", "verify_tls"), message, "set it to true", False)
    if inventory.gateway is None:
        message = "no `gateway`: the machines may not reach S3"
        yield _warn(("backup", "repository", "s3", "endpoint"), message, "add `gateway`", s3.endpoint)


def _inside(inventory: Inventory, network: IPNetwork) -> bool:
    return int(inventory.network.network_address) <= int(network.network_address) and int(
        network.broadcast_address
    ) <= int(inventory.network.broadcast_address)


def _reach(inventory: Inventory) -> Iterator[Problem]:
    if inventory.network.is_global:
        message = "a public network: what is not in the firewall's list is one mistake from the internet"
        yield _warn(("network",), message, "use a private one: 10.77.0.0/24 or fd00:77::/64", inventory.network)
    for field in ("clients", "operators"):
        networks: tuple[IPNetwork, ...] = getattr(inventory, field)
        for i, network in enumerate(networks):
            if network.prefixlen == 0:
                message = "everyone: " + (
                    "only passwords keep strangers out" if field == "clients" else "sshd and REST for all"
                )
                yield _warn((field, i), message, "name the networks that need it", network)
            elif inventory.gateway is None and not _inside(inventory, network) and inventory.machines is not Driver.SSH:
                message = "outside the cluster's network, and no `gateway`: answers find no way back"
                yield _warn((field, i), message, "add `gateway`", network)
    if inventory.machines is not Driver.NSPAWN and all(_inside(inventory, net) for net in inventory.clients):
        message = "no client beyond the cluster's own network may connect"
        yield _warn(("clients",), message, "add the networks of your applications")
    if inventory.ntp and inventory.gateway is None and inventory.machines is not Driver.SSH:
        message = "time servers, but no `gateway` to reach them through"
        yield _warn(("ntp",), message, "add `gateway`, or remove `ntp`")


def _machines(inventory: Inventory) -> Iterator[Problem]:
    for name, host in inventory.hosts.items():
        sized = sorted(host.model_fields_set & {"memory_mib", "cpus"})
        for field in sized if inventory.machines is not Driver.QEMU else ():
            message = f"no effect on {inventory.machines} machines"
            yield _warn(("hosts", name, field), message, "remove it, or set `machines: qemu`", getattr(host, field))
        if inventory.machines is Driver.SSH and (host.ssh is None or host.ssh.host_key is None):
            message = "no `ssh.host_key`: the machine's own first key must be confirmed by hand"
            yield _warn(
                ("hosts", name),
                message,
                "add `ssh: {host_key: SHA256:...}` from its console, or use pgha-orch bootstrap",
            )
    check, timings = inventory.timings.check, inventory.timings
    if check.fall * check.fastinter_ms > 1000 * timings.ttl:
        message = f"HAProxy notices a dead node after {check.fall * check.fastinter_ms / 1000:g} s, later than ttl"
        yield _warn(("failover", "check"), message, "lower fall or fastinter_ms")


RULES: tuple[Callable[[Inventory], Iterator[Problem]], ...] = (
    _single_points,
    _zones,
    _durability,
    _postgresql,
    _backup,
    _reach,
    _machines,
)
