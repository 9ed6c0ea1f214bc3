"""The cluster's own bridge on this host, and the route that keeps its packets here when it is gone.

A host's address never falls through to the default route: an `unreachable` route for the network, with the
worst metric, stays behind from the first deploy on, until the data is destroyed or this host reboots.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from pgha_orch.errors import OperationError, UsageError
from pgha_orch.inventory.fields import IPAddress, IPNetwork
from pgha_orch.process import run

GUARD_METRIC = "4278198272"  # as the kernel's own "unreachable" of last resort for IPv6
IP_TIMEOUT_S = 10


class _Route(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: str = "unicast"
    dst: str = ""
    dev: str | None = None


_ROUTES = TypeAdapter(list[_Route])


@dataclass(frozen=True)
class Bridge:
    """A bridge with this host's address in the cluster's network. `name` has at most 15 characters."""

    name: str
    network: IPNetwork
    address: IPAddress

    @property
    def exists(self) -> bool:
        return Path("/sys/class/net", self.name).exists()

    def assert_free(self) -> None:
        """Raise UsageError when this host already routes a part of the network elsewhere."""
        for route in self._routes():
            if route.dst in ("default", "") or route.dev in (None, self.name) or route.type != "unicast":
                continue
            if ip_network(route.dst, strict=False).overlaps(self.network):
                raise UsageError(
                    f"network {self.network}: this host already has a route to {route.dst} through {route.dev}",
                    hint="choose another network in the inventory, or destroy the cluster that uses it",
                )

    def up(self) -> bool:
        """Make the guard route and the bridge; True when something was made."""
        self.assert_free()
        made = self._guard()
        if not self.exists:
            self._ip("link", "add", self.name, "type", "bridge", "forward_delay", "0")
            made = True
        self._ip("address", "replace", f"{self.address}/{self.network.prefixlen}", *self._nodad, "dev", self.name)
        self._ip("link", "set", self.name, "up")
        return made

    def down(self, *, guard: bool) -> None:
        """Remove the bridge; the guard route stays when `guard` is true."""
        if guard:
            self._guard()
        if self.exists:
            self._ip("link", "delete", self.name)
        if not guard:
            self._ip("route", "delete", "unreachable", str(self.network), "metric", GUARD_METRIC, check=False)

    def assert_local(self, address: IPAddress) -> None:
        """Raise OperationError unless a packet to `address` would go to this bridge."""
        found = run(["ip", "-j", "route", "get", str(address)], timeout_s=IP_TIMEOUT_S, check=False)
        if found.returncode == 0 and self.name in {r.get("dev") for r in json.loads(found.stdout)}:
            return
        raise OperationError(
            f"the cluster's bridge {self.name} is not up, so nothing is sent to {address}",
            hint="pgha-orch deploy brings it up",
        )

    @property
    def _nodad(self) -> list[str]:
        return ["nodad"] if self.network.version == 6 else []

    def _guard(self) -> bool:
        if any(r.type == "unreachable" and r.dst == str(self.network) for r in self._routes()):
            return False
        self._ip("route", "add", "unreachable", str(self.network), "metric", GUARD_METRIC)
        return True

    def _routes(self) -> list[_Route]:
        family = "-6" if self.network.version == 6 else "-4"
        return _ROUTES.validate_json(run(["ip", family, "-j", "route", "show"], timeout_s=IP_TIMEOUT_S).stdout or "[]")

    def _ip(self, *args: str, check: bool = True) -> None:
        family = "-6" if self.network.version == 6 else "-4"
        run(["ip", family, *args], timeout_s=IP_TIMEOUT_S, check=check)
