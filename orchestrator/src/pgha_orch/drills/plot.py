"""The timeline of one run as inline SVG: who acknowledged how many writes, errors, and what was done when."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pgha_orch.drills.results import Trace

STEP_S = 0.25
TICK_S = 0.1  # errors closer than this are one tick
WIDTH_IN, HEIGHT_IN = 10.0, 2.6
# Okabe and Ito's colours, which colour-blind readers tell apart; by node.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
ERROR = "#B00020"


def timeline_svg(trace: Trace, nodes: Sequence[str], key: str) -> str:
    """An <svg> element to put into a page. `nodes` fixes each one's colour, `key` keeps ids apart in the page."""
    with matplotlib.rc_context(
        {"svg.hashsalt": key, "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"}
    ):
        figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
        writes, errors = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        _writes(writes, trace, nodes)
        _errors(errors, trace)
        for axes in (writes, errors):
            axes.set_xlim(_begin(trace), trace.end_s)
            axes.spines[["top", "right"]].set_visible(False)
        _marks(writes, trace)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _unique(buffer.getvalue()[buffer.getvalue().index("<svg") :], key)


def _begin(trace: Trace) -> float:
    return min((at for at, _ in trace.acked), default=-2.0)


def _writes(axes: Axes, trace: Trace, nodes: Sequence[str]) -> None:
    """Acknowledged writes per second, stacked by the node that acknowledged."""
    edges = _edges(trace)
    base = [0.0] * (len(edges) - 1)
    for number, node in enumerate(nodes):
        counts = _counts([at for at, by in trace.acked if by == node], edges)
        rates = [count / STEP_S for count in counts]
        top = [low + rate for low, rate in zip(base, rates, strict=True)]
        axes.stairs(top, edges, baseline=base, fill=True, color=COLOURS[number % len(COLOURS)], label=node)
        base = top
    axes.set_ylabel("writes/s")
    axes.set_ylim(bottom=0)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _errors(axes: Axes, trace: Trace) -> None:
    """Errors as ticks, a row a SQLSTATE."""
    states = sorted({state for _, state in trace.errors})
    for row, state in enumerate(states):
        at = sorted({round(at / TICK_S) * TICK_S for at, s in trace.errors if s == state})
        axes.plot(at, [row] * len(at), linestyle="none", marker="|", color=ERROR)
    axes.set_yticks(range(len(states)), states)
    axes.set_ylim(-0.6, max(0.6, len(states) - 0.4))
    axes.set_xlabel("seconds after the fault" + ("" if states else " (no errors)"))


def _marks(axes: Axes, trace: Trace) -> None:
    """What was done, as lines; labels alternate in height so that close ones can be read."""
    _, top = axes.get_ylim()
    axes.set_ylim(0, top * 1.35)
    for number, mark in enumerate(trace.marks):
        axes.axvline(mark.at_s, color="black", linewidth=0.8, linestyle="--")
        height = 1.32 if number % 2 == 0 else 1.18
        axes.text(mark.at_s, top * height, f" {mark.label}", va="top", ha="left", fontsize=8)


def _edges(trace: Trace) -> list[float]:
    begin = _begin(trace)
    steps = max(1, int((trace.end_s - begin) / STEP_S) + 1)
    return [begin + step * STEP_S for step in range(steps + 1)]


def _counts(times: Sequence[float], edges: Sequence[float]) -> list[int]:
    counts = [0] * (len(edges) - 1)
    for at in times:
        counts[min(len(counts) - 1, max(0, int((at - edges[0]) / STEP_S)))] += 1
    return counts


def _unique(svg: str, key: str) -> str:
    """Ids made unique within the page: matplotlib numbers them alike in every figure."""
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{key}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{key}-\1"', svg)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{key}-\1)", svg)
