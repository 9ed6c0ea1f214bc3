"""29, reload: HAProxy is reloaded three times under load: no session drops, no write reaches a replica."""

from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage
from pgha_orch.inventory.model import Role

TIMES = 3


def inject(stage: Stage) -> None:
    for _ in range(TIMES):
        for proxy in stage.cluster.addresses(Role.HAPROXY):
            stage.mark(f"reload {proxy}")
            stage.run(proxy, "systemctl", "reload", "haproxy.service")
        stage.wait(2.0)


SCENARIO = Scenario(
    "29a",
    "haproxy-reload",
    "HAProxy reloaded three times under load",
    Expect(outage_s=0.5, timeline="stays", dropped=0),
    inject,
)
