"""20, failsafe on: etcd loses its majority, and the primary goes on."""

from pgha_orch.drills.scenario import Expect, Need, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    stage.power_off(*stage.stores[: len(stage.stores) // 2 + 1])


SCENARIO = Scenario(
    "20a",
    "etcd-majority",
    "etcd majority off for 35 s, failsafe on",
    Expect(outage_s=0.5, timeline="stays", dropped=0),
    inject,
    hold_s=35.0,
    needs=frozenset({Need.THREE_ETCD}),
)
