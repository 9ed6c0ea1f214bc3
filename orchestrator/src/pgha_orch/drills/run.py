"""A drill from the check beforehand to the result: scenario after scenario, run after run, and always the healing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from pgha_orch.cluster import Cluster
from pgha_orch.drills import clients
from pgha_orch.drills.clients import Pace
from pgha_orch.drills.expectations import expected, skip_reason
from pgha_orch.drills.faults import Injector
from pgha_orch.drills.one_run import Run, Watcher, settle
from pgha_orch.drills.results import DrillResult, RunResult, ScenarioResult
from pgha_orch.drills.scenario import Scenario
from pgha_orch.errors import OperationError
from pgha_orch.health import status
from pgha_orch.image import Image

FORBIDDEN_HINT = "add `drills: allowed` to the inventory of a cluster that may be broken on purpose"


def assert_ready(cluster: Cluster) -> None:
    """Raise unless the cluster is healthy and nothing of an earlier drill is still broken."""
    left = Injector(cluster, ()).in_place()
    if left:
        raise OperationError(
            f"faults of an earlier drill are still in place: {', '.join(map(str, left))}",
            hint=f"pgha-orch drill --heal {cluster.path}",
        )
    seen = status.observe(cluster)
    if not seen.healthy:
        first = seen.problems[0]
        more = f" (and {len(seen.problems) - 1} more)" if len(seen.problems) > 1 else ""
        raise OperationError(
            f"{cluster.inventory.cluster}: not healthy, so it is not drilled: {first.where}: {first.what}{more}",
            hint=f"pgha-orch status {cluster.path}; repair it, then drill",
        )


def drill(
    cluster: Cluster,
    images: Sequence[Image],
    scenarios: Sequence[Scenario],
    watcher: Watcher,
    *,
    repeat: int,
    pace: Pace,
) -> DrillResult:
    """Run the scenarios one after the other. Heals whatever it broke, however it ends."""
    begun, started = time.monotonic(), datetime.now(UTC)
    injector = Injector(cluster, images)
    results: list[ScenarioResult] = []
    with cluster.state.lock("deploy"):
        assert_ready(cluster)
        clients.prepare(cluster)
        try:
            for scenario in scenarios:
                results.append(_scenario(cluster, injector, scenario, watcher, repeat=repeat, pace=pace))
                if results[-1].failed and settle(cluster):
                    break  # what is left would only say the same
        finally:
            # However it ends: heal, wait until it is healthy again, and say what is not.
            for fault in injector.heal_all():
                watcher.healed(str(fault))
            problems = settle(cluster)
            for problem in problems:
                watcher.unhealthy(problem)
            if not problems:
                clients.clean(cluster)
    return DrillResult(
        cluster=cluster.inventory.cluster,
        started_at=started,
        seconds=time.monotonic() - begun,
        rate=pace.rate,
        clients=pace.clients,
        repeat=repeat,
        scenarios=tuple(results),
        healthy_after=not problems,
        problems_after=tuple(problems),
    )


def _scenario(
    cluster: Cluster, injector: Injector, scenario: Scenario, watcher: Watcher, *, repeat: int, pace: Pace
) -> ScenarioResult:
    reason, failed = skip_reason(cluster, scenario), ""
    runs: list[RunResult] = []
    if reason:
        watcher.skipped(scenario, reason)
    else:
        for number in range(1, repeat + 1):
            watcher.run_started(scenario, number, repeat)
            try:
                if problems := settle(cluster):
                    raise OperationError(f"the cluster did not become healthy: {problems[0]}")
                result = Run(cluster, injector, scenario, watcher, number, pace).result()
            except OperationError as exc:
                failed = f"run {number}: {exc.message}"
                watcher.failed(scenario, failed)
                break
            runs.append(result)
            watcher.run_ended(scenario, result)
    return ScenarioResult(
        number=scenario.number,
        name=scenario.name,
        title=scenario.title,
        expected=expected(scenario.expect),
        skipped=reason,
        failed=failed,
        runs=tuple(runs),
    )
