"""3: kill -9 of the postmaster with a start timeout of 300 s: it recovers in place."""

from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage


def prepare(stage: Stage) -> None:
    stage.setting("primary_start_timeout", 300)


def inject(stage: Stage) -> None:
    stage.kill(stage.leader, stage.postmaster(stage.leader), "postmaster")


SCENARIO = Scenario(
    "3",
    "kill-postmaster-patient",
    "kill -9 of the postmaster, primary_start_timeout 300",
    Expect(outage_s=12.0, timeline="stays"),
    inject,
    prepare=prepare,
)
