"""13: the primary is cut off from every other machine. Direct writers still reach it, and must get nothing."""

from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    stage.cut(stage.leader, stage.others(stage.leader))


SCENARIO = Scenario(
    "13", "partition", "Primary cut off from all others", Expect(outage_s=25.0, timeline="advances"), inject
)
