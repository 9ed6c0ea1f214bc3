"""31: nodes shut down one after the other, the leader last, and started in the same order (Patroni #3327)."""

from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage

PAUSE_S = 3.0


def inject(stage: Stage) -> None:
    order = [*stage.replicas, stage.leader]
    for host in order:
        stage.shut_down(host)
        stage.wait(PAUSE_S)
    for host in order:
        stage.power_on(host)
        stage.wait(PAUSE_S)


SCENARIO = Scenario(
    "31",
    "stopped-in-order",
    "Nodes shut down in order, leader last, and started in the same order",
    Expect(resume_s=60.0, forbidden=()),
    inject,
    await_writes=False,
)
