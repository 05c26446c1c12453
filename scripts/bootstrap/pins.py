"""`pins.toml`, and the lock beside what was fetched, which refuses a later change."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.places import write_whole

LOCK_NAME = "pins.lock.toml"


@dataclass(frozen=True)
class ReleasePin:
    """The published CLI: its version, where its files lie, and the sha256 of those seen.

    `checksums` and `archive` are names of files under each of `sources`; `{platform}` in
    `archive` stands for a name such as `linux-x64`. `sha256` is empty where none was seen.
    """

    version: str
    sources: tuple[str, ...]
    checksums: str
    archive: str
    sha256: Mapping[str, str]


@dataclass(frozen=True)
class Pins:
    """What `pins.toml` holds for this package. `build_version` is the CLI's built from source."""

    release: ReleasePin
    build_version: str


def load(path: Path) -> Pins:
    """Return the pins in the file `path`. Raises `BootstrapError` where they can't be read."""
    try:
        with path.open("rb") as file:
            pins = tomllib.load(file)
        release = pins["pulumi"]
        return Pins(
            release=ReleasePin(
                version=release["version"],
                sources=tuple(release["sources"]),
                checksums=release["checksums"],
                archive=release["archive"],
                sha256=dict(release["sha256"]),
            ),
            build_version=pins["pulumi_build"]["version"],
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise BootstrapError(
            f"{path} can't be read as pins: {error}", f"git checkout -- {path.name}"
        ) from None


def locked(lock: Path) -> dict[str, str]:
    """Return the sha256 of each file that the lock in the file `lock` knows."""
    try:
        with lock.open("rb") as file:
            known: object = tomllib.load(file).get("sha256", {})
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as error:
        raise BootstrapError(
            f"{lock} is not TOML: {error}",
            "remove it to trust what is published now, or put back what it held",
        ) from None
    return cast("dict[str, str]", known)


def hold(lock: Path, name: str, sha256: str) -> None:
    """Write into the file `lock` that the file called `name` has `sha256`.

    Raises `BootstrapError` where the lock says otherwise: what is published under one name must
    not change.
    """
    known = locked(lock)
    before = known.get(name)
    if before == sha256:
        return
    if before is not None:
        raise BootstrapError(
            f"{name} is published with sha256 {sha256} now, and {lock} has {before}",
            "don't use it before its publisher explains the change; then remove that line",
        )
    lines = [f'"{key}" = "{value}"\n' for key, value in sorted({**known, name: sha256}.items())]
    write_whole(
        lock,
        "# The sha256 of what was fetched, as its publisher listed it the first time.\n"
        f"[sha256]\n{''.join(lines)}",
    )
