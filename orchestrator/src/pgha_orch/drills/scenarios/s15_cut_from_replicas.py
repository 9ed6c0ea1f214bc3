"""15: the primary is cut off from its replicas only: under strict durability writes wait, and nothing is lost."""

from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    stage.cut(stage.leader, stage.replicas)


SCENARIO = Scenario(
    "15",
    "cut-from-replicas",
    "Primary cut off from its replicas for 20 s, strict",
    Expect(blocked=True, resume_s=20.0, timeline="stays"),
    inject,
    hold_s=20.0,
)
