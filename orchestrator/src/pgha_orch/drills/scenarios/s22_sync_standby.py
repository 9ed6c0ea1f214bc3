"""22: the sync standby loses its power; another replica takes its place."""

from pgha_orch.drills.scenario import Expect, Need, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    stage.power_off(stage.sync_standby or stage.replicas[0])


SCENARIO = Scenario(
    "22",
    "sync-standby",
    "Power-off of the sync standby",
    Expect(outage_s=17.0, timeline="stays", dropped=0),
    inject,
    hold_s=12.0,
    needs=frozenset({Need.STANDBYS}),
)
