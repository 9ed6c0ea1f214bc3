"""Steps as they start, say what they see, and end. How that is shown is the caller's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from pgha_orch.errors import GateTimeout, OperationError

POLL_S = 0.2


class Reporter(Protocol):
    """Receives what steps do. Called from several threads."""

    def started(self, step: str) -> None: ...

    def saw(self, step: str, observation: str) -> None: ...

    def ended(self, step: str, *, ok: bool, seconds: float, note: str) -> None: ...


class Silent:
    """A Reporter that shows nothing."""

    def started(self, step: str) -> None: ...

    def saw(self, step: str, observation: str) -> None: ...

    def ended(self, step: str, *, ok: bool, seconds: float, note: str) -> None: ...


class Step:
    """One running step. `note` is what its last line says beside the time."""

    def __init__(self, title: str, reporter: Reporter) -> None:
        self.title = title
        self.note = ""
        self._reporter = reporter
        self._last = ""

    def saw(self, observation: str) -> None:
        """Report an observation when it is a new one."""
        if observation != self._last:
            self._last = observation
            self._reporter.saw(self.title, observation)


@contextmanager
def step(title: str, reporter: Reporter) -> Iterator[Step]:
    """A step from start to end; an exception ends it as failed and goes on upward."""
    begun = time.monotonic()
    reporter.started(title)
    current = Step(title, reporter)
    try:
        yield current
    except BaseException as exc:
        note = exc.message if isinstance(exc, OperationError) else type(exc).__name__
        reporter.ended(title, ok=False, seconds=time.monotonic() - begun, note=note)
        raise
    reporter.ended(title, ok=True, seconds=time.monotonic() - begun, note=current.note)


@dataclass(frozen=True)
class Seen:
    """What a gate saw. `fatal`: it cannot get better by waiting, and this is what to do."""

    text: str
    open: bool = False
    fatal: str | None = None


def wait_for(current: Step, look: Callable[[], Seen], *, deadline_s: float, poll_s: float = POLL_S) -> Seen:
    """Look until the gate is open; return what was seen then.

    Looking costs the machines too, so it pauses for as long as a look took, twice over, where that is more than
    `poll_s`: without KVM, handshakes of a gate that looked all the time kept a cluster from coming up.

    An OperationError while looking counts as an observation. Raises GateTimeout at the deadline, and
    OperationError at once for a fatal state.
    """
    begun = time.monotonic()
    while True:
        looked = time.monotonic()
        try:
            seen = look()
        except OperationError as exc:
            seen = Seen(exc.message)
        if seen.open:
            return seen
        current.saw(seen.text)
        waited = time.monotonic() - begun
        if seen.fatal is not None:
            raise OperationError(f"{current.title}: {seen.text}", hint=seen.fatal)
        if waited > deadline_s:
            raise GateTimeout(
                f"{current.title}: not reached in {waited:.0f} s; last seen: {seen.text}",
                hint="pgha-orch logs HOST shows why; deploy again goes on from here",
            )
        time.sleep(max(poll_s, 2 * (time.monotonic() - looked)))
