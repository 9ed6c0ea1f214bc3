"""Rules between fields. A broken one is an error: the cluster would not start, or not do what the file says.

Each rule looks at the whole inventory and yields problems; rules of one subject are in `checks_*` modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pgha_orch.inventory import checks_backup, checks_network, checks_postgresql
from pgha_orch.inventory.findings import Problem
from pgha_orch.inventory.model import Driver, Inventory, Role, Tags
from pgha_orch.inventory.timings import PRESETS, Timings

Rule = Callable[[Inventory], Iterator[Problem]]

# etcd's FAQ: "no more than seven"; the others are what this project is tried with, generously.
MOST = {Role.ETCD: 7, Role.POSTGRES: 16, Role.HAPROXY: 8}
NEEDED = {
    Role.ETCD: "Patroni keeps the leader lock in etcd",
    Role.POSTGRES: "there is no database without one",
    Role.HAPROXY: "clients and `pgha-orch psql` go through it",
}
NSPAWN_NAME_MAX = 64  # systemd: machine names are host names, at most HOST_NAME_MAX
LEAST_SLACK_S = 5  # reliability.md: T-S-L-R >= 5 s


def check(inventory: Inventory) -> list[Problem]:
    """All problems between fields, in the order of the rules."""
    return [problem for rule in RULES for problem in rule(inventory)]


def _role_counts(inventory: Inventory) -> Iterator[Problem]:
    for role, why in NEEDED.items():
        if not inventory.of_role(role):
            hint = f"add under `hosts`: `{role}-1: {{role: {role}, address: ...}}`"
            yield Problem(("hosts",), "", f"no {role} host: {why}", hint)
    for role, most in MOST.items():
        names = list(inventory.of_role(role))
        if len(names) > most:
            path = ("hosts", names[most])
            yield Problem(path, "", f"{len(names)} {role} hosts, more than {most}", f"keep at most {most}")
    members = list(inventory.of_role(Role.ETCD))
    if members and len(members) % 2 == 0 and len(members) <= MOST[Role.ETCD]:
        fewer = len(members) - 1
        message = f"{len(members)} etcd hosts: an even number survives no more failures than {fewer}"
        hint = f"use {fewer or 1} or {len(members) + 1}; three is usual"
        yield Problem(("hosts", members[-1]), "", message, hint)


def _host_names(inventory: Inventory) -> Iterator[Problem]:
    for name in inventory.hosts:
        path = ("hosts", name)
        machine = f"{inventory.cluster}-{name}"
        if inventory.machines is Driver.NSPAWN and len(machine) > NSPAWN_NAME_MAX:
            message = f"machine name {machine} has {len(machine)} characters, more than {NSPAWN_NAME_MAX}"
            yield Problem(path, name, message, "shorten the host's or the cluster's name")
        if name.isdigit() or name == "localhost":
            message = "programs would take this name for an address"
            yield Problem(path, name, message, "use a name with letters: pg-1")


def _only_for(inventory: Inventory) -> Iterator[Problem]:
    """Fields of a host that its role or the machine driver does not have."""
    for name, host in inventory.hosts.items():
        if host.role is not Role.POSTGRES and host.bootstrap:
            message = f"only a postgres host can start the cluster, this one is {host.role}"
            yield Problem(("hosts", name, "bootstrap"), "true", message, "move it to a postgres host")
        if host.role is not Role.POSTGRES and host.tags != Tags():
            yield Problem(
                ("hosts", name, "tags"),
                "",
                f"tags are for postgres hosts, this one is {host.role}",
                "remove them",
            )
        if host.ssh is not None and inventory.machines is not Driver.SSH:
            message = f"`ssh` is for `machines: ssh`, not {inventory.machines}"
            yield Problem(("hosts", name, "ssh"), "", message, "remove it, or set `machines: ssh`")
    if inventory.machines is Driver.SSH and not inventory.operators:
        message = "`machines: ssh` needs to know from where you reach the machines, or the firewall shuts you out"
        yield Problem(("machines",), "ssh", message, "add `operators: [NETWORK OF YOUR WORKPLACE]`")


def _bootstrap(inventory: Inventory) -> Iterator[Problem]:
    nodes = inventory.of_role(Role.POSTGRES)
    marked = [name for name, host in nodes.items() if host.bootstrap]
    for name in marked[1:]:
        message = f"{marked[0]} is marked to start first already"
        yield Problem(("hosts", name, "bootstrap"), "true", message, "keep one `bootstrap: true`")
    # Patroni, ha.py: a node with nofailover never bootstraps a new cluster.
    if (
        nodes
        and _never_leads(nodes[inventory.bootstrap_host].tags)
        and not all(_never_leads(host.tags) for host in nodes.values())
    ):
        name = inventory.bootstrap_host
        yield Problem(
            ("hosts", name, "tags"),
            "nofailover",
            f"{name} starts first, but Patroni never begins a cluster on a host with nofailover",
            "mark another postgres host `bootstrap: true`",
        )


def _tags(inventory: Inventory) -> Iterator[Problem]:
    nodes = inventory.of_role(Role.POSTGRES)
    for name, host in nodes.items():
        if host.tags.nofailover and host.tags.failover_priority:
            message = "contradicts `nofailover: true`"
            path = ("hosts", name, "tags", "failover_priority")
            yield Problem(path, str(host.tags.failover_priority), message, "keep one of the two")
    if nodes and all(_never_leads(host.tags) for host in nodes.values()):
        name = next(reversed(nodes))
        message = "every postgres host has nofailover: none could lead"
        yield Problem(("hosts", name, "tags"), "nofailover", message, "remove it from two hosts at least")


def _never_leads(tags: Tags) -> bool:
    return tags.nofailover or tags.failover_priority == 0


def _timings(inventory: Inventory) -> Iterator[Problem]:
    """L+2R <= W, W-L-R >= 5; W is the watchdog's timeout (reliability.md; Patroni, watchdog/base.py)."""
    if not isinstance(inventory.failover, Timings):
        return
    t = inventory.failover
    if t.safety_margin == -1:
        watchdog, how = t.ttl // 2, f"ttl {t.ttl} / 2, for safety_margin -1"
    else:
        watchdog, how = t.ttl - t.safety_margin, f"ttl {t.ttl} - safety_margin {t.safety_margin}"
    loop = t.loop_wait + 2 * t.retry_timeout
    slack = watchdog - t.loop_wait - t.retry_timeout
    broken = []
    if loop > watchdog:
        sum_ = f"{t.loop_wait} + 2 x {t.retry_timeout} = {loop}"
        broken.append(
            f"loop_wait + 2 x retry_timeout must be at most the watchdog timeout: {sum_} > {watchdog} ({how})"
        )
    if slack < LEAST_SLACK_S:
        broken.append(
            f"watchdog timeout - loop_wait - retry_timeout must be at least {LEAST_SLACK_S}:"
            f" {watchdog} - {t.loop_wait} - {t.retry_timeout} = {slack} ({how})"
        )
    if broken:
        least = max(loop, t.loop_wait + t.retry_timeout + LEAST_SLACK_S)
        least = max(20, 2 * least if t.safety_margin == -1 else least + t.safety_margin)
        hint = f"the smallest ttl that works with the others is {least}; or use a preset: {', '.join(PRESETS)}"
        yield Problem(("failover", "ttl"), str(t.ttl), " and ".join(broken), hint)


RULES: tuple[Rule, ...] = (
    _role_counts,
    _host_names,
    _only_for,
    _bootstrap,
    _tags,
    _timings,
    *checks_network.RULES,
    *checks_postgresql.RULES,
    *checks_backup.RULES,
)
