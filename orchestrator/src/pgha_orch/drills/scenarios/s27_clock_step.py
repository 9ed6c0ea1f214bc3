"""27: the primary's clock steps by 60 s, forward and back: never two primaries."""

from pgha_orch.drills.faults import Fault
from pgha_orch.drills.scenario import Expect, Need, Scenario
from pgha_orch.drills.stage import Stage

STEP_S = 60


def inject(stage: Stage) -> None:
    step = STEP_S if stage.repeat % 2 else -STEP_S
    stage.mark(f"clock of {stage.leader} {step:+d} s")
    stage.injector.inject(Fault(kind="clock", host=stage.leader, args={"step_s": step}))


SCENARIO = Scenario(
    "27",
    "clock-step",
    "Clock of the primary steps by 60 s",
    Expect(),
    inject,
    hold_s=30.0,
    needs=frozenset({Need.CLOCK}),
)
