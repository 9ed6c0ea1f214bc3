"""What a machine driver offers. No other code learns which driver it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from pgha_orch.identity import Identity
from pgha_orch.image import Image
from pgha_orch.inventory.model import Role
from pgha_orch.process import Result
from pgha_orch.progress import Reporter


class MachineState(StrEnum):
    """As seen from outside the machine."""

    ABSENT = "absent"  # never booted: no data
    STOPPED = "stopped"  # has data, does not run
    RUNNING = "running"  # its PID 1 runs


class Machine(Protocol):
    """One host of the inventory, as something that boots, runs programs and stops.

    Every method raises OperationError (or its ProcessError) with the host's name in the message.
    """

    @property
    def name(self) -> str: ...

    @property
    def console(self) -> Path:
        """File with what its console said; it need not exist."""
        ...

    def state(self) -> MachineState: ...

    def boot(self, image: Image, identity: Identity) -> None:
        """Start it with this image and identity; return once its PID 1 runs. No-op when it runs already."""
        ...

    def reboot(self, image: Image, identity: Identity, *, timeout_s: float) -> None:
        """Orderly shutdown as `stop`, and up again with this image (where the driver boots images) and identity."""
        ...

    def stop(self, *, timeout_s: float) -> None:
        """Orderly shutdown; cut the power after `timeout_s` seconds. No-op when it does not run."""
        ...

    def kill(self) -> None:
        """Cut the power: every process of it is gone when this returns."""
        ...

    def freeze(self) -> None:
        """Stop all of it where it is, as a hypervisor's pause does; OperationError when this driver cannot."""
        ...

    def thaw(self) -> None:
        """Let it go on. No-op when it is not frozen or does not run."""
        ...

    def exec(
        self, argv: Sequence[str], *, timeout_s: float, input: str | bytes | None = None, check: bool = True
    ) -> Result:
        """Run a program inside as root, with the identity's `environment`."""
        ...

    def interactive(self, argv: Sequence[str]) -> int:
        """Run a program inside on this terminal; return its exit code."""
        ...

    def read(self, path: str) -> bytes | None:
        """Content of a file inside; None when there is none or the machine does not run."""
        ...

    def apply_identity(self, identity: Identity) -> None:
        """Hand a running machine a new identity, and keep it for the next boot. Reloads no service."""
        ...

    def booted_image(self) -> str | None:
        """Build id of the image that it runs now."""
        ...

    def destroy(self) -> None:
        """Remove its data for good. It must not run."""
        ...


class Fleet(Protocol):
    """All machines of one cluster, and the network between them."""

    @property
    def machines(self) -> Mapping[str, Machine]: ...

    @property
    def boots_images(self) -> bool:
        """Whether `boot` brings a machine to the image it is given; False: somebody else decides what they run."""
        ...

    @property
    def patience(self) -> float:
        """What deadlines are multiplied with, because these machines are that much slower than usual ones."""
        ...

    def images(self, image_dir: Path, reporter: Reporter) -> Mapping[Role, Image]:
        """The image of each role: built and ready to boot, or what the hosts run that somebody else booted."""
        ...

    def preflight(self) -> None:
        """Check what this driver needs of the host before anything changes; UsageError when it lacks it."""
        ...

    def network_up(self) -> bool:
        """Make the network; True when something had to be made. Safe to repeat."""
        ...

    def network_down(self) -> None: ...

    def assert_reachable(self) -> None:
        """Raise OperationError unless packets to the hosts' addresses stay in the cluster's own network."""
        ...

    def unconfirmed(self) -> Mapping[str, str]:
        """Host to the key ("ssh-ed25519 AAAA...") that it answers with, where nobody has vouched for that key yet."""
        ...

    def confirm(self, name: str, key: str) -> None:
        """Remember a host's key, which an operator has compared with the machine's console."""
        ...

    def strays(self) -> tuple[str, ...]:
        """Machines of this cluster that run or have data although the inventory no longer names them."""
        ...

    def stray(self, name: str) -> Machine: ...
