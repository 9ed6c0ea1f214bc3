"""The backup gates of a deploy: stanza, archiving, first full backup."""

from __future__ import annotations

from pgha_orch.cluster import Cluster
from pgha_orch.deploy.boot import leader_name
from pgha_orch.errors import OperationError, OrchError, ProcessError
from pgha_orch.health import backup
from pgha_orch.inventory.model import Role
from pgha_orch.machines import Machine, MachineState
from pgha_orch.process import Result
from pgha_orch.progress import Reporter, Seen, step, wait_for

STANZA_TIMEOUT_S = 120.0
STANZA_DEADLINE_S = 60.0
CHECK_TIMEOUT_S = 120.0
FULL_TIMEOUT_S = 24 * 3600.0
MISSING_STANZA, NO_BACKUP = 1, 2  # status codes of `pgbackrest info`


def runner(cluster: Cluster) -> tuple[Machine, str]:
    """The machine that runs pgBackRest for the cluster and the user it does so as.

    It is the backup host. With S3 it is the leader; while there is none, any PostgreSQL machine, which can still read.
    """
    hosts = cluster.addresses(Role.BACKUP)
    if hosts:
        return cluster.machine(next(iter(hosts))), "pgbackrest"
    try:
        return cluster.machine(leader_name(cluster)), "postgres"
    except OrchError:
        machines = [cluster.machine(name) for name in cluster.addresses(Role.POSTGRES)]
        return next((m for m in machines if m.state() is MachineState.RUNNING), machines[0]), "postgres"


def command(cluster: Cluster, *arguments: str, timeout_s: float) -> Result:
    """Run `pgbackrest --stanza=... ARGUMENTS` where it belongs; OperationError with pgBackRest's own last error."""
    machine, user = runner(cluster)
    try:
        return machine.exec(
            ["runuser", "-u", user, "--", "pgbackrest", f"--stanza={cluster.inventory.cluster}", *arguments],
            timeout_s=timeout_s,
        )
    except ProcessError as exc:
        said = [line for line in exc.stderr.splitlines() if "ERROR" in line] or exc.stderr.splitlines()[-1:]
        raise OperationError(
            f"{machine.name}: pgbackrest {arguments[-1]}: {(said or [exc.message])[0].strip()}",
            hint=f"pgha-orch logs {machine.name}; pgBackRest's exit codes are in its documentation",
        ) from exc


def ensure_stanza(cluster: Cluster, reporter: Reporter) -> None:
    """Make the stanza in the repository once a leader exists."""
    machine, user = runner(cluster)
    if backup.info(machine, cluster.inventory.cluster, user=user).status_code != MISSING_STANZA:
        return
    with step("backup stanza", reporter) as current:

        def create() -> Seen:
            command(cluster, "--log-level-console=error", "stanza-create", timeout_s=STANZA_TIMEOUT_S)
            return Seen("created", open=True)

        # The leader's archive-push holds the stanza's lock now and then, and then stanza-create gives up at once.
        wait_for(current, create, deadline_s=STANZA_DEADLINE_S * cluster.fleet.patience)
        current.note = f"stanza {cluster.inventory.cluster} created on {machine.name}"


def ensure_first(cluster: Cluster, reporter: Reporter) -> None:
    """Check that WAL reaches the archive and take the first full backup. Nothing to do when there is one."""
    machine, user = runner(cluster)
    if backup.info(machine, cluster.inventory.cluster, user=user).newest is not None:
        return
    with step("WAL archive", reporter):
        command(cluster, "--log-level-console=error", "check", timeout_s=CHECK_TIMEOUT_S)
    with step("first full backup", reporter) as current:
        command(cluster, "--log-level-console=error", "--type=full", "backup", timeout_s=FULL_TIMEOUT_S)
        newest = backup.info(machine, cluster.inventory.cluster, user=user).newest
        if newest is None:
            raise OperationError(f"{machine.name}: pgbackrest backup ended well, yet info shows no backup")
        current.note = f"{newest.label}, {newest.repository_bytes / 2**20:.1f} MiB in the repository"
