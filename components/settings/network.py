"""How values about the network and the cloud's own names are read and checked."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import cast

from components.schedule import ScheduleError, parse_schedule

WORLD = "world"
"""The one word that lets everybody on the internet in."""
_WORLD_CIDR = "0.0.0.0/0"
_WIDEST = {4: 8, 6: 16}

_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_MOST_LABELS = 60
_DOMAIN_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_DOMAIN = 253


def cidrs(value: tuple[str, ...], what: str = "the machine") -> tuple[str, ...]:
    """Check the ranges that may come to `what`, and return them sorted, each once.

    A range as wide as the internet must be asked for by its name, so that nobody lets the world in
    by a zero too many.
    """
    if not value:
        raise ValueError("it lets nobody in: it takes ranges such as 203.0.113.7/32")
    wrong = [said for text in value if (said := _wrong_cidr(text)) is not None]
    if wrong:
        raise ValueError("; ".join(wrong))
    if WORLD in value:
        return (_WORLD_CIDR,)
    networks = sorted(
        {ipaddress.ip_network(text) for text in value},
        key=lambda network: (network.version, network.network_address.packed, network.prefixlen),
    )
    if networks[0].version == 6:
        raise ValueError(f"it lets nobody in: {what} has an IPv4 address alone")
    return tuple(str(network) for network in networks)


def _wrong_cidr(text: str) -> str | None:
    if text == WORLD:
        return None
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f"{text!r} is no range such as 203.0.113.7/32"
    alone = f"{text.partition('/')[0]}/{network.max_prefixlen}"
    said = None
    if "/" not in text:
        said = f"says no length: that address alone is {alone}"
    elif network.prefixlen < _WIDEST[network.version]:
        said = f"is much of the internet: write {WORLD} if you mean everybody"
    elif ipaddress.ip_address(text.partition("/")[0]) != network.network_address:
        said = f"has bits set after its length: the network is {network}, the address alone {alone}"
    return said and f"{text!r} {said}"


def domain(value: str) -> str:
    """Check a DNS name, and return it in lower case without a final dot."""
    name = value.removesuffix(".").lower()
    if "://" in name or "/" in name or ":" in name:
        raise ValueError("it is a name alone, such as llm.example.org, without https:// or a port")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        raise ValueError("that is an address, and a domain is a name such as llm.example.org")
    labels = name.split(".")
    good = len(name) <= _LONGEST_DOMAIN and all(_DOMAIN_LABEL.fullmatch(part) for part in labels)
    if not good or len(labels) < 2:
        raise ValueError("that is no DNS name such as llm.example.org (xn--… for other letters)")
    return name


def label_pairs(value: object) -> object:
    """Take a JSON object, or words `name=value`."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        try:
            return cast(object, json.loads(value))
        except ValueError as error:
            raise ValueError(f"starts like a JSON object and is none ({error})") from None
    pairs = [word.partition("=") for word in value.replace(",", " ").split()]
    loose = [name for name, equals, _ in pairs if not equals]
    if loose:
        raise ValueError(f"{loose[0]!r} has no value: write {loose[0]}=VALUE")
    names = [name for name, _, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands there twice")
    return {name: given for name, _, given in pairs}


def labels(value: dict[str, str]) -> dict[str, str]:
    """Check labels against Google Cloud's rules, and return them sorted."""
    if len(value) > _MOST_LABELS:
        raise ValueError(f"{len(value)} labels are too many: {_MOST_LABELS} at most")
    for name, given in value.items():
        if not _LABEL_KEY.fullmatch(name):
            raise ValueError(
                f"{name!r} is no label's name: a lower-case letter, then at most 62 lower-case "
                "letters, digits, - and _"
            )
        if not _LABEL_VALUE.fullmatch(given):
            raise ValueError(
                f"{name}={given!r} is no label's value: at most 63 lower-case letters, digits, - "
                "and _"
            )
    return dict(sorted(value.items()))


def schedule(value: str) -> str:
    """Check a schedule, and return its canonical form."""
    try:
        return str(parse_schedule(value))
    except ScheduleError as error:
        raise ValueError(str(error)) from None
