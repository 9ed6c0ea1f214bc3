"""The clusters that the tests share: deployed once by the real command line, destroyed at the end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab import Lab, command_lines, spec

REPORTS = Path(__file__).parents[1] / "reports"
ETCD = ["etcd-1", "etcd-2", "etcd-3"]
FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        item.session.stash[FAILED] = True
        REPORTS.mkdir(exist_ok=True)
        with (REPORTS / "failures.txt").open("a") as file:  # at once: a long run says it only at its end
            file.write(f"{item.nodeid} ({report.when})\n{report.longreprtext}\n\n")
    return report


@contextmanager
def _clean(request: pytest.FixtureRequest, lab: Lab, reports: Path) -> Iterator[Lab]:
    """The lab; destroyed in the end, whatever happened, with its logs kept when a test failed."""
    try:
        yield lab
    except BaseException:
        request.session.stash[FAILED] = True
        raise
    finally:
        if request.session.stash.get(FAILED, False) and lab.state.exists():
            lab.save_logs(reports)
        lab.destroy()


@pytest.fixture(scope="session")
def workspace(root: None) -> Iterator[Path]:
    """A directory that every user can enter, as an inventory's usually is; pytest's own are root's alone."""
    with tempfile.TemporaryDirectory(prefix="pgha-test-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture(scope="session")
def first_deploy(request: pytest.FixtureRequest, workspace: Path, reports: Path) -> Iterator[tuple[Lab, set[bytes]]]:
    """The shared cluster, fresh, and every command line that ran on this host while it was deployed."""
    roles = {"etcd": ETCD, "postgres": ["pg-1", "pg-2", "pg-3"], "haproxy": ["haproxy"], "backup": ["backup"]}
    with _clean(request, Lab(workspace / "shared", spec("shared", "10.83.0", roles)), reports) as lab:
        with command_lines() as seen:
            lab.deploy()
        yield lab, seen


@pytest.fixture(scope="session")
def shared(first_deploy: tuple[Lab, set[bytes]]) -> Lab:
    """The cluster that most tests share: 3 etcd, 3 PostgreSQL, HAProxy, backup. Leave it healthy."""
    return first_deploy[0]


@pytest.fixture(scope="session")
def blank(request: pytest.FixtureRequest, workspace: Path, reports: Path) -> Iterator[Lab]:
    """A second, smaller cluster beside it, not deployed yet."""
    roles = {"etcd": ETCD, "postgres": ["pg-1", "pg-2"], "haproxy": ["haproxy"], "backup": ["backup"]}
    with _clean(request, Lab(workspace / "other", spec("other", "10.84.0", roles)), reports) as lab:
        yield lab


@pytest.fixture
def other(blank: Lab) -> Lab:
    """The second cluster, up and healthy; any test may wreck it."""
    blank.deploy()
    return blank
