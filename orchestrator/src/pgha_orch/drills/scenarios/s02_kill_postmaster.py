"""2: kill -9 of the primary's postmaster."""

from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    stage.kill(stage.leader, stage.postmaster(stage.leader), "postmaster")


# In place or by failover: primary_start_timeout decides.
SCENARIO = Scenario("2", "kill-postmaster", "kill -9 of the primary's postmaster", Expect(outage_s=9.0), inject)
