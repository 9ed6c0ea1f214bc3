"""5: SIGSTOP to the postmaster: its backends go on, nobody can connect. What comes of it is recorded."""

from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    stage.stop_process(stage.leader, stage.postmaster(stage.leader), "postmaster")


SCENARIO = Scenario("5", "stop-postmaster", "Postmaster of the primary stopped for 20 s", Expect(), inject, hold_s=20.0)
