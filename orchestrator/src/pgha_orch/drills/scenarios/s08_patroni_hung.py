"""8: Patroni hangs for 60 s: the watchdog resets the machine, a safety margin before another node is promoted."""

from pgha_orch.drills import fencing
from pgha_orch.drills.scenario import Expect, Need, Scenario
from pgha_orch.drills.stage import Stage


def inject(stage: Stage) -> None:
    stage.stop_process(stage.leader, stage.main_pid(stage.leader, "patroni.service"), "Patroni")


SCENARIO = Scenario(
    "8",
    "patroni-hung",
    "Patroni stopped for 60 s; the watchdog resets the machine",
    Expect(outage_s=28.0, timeline="advances"),
    inject,
    hold_s=60.0,
    needs=frozenset({Need.WATCHDOG}),
    verify=fencing.verify,
)
