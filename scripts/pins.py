"""`python -m scripts.pins`: fill in what `pins.toml` could not be told yet, where it can be seen.

An empty digest is filled with what its publisher lists; one that is there is held against that
list, and never changed. What was filled in belongs into a commit, for everyone: a machine that is
deployed then takes the published file instead of building it. Exit status 1: a publisher lists
something else than what is pinned, 3: some could not be seen from here.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.bootstrap.downloads import Unreachable, fetch_text
from scripts.bootstrap.places import this_checkout, write_whole
from scripts.bootstrap.published import parse_checksums

CHANGED = 1
UNSEEN = 3


@dataclass(frozen=True)
class Pin:
    """One digest in `pins.toml`: its table and key, and where its publisher lists which file.

    `digits` is the digest's length in hex.
    """

    table: str
    key: str
    digest: str
    digits: int
    lists: tuple[str, ...]
    file: str


@dataclass(frozen=True)
class Seen:
    """What a publisher says of a pin: its digest, or why it could not be asked."""

    pin: Pin
    digest: str | None
    why: str = ""


def pins_of(content: Mapping[str, Any]) -> Iterator[Pin]:
    """Yield every digest of `pins.toml`'s `content` that a publisher lists."""
    pulumi = content["pulumi"]
    for platform, digest in pulumi["sha256"].items():
        yield Pin(
            table="pulumi.sha256",
            key=platform,
            digest=digest,
            digits=64,
            lists=tuple(source + pulumi["checksums"] for source in pulumi["sources"]),
            file=pulumi["archive"].format(platform=platform),
        )
    caddy = content["caddy"]
    folder, _, file = caddy["url"].rpartition("/")
    number = caddy["version"].removeprefix("v")
    yield Pin(
        table="caddy",
        key="sha512",
        digest=caddy["sha512"],
        digits=128,
        lists=(f"{folder}/caddy_{number}_checksums.txt",),
        file=file,
    )


def look(pin: Pin, fetch: Callable[[str], str]) -> Seen:
    """Ask the publisher of `pin`, the first of its lists that answers."""
    reasons: list[str] = []
    for url in pin.lists:
        try:
            listed = parse_checksums(fetch(url), pin.digits)
        except Unreachable as unreachable:
            reasons.append(str(unreachable))
            continue
        if pin.file in listed:
            return Seen(pin, listed[pin.file])
        reasons.append(f"{url} does not list {pin.file}")
    return Seen(pin, None, "; ".join(reasons))


def filled(text: str, pin: Pin, digest: str) -> str:
    """Return the text of `pins.toml` with `digest` in the place of `pin`'s empty one.

    All else, comments too, stays as it was.
    """
    start = text.index(f"[{pin.table}]")
    line = re.compile(rf'^{re.escape(pin.key)} = ""$', re.MULTILINE)
    return text[:start] + line.sub(f'{pin.key} = "{digest}"', text[start:], count=1)


def main(file: Path, fetch: Callable[[str], str] = fetch_text) -> int:
    """Fill in and check the pins of `file`; return the exit status."""
    text = file.read_text(encoding="utf-8")
    status = 0
    for pin in pins_of(tomllib.loads(text)):
        name = f"{pin.table}.{pin.key}"
        seen = look(pin, fetch)
        if seen.digest is None:
            print(f"{name}: could not be seen from here: {seen.why}")
            status = status or UNSEEN
        elif pin.digest == "":
            text = filled(text, pin, seen.digest)
            write_whole(file, text)
            print(f"{name}: {seen.digest}, as its publisher lists it now")
        elif pin.digest == seen.digest:
            print(f"{name}: as pinned")
        else:
            print(
                f"{name}: pinned {pin.digest}, and its publisher lists {seen.digest} now for "
                f"{pin.file}: don't use it before that is explained",
                file=sys.stderr,
            )
            status = CHANGED
    return status


if __name__ == "__main__":
    sys.exit(main(this_checkout().root / "pins.toml"))
