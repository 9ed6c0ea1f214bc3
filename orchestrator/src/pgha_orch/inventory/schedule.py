"""Whether systemd reads a schedule (systemd.time(7), Calendar Events)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pgha_orch import process
from pgha_orch.errors import ProcessError

_WORDS = (
    "minutely",
    "hourly",
    "daily",
    "weekly",
    "monthly",
    "quarterly",
    "semiannually",
    "annually",
    "yearly",
)
_DAY = r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*"
_DAYS = rf"{_DAY}(?:(?:\.\.|,|-){_DAY})*"
_PART = r"(?:\*|\d+(?:\.\.\d+)?)(?:/\d+)?(?:,\d+(?:\.\.\d+)?(?:/\d+)?)*"
_DATE = rf"(?:{_PART}-)?{_PART}[-~]{_PART}"
_TIME = rf"{_PART}:{_PART}(?::{_PART})?"
_FORM = re.compile(rf"(?:{_DAYS}(?:\s+|$))?(?:{_DATE}(?:\s+|$))?(?:{_TIME})?(?:\s*UTC)?", re.I)


def unreadable(expressions: Iterable[str]) -> list[str]:
    """Those that systemd does not parse; where there is no systemd-analyze, those not in its grammar."""
    given = list(expressions)
    bad = [text for text in given if not _plausible(text)]
    rest = [text for text in given if text not in bad]
    if rest and not _systemd_reads(rest):
        bad += [text for text in rest if not _systemd_reads([text])]
    return bad


def _plausible(text: str) -> bool:
    """The grammar, and no number out of range; a few odd but legal forms are left to systemd-analyze."""
    if text.lower() in _WORDS:
        return True
    if not text.strip() or not _FORM.fullmatch(text):
        return False
    time = re.search(r"(\S+:\S+)", text)
    limits = (24, 60, 60)
    numbers = [re.findall(r"\d+", part) for part in time.group(1).split(":")] if time else []
    return all(int(n) < limit for part, limit in zip(numbers, limits, strict=False) for n in part)


def _systemd_reads(expressions: list[str]) -> bool:
    try:
        done = process.run(["systemd-analyze", "calendar", "--", *expressions], timeout_s=10, check=False)
    except ProcessError:
        return True  # not here: the grammar has to do
    return done.returncode == 0
