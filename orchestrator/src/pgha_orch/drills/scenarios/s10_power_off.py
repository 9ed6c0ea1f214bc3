"""10: the primary loses its power."""

from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    stage.power_off(stage.leader)


SCENARIO = Scenario("10", "power-off", "Power-off of the primary", Expect(outage_s=25.0, timeline="advances"), inject)
