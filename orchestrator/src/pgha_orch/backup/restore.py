"""The whole cluster back to a point in time, in steps that a journal in the state directory remembers.

The order is reliability.md's: every Patroni stopped, old data kept aside, one node recovered and looked at, the scope
in etcd emptied, that node first, then the others, a full backup at once. The others are restored from the same backup
at the same time as the first, and not cloned: the newest backup in the repository may be of the timeline that the
restore leaves, and nothing could follow the new leader from there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from pgha_orch.backup import journal as records
from pgha_orch.backup import node, reach, repository, target
from pgha_orch.backup.journal import Journal, Stage
from pgha_orch.backup.reach import Route
from pgha_orch.cluster import Cluster
from pgha_orch.deploy import gates
from pgha_orch.deploy.boot import LEADER_DEADLINE_S, leader_name, together
from pgha_orch.errors import OperationError, OrchError, UsageError
from pgha_orch.health import etcd
from pgha_orch.health.backup import BackupSet
from pgha_orch.identity import dynamic_config
from pgha_orch.image import Image
from pgha_orch.inventory.model import Role
from pgha_orch.machines import Machine, MachineState
from pgha_orch.progress import Reporter, Seen, step, wait_for

JOIN_DEADLINE_S = 6 * 3600.0
SPACE_FACTOR = 1.1  # the database and the WAL to replay
MAY_UNDO = (Stage.PLANNED, Stage.STOPPED, Stage.KEPT)


@dataclass(frozen=True)
class Plan:
    """What a restore would do. `first` is recovered first and leads afterwards; `lost` names what goes, in words."""

    journal: Journal
    route: Route
    lost: str


def plan(cluster: Cluster, to: str, label: str | None, timeline: int | None, *, now: datetime) -> Plan:
    """Find the way; stop nothing. Raises UsageError for a target that cannot be reached, or where there is no room."""
    aim = target.parse(to)
    if aim.kind == "consistent":
        raise UsageError(f"--to {to}: not a target of a restore", hint=target.FORMS)
    records.refuse_if_open(cluster.state, "restore")
    quorum = gates.etcd_quorum(cluster, list(cluster.addresses(Role.ETCD)))()
    if not quorum.open:
        raise OperationError(f"etcd: {quorum.text}", hint="a restore needs etcd healthy: pgha-orch deploy, or logs")
    way = reach.route(cluster, aim, label, records.past(cluster.state), timeline)
    _refuse_full_disks(cluster, way.backup)
    first = _first(cluster)
    newest = max(way.timeline, repository.look(cluster).backups[-1].timeline)
    began = now.astimezone(UTC)
    pause = [] if aim.kind == "latest" else ["--target-action=pause"]
    made = Journal(
        id=f"{began:%Y%m%dT%H%M%SZ}",
        to=to,
        target_at=aim.at,
        options=(*aim.options(), *pause, f"--set={way.backup.label}", f"--target-timeline={way.timeline}"),
        label=way.backup.label,
        lsn_stop=way.backup.lsn_stop,
        timeline=way.timeline,
        timeline_before=max(newest, way.timeline),
        first=first,
        began=began,
    )
    end = way.end.at
    lost = "nothing that is in the archive" if aim.kind == "latest" else f"every change after {aim}"
    if aim.at is not None and end is not None:
        lost += f" ({end - aim.at} of work until the last commit, {end:%Y-%m-%d %H:%M:%S} UTC)"
    return Plan(made, way, lost)


def run(cluster: Cluster, images: Mapping[Role, Image], journal: Journal, reporter: Reporter) -> BackupSet:
    """Carry the restore out from the step after the journal's; the full backup that ends it."""
    with cluster.state.lock("deploy"):
        return _Run(cluster, images, reporter, journal).run()


def undo(cluster: Cluster, reporter: Reporter) -> Journal:
    """Put the old data back and start the cluster on it. UsageError when it is too late."""
    with cluster.state.lock("deploy"):
        journal = records.load(cluster.state)
        if journal is None:
            raise UsageError("no restore is under way", hint="the past ones are done: restore to a later time instead")
        if journal.stage not in MAY_UNDO:
            raise UsageError(
                f"the restore to {journal.to} has begun a new timeline: it cannot be undone",
                hint="pgha-orch restore --resume ends it; then restore --to a later time",
            )
        machines = [cluster.machine(name) for name in cluster.addresses(Role.POSTGRES)]
        with step("stop what the restore started", reporter):
            together([partial(node.stop, machine) for machine in machines])
        with step("old data back in its place", reporter):
            together([partial(node.put_back, machine, journal.kept) for machine in machines])
        cluster.state.delete(records.OPEN)
        with step("PostgreSQL leader", reporter) as current:
            together([partial(node.start, machine) for machine in machines])
            look = gates.leader(cluster, list(cluster.addresses(Role.POSTGRES)))
            current.note = wait_for(current, look, deadline_s=LEADER_DEADLINE_S).text
    return journal


