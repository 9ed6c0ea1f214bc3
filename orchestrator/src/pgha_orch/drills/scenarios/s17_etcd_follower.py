"""17: one etcd member that does not lead loses its power."""

from pgha_orch.drills.scenario import Expect, Need, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    leader = stage.etcd_leader()
    stage.power_off(next(name for name in stage.stores if name != leader))


SCENARIO = Scenario(
    "17",
    "etcd-follower",
    "Power-off of an etcd follower",
    Expect(outage_s=0.5, timeline="stays", dropped=0),
    inject,
    hold_s=10.0,
    needs=frozenset({Need.THREE_ETCD}),
)
