"""What a restore aims at, as people write it. No word of it reaches pgBackRest unread."""

from __future__ import annotations

import difflib
import re
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Literal

from pgha_orch.errors import UsageError

TargetKind = Literal["latest", "consistent", "time", "lsn", "name"]
FORMS = "write latest, 2026-11-23T18:30:00+01:00, lsn:0/3000148, or name:RESTORE_POINT"
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)\s*(.*)")
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)?")
_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_NAME = re.compile(r"[\w.:@ -]{1,63}")


@dataclass(frozen=True)
class Target:
    """A point in the cluster's history. `at` is UTC, for a time; `lsn` a byte position, for an LSN."""

    kind: TargetKind
    text: str = ""
    at: datetime | None = None
    lsn: int | None = None

    def options(self) -> list[str]:
        """Options of `pgbackrest restore`."""
        match self.kind:
            case "latest":
                return ["--type=default"]
            case "consistent":
                return ["--type=immediate"]
            case "time" if self.at is not None:
                return ["--type=time", f"--target={self.at:%Y-%m-%d %H:%M:%S.%f}+00"]
            case _:
                return [f"--type={self.kind}", f"--target={self.text}"]

    def __str__(self) -> str:
        match self.kind:
            case "latest":
                return "the end of the archived WAL"
            case "consistent":
                return "the end of the backup"
            case "time" if self.at is not None:
                return f"{self.at.isoformat(sep=' ')}"
            case "lsn":
                return f"LSN {self.text}"
            case _:
                return f'restore point "{self.text}"'


def parse(text: str) -> Target:
    """A target from `--to`. Raises UsageError that says what is wrong with it."""
    word = text.strip()
    if word in ("latest", "consistent"):
        return Target(word)  # type: ignore[arg-type]  # just compared
    kind, found, value = word.partition(":")
    if found and kind == "lsn":
        lsn = _LSN.fullmatch(value)
        if lsn is None:
            raise UsageError(f"--to {text}: not an LSN", hint="write it as pg_current_wal_lsn() prints it: 0/3000148")
        return Target("lsn", value.upper(), lsn=lsn_bytes(value))
    if found and kind == "name":
        if not _NAME.fullmatch(value):
            hint = "write it as it was given to pg_create_restore_point(): letters, digits, _ . : @ - and blanks"
            raise UsageError(f"--to {text}: not the name of a restore point", hint=hint)
        return Target("name", value)
    shape = _TIME.fullmatch(word)
    if shape is None:
        raise UsageError(f"--to {text}: not a target", hint=FORMS)
    return Target("time", word, at=_moment(text, *shape.groups()))


def lsn_bytes(text: str) -> int:
    """The byte position of an LSN such as 0/3000148."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def _moment(text: str, day: str, clock: str, zone: str) -> datetime:
    try:
        local = datetime.fromisoformat(f"{day} {clock}")
    except ValueError as exc:
        raise UsageError(f"--to {text}: no such time: {exc}", hint=FORMS) from exc
    if not zone:
        raise UsageError(
            f"--to {text}: it has no time zone",
            hint=f"write {day}T{clock}Z for UTC, or an offset such as +01:00, or a zone such as Europe/Berlin",
        )
    first = local.replace(tzinfo=_zone(text, zone), fold=0)
    second = first.replace(fold=1)
    if first.utcoffset() != second.utcoffset():
        # The clock went back (twice the same time) or forward (never this time).
        back = first.astimezone(UTC) < second.astimezone(UTC)
        what = "comes twice on that day" if back else "does not exist on that day"
        raise UsageError(
            f"--to {text}: the clock changes in {zone}: this time {what}", hint="write it with an offset, or in UTC"
        )
    return first.astimezone(UTC)


def _zone(text: str, zone: str) -> tzinfo:
    if zone in ("Z", "z", "UTC"):
        return UTC
    if offset := _OFFSET.fullmatch(zone):
        sign, hours, minutes = offset.groups()
        shift = timedelta(hours=int(hours), minutes=int(minutes or 0))
        if shift > timedelta(hours=15):
            raise UsageError(f"--to {text}: {zone} is not a time zone's offset", hint="write +01:00, at most 15 hours")
        return timezone(-shift if sign == "-" else shift)
    try:
        # A zone of letters alone (CET, EST) means different offsets to different programs.
        if "/" not in zone:
            raise zoneinfo.ZoneInfoNotFoundError(zone)
        return zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(zone, zoneinfo.available_timezones(), n=1)
        raise UsageError(
            f"--to {text}: {zone} is no time zone",
            hint=f"did you mean {near[0]}?" if near else "write UTC, +01:00, or a name such as Europe/Berlin",
        ) from None