def kept(cluster: Cluster) -> dict[str, dict[str, int]]:
    """Old data that restores have kept: host to directory to bytes. Hosts that do not run are left out."""
    return {
        name: node.kept(machine)
        for name in cluster.addresses(Role.POSTGRES)
        if (machine := cluster.machine(name)).state() is MachineState.RUNNING
    }


def drop_old(cluster: Cluster, reporter: Reporter) -> int:
    """Remove all kept data; its bytes. UsageError while a restore is under way, which may still need it."""
    with cluster.state.lock("deploy"):
        records.refuse_if_open(cluster.state, "restore --drop-old")
        total = 0
        for name, directories in kept(cluster).items():
            for directory, size in directories.items():
                with step(f"{name}: remove {directory}", reporter) as current:
                    node.drop(cluster.machine(name), directory)
                    current.note = repository.mib(size)
                total += size
    return total


@dataclass
class _Run:
    cluster: Cluster
    images: Mapping[Role, Image]
    reporter: Reporter
    journal: Journal

    def run(self) -> BackupSet:
        names = list(self.cluster.addresses(Role.POSTGRES))
        others = [name for name in names if name != self.journal.first]
        self._save(self.journal.stage)
        self._hold_bootstrap()
        for name in names:
            self.cluster.machine(name).boot(self.images[Role.POSTGRES], self.cluster.identities[name])
        if not self.journal.past(Stage.FORGOTTEN):
            # Again after every break: a machine that was rebooted meanwhile has started its Patroni.
            self._stop(names, others)
        if not self.journal.past(Stage.KEPT):
            with step("old data kept aside", self.reporter) as current:
                self._all(names, lambda machine: node.keep(machine, self.journal.kept))
                current.note = f"{node.HOME}/{self.journal.kept}"
            self._save(Stage.KEPT)
        if not self.journal.past(Stage.RECOVERED):
            self._recover(others)
        if not self.journal.past(Stage.FORGOTTEN):
            with step("etcd forgets the old cluster's state", self.reporter):
                self._forget()
            self._save(Stage.FORGOTTEN)
        with step("PostgreSQL leader", self.reporter) as current:
            node.start(self.cluster.machine(self.journal.first))
            look = gates.leader(self.cluster, [self.journal.first] if not self._joined else names)
            current.note = wait_for(current, look, deadline_s=LEADER_DEADLINE_S).text
        self._save(Stage.LEADING)
        with step("replicas", self.reporter) as current:
            self._all(others, node.start)
            current.note = wait_for(current, gates.replicas(self.cluster), deadline_s=JOIN_DEADLINE_S).text
        self._save(Stage.JOINED)
        with step("write and read through HAProxy", self.reporter) as current:
            current.note = wait_for(current, gates.write_and_read(self.cluster), deadline_s=LEADER_DEADLINE_S).text
        made = self._full_backup()
        records.close(self.cluster.state, self.journal, datetime.now(UTC))
        return made

    @property
    def _joined(self) -> bool:
        return self.journal.past(Stage.LEADING)

    def _stop(self, names: list[str], others: list[str]) -> None:
        with step("stop Patroni everywhere", self.reporter) as current:
            # The leader last, so that no replica takes over meanwhile and writes a timeline of its own.
            leader = self._leader() or self.journal.first
            self._all([n for n in names if n != leader], node.stop)
            node.stop(self.cluster.machine(leader))
            current.note = ", ".join(names)
        if not self.journal.past(Stage.STOPPED):
            self._save(Stage.STOPPED)

    def _recover(self, others: list[str]) -> None:
        stanza, first = self.cluster.inventory.cluster, self.cluster.machine(self.journal.first)
        pauses = any(option.startswith("--target-action") for option in self.journal.options)
        with step(f"restore backup {self.journal.label}", self.reporter) as current:
            same = (f"--set={self.journal.label}", "--type=standby")
            together(
                [
                    partial(node.restore, first, stanza, self.journal.options),
                    *(partial(node.restore, self.cluster.machine(name), stanza, same) for name in others),
                ]
            )
            current.note = f"on {self.journal.first} and {len(others)} others"
        parameters = dynamic_config(self.cluster.inventory).parameters
        with step("recovery", self.reporter) as current:
            if not pauses:
                self._save(Stage.PROMOTING)
            reached = node.recover(first, parameters, current, pauses=pauses)
            current.note = f"at LSN {reached.lsn}, last transaction {reached.at or 'none'}"
        self.journal = self.journal.model_copy(update={"recovered_to": reached.at})
        with step("promotion", self.reporter) as current:
            self._save(Stage.PROMOTING)
            line = node.promote(first, current)
            current.note = f"timeline {line}, in the archive"
        self._save(Stage.RECOVERED)

    def _full_backup(self) -> BackupSet:
        """The one that a broken-off run began goes on without it: wait for that one, rather than take another."""
        with step("a backup that runs already", self.reporter) as current:

            def look() -> Seen:
                running = repository.look(self.cluster).running
                return Seen("running" if running else "none", open=running is None)

            current.note = wait_for(current, look, deadline_s=repository.BACKUP_TIMEOUT_S).text
        newest = repository.look(self.cluster).newest
        if newest and newest.kind == "full" and newest.timeline > self.journal.timeline_before and not newest.error:
            return newest
        return repository.run(self.cluster, "full", self.reporter)

    def _hold_bootstrap(self) -> None:
        """See to it that no node with an empty data directory makes a new cluster: a key that Patroni itself sets
        while another node bootstraps."""
        key = f"{self._scope}initialize"
        stores = self.cluster.addresses(Role.ETCD)
        if etcd.get(key, stores, self.cluster.tls) is None:
            etcd.replace([], {key: b""}, stores, self.cluster.tls)

    def _forget(self) -> None:
        """Empty the scope, but for the system identifier and the configuration.

        With the identifier no node ever makes a new cluster; without leader, sync standby, failsafe, history and
        members the first node to start leads.
        """
        stores, tls = self.cluster.addresses(Role.ETCD), self.cluster.tls
        config = json.loads(etcd.get(f"{self._scope}config", stores, tls) or b"null")
        config = config or dynamic_config(self.cluster.inventory).as_json()
        config.pop("pause", None)  # a paused Patroni starts nothing
        system = node.control(self.cluster.machine(self.journal.first), "Database system identifier")
        puts = {f"{self._scope}config": json.dumps(config).encode(), f"{self._scope}initialize": system.encode()}
        edges = [self._scope.encode()]
        for key in puts:  # in the order of their names
            edges += [key.encode(), key.encode() + b"\0"]
        edges.append(self._scope[:-1].encode() + bytes([ord("/") + 1]))
        etcd.replace(list(zip(edges[::2], edges[1::2], strict=True)), puts, stores, tls)

    @property
    def _scope(self) -> str:
        return f"/service/{self.cluster.inventory.cluster}/"

    def _leader(self) -> str | None:
        try:
            return leader_name(self.cluster)
        except OrchError:
            return None

    def _all(self, names: list[str], act: Callable[[Machine], None]) -> None:
        together([partial(act, self.cluster.machine(name)) for name in names])

    def _save(self, stage: Stage) -> None:
        self.journal = self.journal.model_copy(update={"stage": stage})
        records.save(self.cluster.state, self.journal)


def _first(cluster: Cluster) -> str:
    """The node to recover: the leader when there is one, else the first that may lead."""
    try:
        return leader_name(cluster)
    except OrchError:
        hosts = cluster.inventory.of_role(Role.POSTGRES)
        eligible = [n for n, h in hosts.items() if not h.tags.nofailover and h.tags.failover_priority != 0]
        return cluster.inventory.bootstrap_host if cluster.inventory.bootstrap_host in eligible else eligible[0]


def _refuse_full_disks(cluster: Cluster, backup: BackupSet) -> None:
    needed = int(backup.database_bytes * SPACE_FACTOR)
    for name in cluster.addresses(Role.POSTGRES):
        machine = cluster.machine(name)
        if machine.state() is MachineState.RUNNING and (free := node.free_bytes(machine)) < needed:
            raise UsageError(
                f"{name}: {repository.mib(free)} free, and the restored data need {repository.mib(needed)}"
                " beside the old, which are kept",
                hint="make room: restore --drop-old removes what earlier restores kept",
            )
