"""What a firewall rule of Google's lets in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policy.resources import Resource, at, each, text, texts

SSH, HTTPS = 22, 443


@dataclass(frozen=True)
class Opening:
    """One port, or ports, that somebody may come to: `tcp:22`, `tcp:8000-8100`, `all`."""

    protocol: str
    ports: str
    """"" is every port."""
    sources: tuple[str, ...]
    """Ranges; none where a rule lets in by something else than addresses."""

    def __str__(self) -> str:
        return f"{self.protocol}:{self.ports}" if self.ports else self.protocol

    def is_exactly(self, port: int) -> bool:
        """Whether it opens that TCP port alone."""
        return self.protocol in ("tcp", "6") and self.ports == str(port)

    def includes(self, port: int) -> bool:
        """Whether that TCP port is among what it opens."""
        if self.protocol not in ("tcp", "6", "all"):
            return False
        first, _, last = self.ports.partition("-")
        if not self.ports:
            return True
        return first.isdigit() and int(first) <= port <= int(last or first)


def openings(resource: Resource) -> Iterator[Opening]:
    """Yield what the firewall rule `resource` opens to who comes from outside."""
    props = resource.props
    if text(props, "direction") not in ("", "INGRESS") or at(props, "disabled") is True:
        return
    allowed = list(each(props, "allows"))
    if not allowed:
        return
    sources = texts(props, "sourceRanges")
    if not sources:
        others = [*each(props, "sourceTags"), *each(props, "sourceServiceAccounts")]
        # So Google takes a rule that names nobody.
        sources = () if others else ("0.0.0.0/0",)
    for one in allowed:
        protocol = text(one, "protocol").lower()
        for ports in texts(one, "ports") or ("",):
            yield Opening(protocol, ports, sources)
