"""The frozen primary of lab-notes.md (11 without a virtual machine): all its processes stop, its kernel answers."""

from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    stage.freeze(stage.leader)


SCENARIO = Scenario(
    "9", "frozen", "Frozen primary; it thaws after the failover", Expect(outage_s=28.0, timeline="advances"), inject
)
