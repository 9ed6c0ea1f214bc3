"""20, failsafe off: etcd loses its majority, the primary goes read-only, and all recovers unattended."""

from pgha_orch.drills.ledger import PROXY
from pgha_orch.drills.scenario import Expect, Need, Scenario
from pgha_orch.drills.stage import Stage

DEMOTED_WITHIN_S = 12.0


def prepare(stage: Stage) -> None:
    stage.setting("failsafe_mode", False)


def inject(stage: Stage) -> None:
    stage.power_off(*stage.stores[: len(stage.stores) // 2 + 1])


def verify(stage: Stage) -> list[str]:
    healed = next((at for at, label in stage.marks if label == "heal"), float("inf"))
    acks = [a.ended_s for a in stage.ledger.close().acked if a.path == PROXY and a.ended_s and a.ended_s < healed]
    last = max(acks, default=stage.begun_s) - stage.begun_s
    stage.note(f"last write {last:.1f} s after the fault")
    limit = DEMOTED_WITHIN_S
    return [] if last <= limit else [f"writes went on for {last:.1f} s without etcd, expected at most {limit:g} s"]


# A demoted primary refuses direct and proxied sessions alike until it is down: 25006 is what physics allows here.
SCENARIO = Scenario(
    "20b",
    "etcd-majority-no-failsafe",
    "etcd majority off for 30 s, failsafe off",
    Expect(resume_s=40.0, forbidden=()),
    inject,
    hold_s=30.0,
    needs=frozenset({Need.THREE_ETCD}),
    prepare=prepare,
    verify=verify,
    await_writes=False,
)
