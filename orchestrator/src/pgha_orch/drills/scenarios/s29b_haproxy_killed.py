"""29, killed: HAProxy's processes get SIGKILL; the unit starts it again, and no write reaches a replica."""

from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage
from pgha_orch.inventory.model import Role


def inject(stage: Stage) -> None:
    for proxy in stage.cluster.addresses(Role.HAPROXY):
        stage.mark(f"kill -9 haproxy on {proxy}")
        stage.run(proxy, "systemctl", "kill", "--kill-whom=all", "--signal=KILL", "haproxy.service")


SCENARIO = Scenario(
    "29b", "haproxy-killed", "HAProxy killed under load", Expect(outage_s=6.0, timeline="stays"), inject
)
