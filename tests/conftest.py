"""What every test that uses machines shares: where their reports go, and who may run them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# A background job of a shell ignores SIGINT and hands that down; with a handler of its own here, what a test starts
# begins with the default again and can be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPORTS = Path(__file__).with_name("reports")


@pytest.fixture(scope="session")
def reports() -> Path:
    """Where a failed run leaves journals and consoles; not in the repository."""
    REPORTS.mkdir(exist_ok=True)
    return REPORTS


@pytest.fixture(scope="session")
def root() -> None:
    """Machines on this host need root; without it these tests are skipped, and say so."""
    if os.geteuid() != 0:
        pytest.skip("needs root: boots systemd-nspawn machines")
