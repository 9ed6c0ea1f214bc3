"""21: etcd loses its majority while a replica is off: failsafe mode cannot ask all members, so the primary demotes."""

from pgha_orch.drills.scenario import Expect, Need, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    bystander = next((r for r in stage.replicas if r != stage.sync_standby), stage.replicas[0])
    stage.power_off(bystander, *stage.stores[: len(stage.stores) // 2 + 1])


SCENARIO = Scenario(
    "21",
    "etcd-majority-and-replica",
    "etcd majority and a replica off for 35 s: the primary demotes",
    Expect(resume_s=40.0, forbidden=()),
    inject,
    hold_s=35.0,
    needs=frozenset({Need.THREE_ETCD, Need.STANDBYS}),
    await_writes=False,
)
