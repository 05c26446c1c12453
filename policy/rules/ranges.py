"""Which networks a range of addresses lets in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

IAP = "35.235.240.0/20"
"""Where SSH through Identity-Aware Proxy comes from
(cloud.google.com/iap/docs/using-tcp-forwarding)."""
EXCEPTION = "or let it through by an exception with its reason in policy/config.json"
"""How each message that names a key ends."""

_WIDEST = {4: 8, 6: 16}
"""A range shorter than this is much of the internet: as `allowed_cidrs` has it."""
_EVERYBODY = "*"


def is_world(cidr: str) -> bool:
    """Whether `cidr` is the internet or much of it. What is no range counts as that."""
    if cidr == _EVERYBODY:
        return True
    try:
        network = ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return True
    return network.prefixlen < _WIDEST[network.version]


def worldwide(cidrs: Iterable[str]) -> tuple[str, ...]:
    """Return those of `cidrs` that are the internet or much of it, alone or with their neighbours.

    Of neighbours the range that they come to together is returned.
    """
    found: list[str] = []
    networks: list[ipaddress.IPv4Network] = []
    for cidr in cidrs:
        if is_world(cidr):
            found.append(cidr)
            continue
        network = ipaddress.ip_network(cidr, strict=False)
        if isinstance(network, ipaddress.IPv4Network):
            networks.append(network)
    together = map(str, ipaddress.collapse_addresses(networks))
    return (*found, *(cidr for cidr in together if is_world(cidr)))


def is_within(cidr: str, wider: str) -> bool:
    """Whether all of `cidr` lies in the range `wider`."""
    try:
        inner, outer = ipaddress.ip_network(cidr, strict=False), ipaddress.ip_network(wider)
    except ValueError:
        return False
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    return False


def in_words(cidrs: Iterable[str]) -> str:
    """Return the ranges for a message."""
    return ", ".join(cidrs) or "anywhere"
