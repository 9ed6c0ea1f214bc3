"""12: an orderly reboot of the primary's machine."""

from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    stage.shut_down(stage.leader)


SCENARIO = Scenario(
    "12", "reboot", "Orderly reboot of the primary's machine", Expect(outage_s=6.0, timeline="advances"), inject
)
