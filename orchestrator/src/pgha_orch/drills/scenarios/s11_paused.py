"""11: the primary's virtual machine is paused for 60 s; resumed, it must acknowledge nothing (its watchdog is due)."""

from pgha_orch.drills.scenario import Expect, Need, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    stage.freeze(stage.leader)


SCENARIO = Scenario(
    "11",
    "paused",
    "Virtual machine of the primary paused for 60 s",
    Expect(outage_s=28.0, timeline="advances"),
    inject,
    hold_s=60.0,
    needs=frozenset({Need.WATCHDOG}),
)
