"""Types that several sections of the inventory share."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
ParameterValue = bool | int | float | str

# RFC 1123 label, which is also a valid Patroni member name and etcd name.
HostName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
# Patroni scope, pgBackRest stanza, nspawn machine prefix.
ClusterName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$")]
# An identifier that PostgreSQL needs no quoting for.
PgName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]
# A fingerprint as ssh-keygen -l prints it, or a public key line.
HostKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^(SHA256:[A-Za-z0-9+/]{43}|(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp\d+) [A-Za-z0-9+/]{60,}={0,2}( .*)?)$"
    ),
]


class Strict(BaseModel):
    # The text below a field is its description in the JSON Schema.
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
