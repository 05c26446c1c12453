"""Where this machine gets its Debian packages: the guests get theirs from there too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SUITE = "bookworm"
SECURITY = f"{SUITE}-security"
_LINE = re.compile(r"deb\s+(?:\[[^]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+.*\bmain\b")


def archives(etc_apt: Path = Path("/etc/apt")) -> dict[str, str]:
    """Return the base addresses of Debian's archive as this machine is set up for it.

    Keys are `debian` and `debian-security`, the archives' names on deb.debian.org.
    """
    found: dict[str, str] = {}
    for uri, suite in _entries(etc_apt):
        security = suite.endswith("-security")
        if suite.partition("-")[0] == SUITE:
            found.setdefault("debian-security" if security else "debian", uri.rstrip("/"))
    if set(found) != {"debian", "debian-security"}:
        pytest.skip(f"this machine's apt sources have no {SUITE} and {SECURITY}: found {found}")
    return found


def _entries(etc_apt: Path) -> list[tuple[str, str]]:
    listed = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*.list"))]
    entries: list[tuple[str, str]] = []
    for path in (path for path in listed if path.exists()):
        matches = (_LINE.match(line.strip()) for line in path.read_text().splitlines())
        entries += [(match["uri"], match["suite"]) for match in matches if match]
    for path in sorted((etc_apt / "sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.+)$", stanza, re.MULTILINE))
            if "main" in fields.get("Components", "").split():
                suites = fields.get("Suites", "").split()
                entries += [(u, s) for u in fields.get("URIs", "").split() for s in suites]
    return entries


def sources(bases: dict[str, str]) -> str:
    """Return apt's deb822 text for the suite and its security updates at `bases`."""
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    stanzas = [
        (bases["debian"], f"{SUITE} {SUITE}-updates"),
        (bases["debian-security"], SECURITY),
    ]
    return "\n".join(
        f"Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\nSigned-By: {keyring}\n"
        for uri, suites in stanzas
    )


PUBLIC = {
    "debian": "http://deb.debian.org/debian",
    "debian-security": "http://deb.debian.org/debian-security",
}
"""What a guest's own sources say, as Debian's images do."""
