"""24: the disk under the primary's pg_wal is full: it is detected, and nothing is lost."""

from pgha_orch.drills import wal_disk
from pgha_orch.drills.faults import Fault
from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage

RESTART_S = 60.0


def prepare(stage: Stage) -> None:
    """A replica gets a pg_wal with little room, becomes the sync standby, and then leads."""
    chosen = stage.sync_standby or stage.replicas[0]
    stage.injector.inject(Fault(kind="wal-disk", host=chosen))
    stage.settle()
    for other in stage.replicas:
        # Only the sync standby may take over; the restart of the one that is it now hands that on.
        if stage.sync_standby == other != chosen:
            stage.machine(other).exec(["systemctl", "restart", "patroni.service"], timeout_s=RESTART_S)
            stage.settle()
    stage.rest.switchover(stage.leader, chosen)
    stage.settle()


def inject(stage: Stage) -> None:
    stage.mark(f"pg_wal full on {stage.leader}")
    wal_disk.fill(stage.machine(stage.leader))
    wal_disk.use_up_segments(stage.machine(stage.leader))


SCENARIO = Scenario(
    "24",
    "wal-disk-full",
    "Disk under the primary's pg_wal full",
    Expect(outage_s=40.0, timeline="advances"),
    inject,
    prepare=prepare,
)
