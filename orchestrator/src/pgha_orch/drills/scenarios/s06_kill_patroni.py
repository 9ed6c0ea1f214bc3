"""6: SIGKILL to the leader's Patroni; its unit starts it again and it takes PostgreSQL over."""

from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    stage.kill(stage.leader, stage.main_pid(stage.leader, "patroni.service"), "Patroni")


SCENARIO = Scenario(
    "6",
    "kill-patroni",
    "Patroni on the primary killed; its unit starts it again",
    Expect(outage_s=0.5, timeline="stays", dropped=0),
    inject,
    hold_s=12.0,
)
