"""7: Patroni killed and its unit masked: the watchdog resets the machine before another node is promoted."""

from pgha_orch.drills import fencing
from pgha_orch.drills.faults import Fault
from pgha_orch.drills.scenario import Expect, Need, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    stage.mark(f"Patroni gone on {stage.leader}")
    pid = stage.main_pid(stage.leader, "patroni.service")
    stage.injector.note(Fault(kind="masked", host=stage.leader, args={"unit": "patroni.service"}))
    stage.run(stage.leader, "systemctl", "mask", "--runtime", "patroni.service")
    stage.run(stage.leader, "kill", "-KILL", pid)


SCENARIO = Scenario(
    "7",
    "patroni-gone",
    "Patroni killed for good; the watchdog resets the machine",
    Expect(outage_s=28.0, timeline="advances"),
    inject,
    needs=frozenset({Need.WATCHDOG}),
    verify=fencing.verify,
)
