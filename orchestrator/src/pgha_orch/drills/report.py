"""The HTML report: one file with everything in it, no script and no network."""

from __future__ import annotations

from pathlib import Path

import jinja2

from pgha_orch.drills.plot import timeline_svg
from pgha_orch.drills.results import DrillResult
from pgha_orch.errors import UsageError

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("pgha_orch.drills", "templates"),
    undefined=jinja2.StrictUndefined,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write(result: DrillResult, file: Path) -> None:
    """Write the report. Raises UsageError when the file cannot be written."""
    runs = [run for scenario in result.scenarios for run in scenario.runs]
    nodes = sorted({node for run in runs if run.trace for _, node in run.trace.acked})
    plots = {
        (scenario.number, run.repeat): timeline_svg(run.trace, nodes, f"{scenario.number}-{run.repeat}")
        for scenario in result.scenarios
        for run in scenario.runs
        if run.trace is not None
    }
    text = _ENVIRONMENT.get_template("report.html.j2").render(result=result, plots=plots)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    except OSError as exc:
        raise UsageError(f"{file}: {exc.strerror}", hint="choose another place with --report") from exc
