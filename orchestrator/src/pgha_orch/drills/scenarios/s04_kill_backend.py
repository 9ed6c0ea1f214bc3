"""4: kill -9 of one backend; PostgreSQL restarts all of them and stays the primary."""

from pgha_orch.deploy.database import psql
from pgha_orch.drills.clients import APPLICATION
from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage
from pgha_orch.errors import OperationError


def inject(stage: Stage) -> None:
    rows = psql(
        stage.machine(stage.leader),
        f"SELECT pid FROM pg_stat_activity WHERE application_name = '{APPLICATION}' AND query LIKE 'INSERT%' LIMIT 1;",
    )
    if not rows:
        raise OperationError(f"{stage.leader}: no backend of the drill's clients to kill")
    stage.kill(stage.leader, rows[0][0], "a backend")


SCENARIO = Scenario(
    "4", "kill-backend", "kill -9 of one backend of the primary", Expect(outage_s=9.0, timeline="stays"), inject
)
