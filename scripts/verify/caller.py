"""This machine as the endpoint's firewall sees it, and whether that lets it in."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException
from urllib.request import Request, urlopen

from scripts.verify.bounds import Deadline, bounded
from scripts.verify.options import Address, Network
from scripts.verify.outcome import TimedOut

SERVICES_VARIABLE = "LLM_ENDPOINT_ADDRESS_SERVICE"
SERVICES = ("https://checkip.amazonaws.com", "https://api.ipify.org")
"""Pages that answer with the caller's IPv4 address as plain text."""
ADDRESS_SECONDS = 4.0


def services(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the pages to ask, by commas in `$LLM_ENDPOINT_ADDRESS_SERVICE`; else `SERVICES`."""
    named = environment.get(SERVICES_VARIABLE)
    if named is None:
        return SERVICES
    return tuple(url.strip() for url in named.split(",") if url.strip())


def own_address(pages: Sequence[str]) -> Address | None:
    """Return the public address from which this machine is seen; None where no page tells it."""
    for page in pages:
        deadline = Deadline(ADDRESS_SECONDS)
        try:
            return bounded(deadline, lambda page=page: _ask(page))
        except (OSError, HTTPException, ValueError, TimedOut):
            continue
    return None


def _ask(page: str) -> Address:
    if not page.startswith(("https://", "http://")):
        raise ValueError(f"{page} is no web page")
    with urlopen(Request(page), timeout=ADDRESS_SECONDS) as answer:
        return ipaddress.ip_address(answer.read(200).decode("ascii").strip())


def is_allowed(address: Address, cidrs: Sequence[Network]) -> bool:
    """Whether `address` lies in one of `cidrs`."""
    return any(address.version == cidr.version and address in cidr for cidr in cidrs)


def configuration_command(
    cidrs: Sequence[Network],
    caller: Address | str,
    stack: str | None,
    *,
    key: str = "allowed_cidrs",
) -> str:
    """Return the command that adds `caller`, an address or a network, to `key`."""
    added = caller if isinstance(caller, str) else str(ipaddress.ip_network(caller))
    networks = ",".join([*map(str, cidrs), added])
    command = ["scripts/pulumi", "config", "set", key, networks]
    return shlex.join([*command, "--stack", stack] if stack else command)


@dataclass(frozen=True)
class Caller:
    """Who calls: from an address that `pages` tell, let in by `allowed_cidrs` of `stack`."""

    allowed_cidrs: tuple[Network, ...]
    pages: tuple[str, ...]
    stack: str | None

    @cached_property
    def address(self) -> Address | None:
        """This machine's public address, asked for once; None where nobody tells."""
        return own_address(self.pages)

    def refusal(self) -> str | None:
        """Return that this machine is not let in, and what to type; None unless that is sure."""
        if self.address is None or is_allowed(self.address, self.allowed_cidrs):
            return None
        command = configuration_command(self.allowed_cidrs, self.address, self.stack)
        return (
            f"this machine's address {self.address} is not in allowed_cidrs ({self._allowed}): "
            f"{command}, then {self._again}"
        )

    def advice(self) -> str:
        """Return what to do about a connection that times out."""
        if self.address is None:
            command = configuration_command(self.allowed_cidrs, "ADDRESS/32", self.stack)
            return (
                f"allowed_cidrs lets in {self._allowed}, and this machine's public address is not "
                f"known here: look it up (curl {SERVICES[0]}), and if it is not among them: "
                f"{command}, then {self._again}"
            )
        return self.refusal() or (
            f"this machine's address {self.address} is in allowed_cidrs ({self._allowed}), so look "
            "whether the machine is up, and whether this network lets connections out"
        )

    @property
    def _allowed(self) -> str:
        return ", ".join(map(str, self.allowed_cidrs))

    @property
    def _again(self) -> str:
        return f"scripts/up {self.stack}" if self.stack else "scripts/up"
