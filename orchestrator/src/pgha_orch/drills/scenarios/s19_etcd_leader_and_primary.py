"""19: etcd leader and primary lose their power at once."""

from pgha_orch.drills.scenario import Expect, Need, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    stage.power_off(stage.leader, stage.etcd_leader())


SCENARIO = Scenario(
    "19",
    "etcd-leader-and-primary",
    "Power-off of etcd leader and primary at once",
    Expect(outage_s=28.0, timeline="advances"),
    inject,
    needs=frozenset({Need.THREE_ETCD}),
)
