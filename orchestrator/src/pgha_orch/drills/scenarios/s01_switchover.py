"""1: a planned switchover under load."""

from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    stage.switchover()


SCENARIO = Scenario(
    "1", "switchover", "Planned switchover under load", Expect(outage_s=5.0, timeline="advances"), inject
)
