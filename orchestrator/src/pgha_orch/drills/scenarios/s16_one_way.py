"""16: packets from (odd runs) or to (even runs) the primary are dropped, one way only."""

from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    direction = "out" if stage.repeat % 2 else "in"
    stage.note(f"dropped: {direction}")
    stage.cut(stage.leader, stage.others(stage.leader), direction=direction)


SCENARIO = Scenario("16", "one-way", "One-way drops at the primary", Expect(outage_s=28.0, timeline="advances"), inject)
