"""Whether the endpoint's domain points at its machine: the first thing that goes wrong with one."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from scripts.verify.bounds import Deadline, bounded
from scripts.verify.options import Address, Endpoint
from scripts.verify.outcome import Failure, Skipped, TimedOut

DOMAIN_SECONDS = 120.0
"""How long a record is waited for: one that was just made shows soon, an old one not for hours."""
PAUSE_SECONDS = 2.0
REPORT_SECONDS = 10.0
_LOOKUP_SECONDS = 10.0

Resolve: TypeAlias = Callable[[str], frozenset[Address]]


def resolve(name: str) -> frozenset[Address]:
    """Return every address that this machine's resolver gives for `name`; none is no error."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return frozenset()
    # An IPv6 address may carry a zone, as in fe80::1%eth0.
    texts = {str(entry[4][0]).partition("%")[0] for entry in found}
    return frozenset(ipaddress.ip_address(text) for text in texts)


def record(name: str, address: Address) -> str:
    """Return the DNS record that makes `name` point at `address`, as a zone file has it."""
    return f"{name}. {'A' if address.version == 4 else 'AAAA'} {address}"


@dataclass
class DomainCheck:
    """Waits until the name in `endpoint` has the one address `address`, for `DOMAIN_SECONDS`.

    Addresses of the other IP version are none of its business: a machine may have both, and some
    networks make IPv6 addresses up for IPv4 ones.
    """

    endpoint: Endpoint
    address: Address
    deadline: Deadline
    report: Callable[[str], None]
    resolve: Resolve = resolve
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def points_here(self) -> str:
        """Return what the name resolves to. Raises `Failure` with the record to make."""
        name = self.endpoint.host
        if self.endpoint.address is not None:
            raise Skipped("the URL has an address and no name")
        seconds = min(DOMAIN_SECONDS, self.deadline.seconds)
        began = reported = self.clock()
        while True:
            found = self._look()
            ours = frozenset(a for a in found if a.version == self.address.version)
            if ours == frozenset((self.address,)):
                return f"{name} is {_listed(found)}"
            now = self.clock()
            if now - began >= seconds:
                raise self._failure(found, ours, seconds)
            if now - reported >= REPORT_SECONDS:
                reported = now
                shown = _listed(found) or "no address"
                self.report(
                    f"domain … {name} has {shown} and needs {self.address}, "
                    f"{now - began:.0f} s of {seconds:g} s"
                )
            self.pause(PAUSE_SECONDS)

    def _look(self) -> frozenset[Address]:
        deadline = Deadline(_LOOKUP_SECONDS)
        try:
            return bounded(deadline, lambda: self.resolve(self.endpoint.host))
        except TimedOut:
            return frozenset()

    def _failure(
        self, found: frozenset[Address], ours: frozenset[Address], seconds: float
    ) -> Failure:
        name = self.endpoint.host
        wanted = record(name, self.address)
        others = _listed(ours - {self.address})
        if self.address in ours:
            seen = f"{name} has other addresses too: {others}"
            step = (
                f"remove the records for {others} at the domain's DNS provider, and keep {wanted}"
            )
        else:
            seen = f"{name} has {_listed(found) or 'no address'}"
            step = (
                f"make this record at the domain's DNS provider: {wanted} (with the key dns_zone, "
                "the name of a Cloud DNS zone of yours, up makes it); then the same command again"
            )
        return Failure(
            f"{name} to have the address {self.address} within {seconds:g} s",
            seen,
            step,
            never_ready=True,
        )


def _listed(addresses: frozenset[Address]) -> str:
    return ", ".join(sorted(map(str, addresses)))
