"""A grammar check of extra pg_hba.conf lines (PostgreSQL 17 documentation, The pg_hba.conf File).

PostgreSQL refuses to reload a file with one bad line, so a bad line is caught before it leaves this host; and
what would open the cluster to clear text or to logins without a password is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

Complaint = tuple[str, str]  # what is wrong, what to do

_FORM = "write it as: hostssl DATABASE USER ADDRESS METHOD, such as hostssl app app 10.1.0.0/16 scram-sha-256"
_TOKEN = re.compile(r'\s*((?:"[^"]*"|[^\s",#])+(?:\s*,\s*(?:"[^"]*"|[^\s",#])+)*)')
_HOST_NAME = re.compile(r"\.?[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_OPTION = re.compile(r'"?[a-z_]+=[^"]*"?')
HIDDEN_OPTIONS = re.compile(r"((?:ldapbindpasswd|radiussecrets)=)\S+", re.I)

_TYPES: dict[str, Complaint | None] = {
    "local": None,
    "hostssl": None,
    "host": ("`host` lets connections in without TLS", "write hostssl"),
    "hostnossl": ("`hostnossl` lets connections in without TLS", "write hostssl: TLS is always on"),
    "hostgssenc": ("GSSAPI encryption is not set up", "write hostssl"),
    "hostnogssenc": ("`hostnogssenc` lets connections in without TLS", "write hostssl"),
    "include": ("other files are not in the machine", "write the lines out here"),
    "include_if_exists": ("other files are not in the machine", "write the lines out here"),
    "include_dir": ("other files are not in the machine", "write the lines out here"),
}

_METHODS: dict[str, Complaint | None] = {
    **dict.fromkeys(("scram-sha-256", "cert", "reject", "ldap", "radius", "pam", "gss"), None),
    "peer": None,
    "trust": ("`trust` lets anyone in without a password", "write scram-sha-256 (peer on a local line)"),
    "md5": ("`md5` is not safe and PostgreSQL removes it", "write scram-sha-256"),
    "password": ("`password` hands the server the password itself", "write scram-sha-256"),
    "ident": ("`ident` believes the client's machine", "write scram-sha-256 (peer on a local line)"),
    "sspi": ("`sspi` is for Windows servers", "write scram-sha-256"),
    "bsd": ("`bsd` is for OpenBSD servers", "write scram-sha-256"),
}


def complaint(line: str) -> Complaint | None:
    """What is wrong with one line, and what to do; None when it is fine."""
    return next(_complaints(line), None)


def _complaints(line: str) -> Iterator[Complaint]:
    if not line.strip() or line.lstrip().startswith("#"):
        yield ("no pg_hba line", "remove it")
        return
    tokens = _TOKEN.findall(line)
    rest = _TOKEN.sub("", line).strip()
    if rest:
        yield (f"cannot be read from `{rest[:20]}` on", "close the quotes, and leave comments out")
    if HIDDEN_OPTIONS.search(line):
        yield ("a secret does not belong in an inventory", "use a method without one: scram-sha-256 or cert")
    kind = tokens[0] if tokens else ""
    if kind not in _TYPES:
        yield (f"`{kind[:20]}` is not a connection type", "start it with hostssl or local")
        return
    refused = _TYPES[kind]
    if refused:
        yield refused
    if len(tokens) < (4 if kind == "local" else 5):
        yield (f"{len(tokens)} fields are too few", _FORM)
        return
    address: list[IPv4Network | IPv6Network] = []
    at = 3
    if kind == "hostssl":
        wrong, address, at = _address(tokens)
        if wrong:
            yield wrong
            return
    yield from _method(kind, tokens, at)
    if tokens[at] == "reject" and kind == "hostssl":
        databases, users = ({word.strip() for word in tokens[i].split(",")} for i in (1, 2))
        everywhere = tokens[3] == "all" or any(net.prefixlen == 0 for net in address)
        if everywhere and "all" in databases and "all" in users:
            yield ("it comes before pgha's lines for clients: nobody gets in", "name users and addresses")


def _address(tokens: list[str]) -> tuple[Complaint | None, list[IPv4Network | IPv6Network], int]:
    """Check fields 4 (and 5, a mask); return the complaint, the network and where the method is."""
    text = tokens[3]
    if text in ("all", "samehost", "samenet"):
        return None, [], 4
    try:
        if "/" in text:
            loose = ip_network(text, strict=False)
            if str(loose.network_address) != text.split("/")[0].lower() and not text.startswith('"'):
                same = ip_address(text.split("/")[0]) == loose.network_address
                if not same:
                    return (f"address {text} has host bits", f"write {loose}"), [], 4
            return None, [loose], 4
        ip_address(text)
    except ValueError:
        if re.fullmatch(r"[0-9.:/a-f]*[0-9.:/]", text) or not _HOST_NAME.fullmatch(text):
            return (f"`{text[:40]}` is not an address", "write a network such as 10.1.0.0/16, or all"), [], 4
        return None, [], 4
    try:
        if len(tokens) > 5:
            return None, [ip_network(f"{text}/{tokens[4]}", strict=False)], 5
    except ValueError:
        pass
    return (f"address {text} without its length", f"write {text}/{128 if ':' in text else 32}"), [], 4


def _method(kind: str, tokens: list[str], at: int) -> Iterator[Complaint]:
    method = tokens[at]
    if method not in _METHODS:
        yield (
            f"`{method[:20]}` is not a login method",
            "write scram-sha-256, cert, peer (local only) or reject",
        )
        return
    refused = _METHODS[method]
    if refused:
        yield refused
    if method == "peer" and kind != "local":
        yield ("`peer` is for local lines", "write scram-sha-256 or cert")
    if method == "cert" and kind == "local":
        yield ("`cert` needs a TLS connection", "write peer, or hostssl")
    for option in tokens[at + 1 :]:
        if not _OPTION.fullmatch(option):
            yield (f"`{option[:30]}` is not an option", "options are name=value, after the method")
