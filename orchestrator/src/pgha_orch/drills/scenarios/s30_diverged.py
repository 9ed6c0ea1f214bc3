"""30: the old primary comes back with WAL that nobody else has: pg_rewind, and it streams within 60 s."""

from pgha_orch.deploy.database import psql
from pgha_orch.drills.scenario import Expect, Scenario
from pgha_orch.drills.stage import Stage

ROWS = 2000


def inject(stage: Stage) -> None:
    old = stage.leader
    stage.cut(old, stage.others(old))
    # Rows that only this node has: committed without waiting for a standby, so they are promised to nobody.
    psql(
        stage.machine(old),
        "SET synchronous_commit = local; CREATE TABLE drill_diverged AS"
        f" SELECT n, repeat('x', 500) FROM generate_series(1, {ROWS}) n;",
        dbname="pgha",
    )
    stage.note(f"{ROWS} rows committed locally on {old} while it was cut off")


def verify(stage: Stage) -> list[str]:
    old = stage.marks[0][1].removeprefix("cut ")
    said = stage.run(old, "journalctl", "--unit=patroni.service", "--since=-10min", "--output=cat", "--no-pager")
    wrong = [] if "running pg_rewind" in said else [f"{old}: Patroni's log does not mention pg_rewind"]
    left = psql(stage.machine(old), "SELECT to_regclass('drill_diverged') IS NOT NULL;", dbname="pgha")
    if left and left[0][0] == "t":
        wrong.append(f"{old}: still has the rows that only it had")
    return wrong


SCENARIO = Scenario(
    "30",
    "diverged",
    "Old primary returns with WAL of its own",
    Expect(outage_s=25.0, timeline="advances"),
    inject,
    verify=verify,
)
