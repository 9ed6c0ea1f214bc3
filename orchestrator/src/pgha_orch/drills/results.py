"""Results: one run, one scenario, the whole drill; the shape of `--json` and what the report shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from math import ceil

from pydantic import BaseModel, ConfigDict, Field


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VerdictRow(_Row):
    invariant: str = Field(description="I1 to I8, see reliability.md")
    ok: bool
    detail: str


class Mark(_Row):
    at_s: float = Field(description="Seconds after the fault")
    label: str


class Trace(_Row):
    """For the plot. Seconds are counted from the fault."""

    acked: tuple[tuple[float, str], ...] = Field(description="Acknowledged write through HAProxy: when, by which node")
    errors: tuple[tuple[float, str], ...] = Field(description="Failed write or connection: when, SQLSTATE")
    direct: tuple[tuple[float, str], ...] = Field(description="Acknowledged write straight to a node")
    marks: tuple[Mark, ...]
    end_s: float


class RunResult(_Row):
    """One run of one scenario."""

    scenario: str
    repeat: int
    started_at: datetime
    leader_before: str
    leader_after: str
    timeline_before: int
    timeline_after: int
    rto_s: float | None = Field(description="Last row acknowledged on timeline n to the first on n+1; None: it stayed")
    outage_s: float = Field(description="Longest time without a write acknowledged through HAProxy")
    resume_s: float | None = Field(description="From the heal to the next acknowledged write")
    streaming_s: float | None = Field(description="From the heal until all nodes streamed; None: they did not")
    attempted: int
    acknowledged: int
    lost: int = Field(description="Acknowledged rows that were missing afterwards (RPO)")
    errors: dict[str, int] = Field(description="What writers through HAProxy saw, by SQLSTATE")
    read_errors: dict[str, int]
    write_sessions_dropped: int
    read_sessions_dropped: int
    invariants: tuple[VerdictRow, ...]
    broken: tuple[str, ...] = Field(description="Expectations that were not met, and invariants that do not hold")
    notes: tuple[str, ...]
    trace: Trace | None = None

    @property
    def ok(self) -> bool:
        return not self.broken

    @property
    def judged_s(self) -> float:
        """RTO where the timeline changed, else the longest outage."""
        return self.rto_s if self.rto_s is not None else self.outage_s


class ScenarioResult(_Row):
    """All runs of one scenario; `skipped` says why there are none, `failed` why there are not as many as asked for."""

    number: str
    name: str
    title: str
    expected: str
    skipped: str = ""
    failed: str = ""
    runs: tuple[RunResult, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.failed and all(run.ok for run in self.runs)

    @property
    def lost(self) -> int:
        return sum(run.lost for run in self.runs)

    def errors(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for run in self.runs:
            total.update(run.errors)
        return dict(sorted(total.items()))

    def rto(self, share: float) -> float | None:
        """The `share` quantile (nearest rank) of RTO or outage, seconds."""
        return quantile([run.judged_s for run in self.runs], share)


class DrillResult(_Row):
    """What `pgha-orch drill --json` prints."""

    cluster: str
    started_at: datetime
    seconds: float
    rate: float
    clients: int
    repeat: int
    scenarios: tuple[ScenarioResult, ...]
    healthy_after: bool
    problems_after: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return self.healthy_after and all(s.ok for s in self.scenarios)


def quantile(values: Sequence[float], share: float) -> float | None:
    """Nearest-rank quantile: the smallest value that at least `share` of all do not exceed."""
    if not values:
        return None
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]
