"""14: the primary is cut off from etcd only: failsafe mode keeps it the primary."""

from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    stage.cut(stage.leader, stage.stores)


SCENARIO = Scenario(
    "14",
    "cut-from-etcd",
    "Primary cut off from etcd for 40 s, failsafe on",
    Expect(outage_s=0.5, timeline="stays", dropped=0),
    inject,
    hold_s=40.0,
)
