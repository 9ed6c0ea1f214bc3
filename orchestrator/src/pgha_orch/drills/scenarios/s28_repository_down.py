"""28: the backup repository is down: writes go on, WAL is kept, and the archive catches up."""

from pgha_orch.drills.scenario import Expect, Need, Scenario
from pgha_orch.drills.stage import Stage
from pgha_orch.inventory.model import Role


def inject(stage: Stage) -> None:
    stage.power_off(*stage.cluster.addresses(Role.BACKUP))


SCENARIO = Scenario(
    "28",
    "repository-down",
    "Backup repository off for 20 s",
    Expect(outage_s=0.5, timeline="stays", dropped=0),
    inject,
    hold_s=20.0,
    needs=frozenset({Need.BACKUP}),
)
