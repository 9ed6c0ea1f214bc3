"""18: the etcd leader loses its power."""

from pgha_orch.drills.scenario import Expect, Need, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    stage.power_off(stage.etcd_leader())


SCENARIO = Scenario(
    "18",
    "etcd-leader",
    "Power-off of the etcd leader",
    Expect(outage_s=0.5, timeline="stays", dropped=0),
    inject,
    hold_s=15.0,
    needs=frozenset({Need.THREE_ETCD}),
)
