"""The HTML report: whole, self-contained, with what failed said in it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from test_drill_scenarios import RUN

from pgha_orch.drills import report
from pgha_orch.drills.results import DrillResult, Mark, ScenarioResult, Trace, VerdictRow
from pgha_orch.errors import UsageError

TRACE = Trace(
    acked=tuple((n / 10, "pg-1") for n in range(-20, 0)) + tuple((3 + n / 10, "pg-2") for n in range(20)),
    errors=((0.1, "08006"), (0.2, "08001")),
    direct=(),
    marks=(Mark(at_s=0.0, label="power off <pg-1>"), Mark(at_s=4.0, label="heal")),
    end_s=5.0,
)


def drill() -> DrillResult:
    verdicts = (VerdictRow(invariant="I1", ok=False, detail="9 acknowledged, 1 lost: row 2 (pg-1)"),)
    run = RUN.model_copy(update={"trace": TRACE, "invariants": verdicts, "broken": ("I1: 1 lost",), "lost": 1})
    scenario = {"number": "10", "name": "power-off", "title": "Power-off of <it>", "expected": "outage <= 25 s"}
    return DrillResult(
        cluster="lab",
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        seconds=60.0,
        rate=50.0,
        clients=8,
        repeat=2,
        scenarios=(
            ScenarioResult(**scenario, runs=(run, run.model_copy(update={"repeat": 2})), failed="run 3: it broke"),
            ScenarioResult(number="27", name="clock", title="Clock", expected="recorded", skipped="needs a clock"),
        ),
        healthy_after=False,
        problems_after=("pg-1: it does not stream",),
    )


class Reader(HTMLParser):
    """Collects tags, ids and every attribute that could load something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "data", "action") and value and not value.startswith("#"):
                self.loads.append(value)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("report") / "deep" / "drill.html"
    report.write(drill(), file)
    return file.read_text()


def test_it_stands_alone(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    assert reader.loads == []
    assert "script" not in reader.tags and "link" not in reader.tags
    assert not re.search(r"@import|url\((?!#)", page)


def test_every_run_has_a_plot_with_ids_of_its_own(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    assert reader.tags.count("svg") == 2
    assert len(reader.ids) == len(set(reader.ids))
    for link in re.findall(r'href="#([^"]+)"', page):
        assert link in reader.ids


def test_what_is_wrong_is_said(page: str) -> None:
    for text in ("not all expectations met", "I1: 1 lost", "run 3: it broke", "needs a clock", "it does not stream"):
        assert text in page


def test_text_is_escaped(page: str) -> None:
    assert "Power-off of &lt;it&gt;" in page and "<it>" not in page


def test_a_place_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"drill\.html"):
        report.write(drill(), tmp_path / "file" / "drill.html")
