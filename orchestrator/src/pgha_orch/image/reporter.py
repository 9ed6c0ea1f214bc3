"""Who is told of a build's steps. The deploy's reporters fit; how steps are shown is the caller's."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Receives what steps do. Called from several threads."""

    def started(self, step: str) -> None: ...

    def saw(self, step: str, observation: str) -> None: ...

    def ended(self, step: str, *, ok: bool, seconds: float, note: str) -> None: ...


class Silent:
    """Shows nothing."""

    def started(self, step: str) -> None: ...

    def saw(self, step: str, observation: str) -> None: ...

    def ended(self, step: str, *, ok: bool, seconds: float, note: str) -> None: ...
