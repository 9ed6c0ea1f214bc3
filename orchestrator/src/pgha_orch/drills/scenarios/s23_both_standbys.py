"""23: both standbys lose their power: under strict durability writes wait for one to come back."""

from pgha_orch.drills.scenario import Expect, Need, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    stage.power_off(*stage.replicas)


SCENARIO = Scenario(
    "23",
    "both-standbys",
    "Power-off of both standbys for 15 s, strict",
    Expect(blocked=True, resume_s=40.0, timeline="stays"),
    inject,
    hold_s=15.0,
    needs=frozenset({Need.STANDBYS}),
)
