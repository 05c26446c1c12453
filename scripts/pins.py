"""`python -m scripts.pins`: fill in what `pins.toml` could not be told yet, where it can be seen.

An empty digest is filled with what its publisher says; one that is there is held against that, and
never changed. Publishers list checksums of files, and a registry tells what a tag stands for. Of an
image whose digest alone was seen, and its tag inferred, another digest is told, and no fault. What
was filled in belongs into a commit, for everyone: a machine that is deployed then takes the
published file instead of building it. Exit status 1: a publisher says something else than what is
pinned, 3: some could not be seen from here.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts import registry
from scripts.bootstrap.downloads import Unreachable, fetch_text
from scripts.bootstrap.places import this_checkout, write_whole
from scripts.bootstrap.published import parse_checksums

CHANGED = 1
UNSEEN = 3


@dataclass(frozen=True)
class Listed:
    """A file whose digest its publisher lists at the first of the URLs `lists` that answers.

    `digits` is the digest's length in hex.
    """

    lists: tuple[str, ...]
    file: str
    digits: int

    def __str__(self) -> str:
        return self.file


@dataclass(frozen=True)
class Pin:
    """One digest in `pins.toml`: its table and key, and what it is the digest of.

    `inferred` says that the digest was seen, and what it is called only concluded from that.
    """

    table: str
    key: str
    digest: str
    of: Listed | registry.Image
    inferred: bool = False


@dataclass(frozen=True)
class Seen:
    """What a publisher says of a pin: its digest, or why it could not be asked."""

    digest: str | None
    why: str = ""


@dataclass(frozen=True)
class Publishers:
    """How publishers are asked: a text by its URL, an image's digest by its name."""

    fetch: Callable[[str], str] = fetch_text
    ask: Callable[[registry.Image], str] = registry.digest_of


def pins_of(content: Mapping[str, Any]) -> Iterator[Pin]:
    """Yield every digest of `pins.toml`'s `content` that a publisher tells."""
    pulumi = content["pulumi"]
    for platform, digest in pulumi["sha256"].items():
        yield Pin(
            table="pulumi.sha256",
            key=platform,
            digest=digest,
            of=Listed(
                lists=tuple(source + pulumi["checksums"] for source in pulumi["sources"]),
                file=pulumi["archive"].format(platform=platform),
                digits=64,
            ),
        )
    caddy = content["caddy"]
    folder, _, file = caddy["url"].rpartition("/")
    number = caddy["version"].removeprefix("v")
    checksums = f"{folder}/caddy_{number}_checksums.txt"
    yield Pin("caddy", "sha512", caddy["sha512"], Listed((checksums,), file, digits=128))
    for name, image in content.get("images", {}).items():
        named = registry.parse(f"{image['repository']}:{image['tag']}")
        inferred = bool(image.get("tag_is_inferred"))
        yield Pin(f"images.{name}", "digest", image["digest"], named, inferred)


def look(pin: Pin, publishers: Publishers) -> Seen:
    """Ask the publisher of `pin`."""
    if isinstance(pin.of, Listed):
        return _listed(pin.of, publishers.fetch)
    try:
        return Seen(publishers.ask(pin.of))
    except registry.RegistryError as error:
        return Seen(None, str(error))


def _listed(of: Listed, fetch: Callable[[str], str]) -> Seen:
    reasons: list[str] = []
    for url in of.lists:
        try:
            listed = parse_checksums(fetch(url), of.digits)
        except Unreachable as unreachable:
            reasons.append(str(unreachable))
            continue
        if of.file in listed:
            return Seen(listed[of.file])
        reasons.append(f"{url} does not list {of.file}")
    return Seen(None, "; ".join(reasons))


def filled(text: str, pin: Pin, digest: str) -> str:
    """Return the text of `pins.toml` with `digest` in the place of `pin`'s empty one.

    All else, comments too, stays as it was.
    """
    start = text.index(f"[{pin.table}]")
    line = re.compile(rf'^{re.escape(pin.key)} = ""$', re.MULTILINE)
    return text[:start] + line.sub(f'{pin.key} = "{digest}"', text[start:], count=1)


def main(file: Path, publishers: Publishers = Publishers()) -> int:
    """Fill in and check the pins of `file`; return the exit status."""
    text = file.read_text(encoding="utf-8")
    status = 0
    for pin in pins_of(tomllib.loads(text)):
        name = f"{pin.table}.{pin.key}"
        seen = look(pin, publishers)
        if seen.digest is None:
            print(f"{name}: could not be seen from here: {seen.why}")
            status = status or UNSEEN
        elif pin.digest == "":
            text = filled(text, pin, seen.digest)
            write_whole(file, text)
            print(f"{name}: {seen.digest}, as its publisher has it now")
        elif pin.digest == seen.digest:
            print(f"{name}: as pinned")
        elif pin.inferred:
            print(
                f"{name}: stays {pin.digest}, the image that was seen; {pin.of}, a tag that was "
                f"inferred for it, is {seen.digest}"
            )
        else:
            print(
                f"{name}: pinned {pin.digest}, and its publisher has {seen.digest} now for "
                f"{pin.of}: don't use it before that is explained",
                file=sys.stderr,
            )
            status = CHANGED
    return status


if __name__ == "__main__":
    sys.exit(main(this_checkout().root / "pins.toml"))
