"""25: the leader's REST API is firewalled: a write outage without a failover, which `status` has to name."""

from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage
from pgha_orch.health import status

REST_PORT = 8008


def inject(stage: Stage) -> None:
    stage.cut(stage.leader, [*stage.others(stage.leader), "host"], direction="in", port=REST_PORT)


def during(stage: Stage) -> None:
    with stage.ticking():
        seen = status.observe(stage.cluster)
    for problem in seen.problems:
        stage.note(f"status: {problem.where}: {problem.what}")


def verify(stage: Stage) -> list[str]:
    named = any(stage.leader in note and "REST" in note and "writes" in note for note in stage.notes)
    return [] if named else [f"status did not say that {stage.leader} takes writes while its REST API is silent"]


SCENARIO = Scenario(
    "25",
    "rest-firewalled",
    "REST API of the leader firewalled for 30 s",
    Expect(resume_s=10.0, timeline="stays"),
    inject,
    hold_s=30.0,
    during=during,
    verify=verify,
    await_writes=False,
)
