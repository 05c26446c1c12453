"""Which Pulumi CLI to use: the person's own, the published one, or one built here."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scripts.bootstrap import go_build, published
from scripts.bootstrap.console import note
from scripts.bootstrap.downloads import Unreachable
from scripts.bootstrap.memory import Memory
from scripts.bootstrap.pins import Pins
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.published import Releases
from scripts.bootstrap.virtual_environment import fingerprint

# As requiredPulumiVersion in Pulumi.yaml.
OLDEST = (3, 210, 0)
LANGUAGE_HOST = "pulumi-language-python"

Origin = Literal["on PATH", "published", "built here"]


@dataclass(frozen=True)
class Cli:
    """A Pulumi CLI that will do."""

    program: Path
    version: str
    origin: Origin


@dataclass(frozen=True)
class Rejected:
    """The CLI on PATH, and why it won't do."""

    program: Path
    reason: str


def parse_version(text: str) -> tuple[tuple[int, int, int], str] | None:
    """Return the numbers of a version such as `v3.210.0-alpha.1+dirty`, and its pre-release part.

    None where `text` is no version.
    """
    match = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+.*)?", text.strip())
    if match is None:
        return None
    return (int(match[1]), int(match[2]), int(match[3])), match[4] or ""


def new_enough(version: str) -> bool:
    """Whether `version` is 3.210.0 or later; a pre-release of 3.210.0 is earlier."""
    parsed = parse_version(version)
    return parsed is not None and (parsed[0] > OLDEST or (parsed[0] == OLDEST and not parsed[1]))


def on_path(environment: Mapping[str, str], memory: Memory) -> Cli | Rejected | None:
    """Return the CLI on PATH, or why it won't do; None where there is none."""
    found = shutil.which("pulumi", path=environment.get("PATH"))
    if found is None:
        return None
    program = Path(found)
    version = memory.recall("pulumi", fingerprint(program) or "", lambda: _ask_version(program))
    if not version:
        return Rejected(program, "does not say its version")
    if not new_enough(version):
        return Rejected(program, f"is {version}, and 3.210.0 or later is needed")
    beside = {program.parent / LANGUAGE_HOST, program.resolve().parent / LANGUAGE_HOST}
    if not any(path.exists() for path in beside) and not shutil.which(
        LANGUAGE_HOST, path=environment.get("PATH")
    ):
        return Rejected(program, f"comes without {LANGUAGE_HOST}")
    return Cli(program, version, "on PATH")


def _ask_version(program: Path) -> str:
    try:
        asked = subprocess.run(
            [program, "version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""


def at_hand(
    checkout: Checkout, pins: Pins, cache: Path, environment: Mapping[str, str], memory: Memory
) -> Cli | Rejected | None:
    """Return the CLI that needs neither network nor building, as `choose` would take it."""
    own = on_path(environment, memory)
    if isinstance(own, Cli):
        return own
    fetched = published.folder(pins.release, cache)
    if fetched.is_dir():
        return Cli(fetched / "pulumi", f"v{pins.release.version}", "published")
    built = go_build.folder(checkout, pins.build_version, cache)
    if built.is_dir():
        return Cli(built / "pulumi", f"v{pins.build_version}", "built here")
    return own


def choose(
    checkout: Checkout,
    pins: Pins,
    releases: Releases,
    environment: Mapping[str, str],
    memory: Memory,
) -> Cli:
    """Return the CLI to use, fetched or built where there is none.

    Raises `BootstrapError`. One built here gives way to the published one once that is reached,
    which is tried once a day.
    """
    cache = releases.cache
    ready = at_hand(checkout, pins, cache, environment, memory)
    if isinstance(ready, Cli) and (ready.origin != "built here" or not releases.worth_asking):
        return ready
    if isinstance(ready, Rejected):
        note(f"{ready.program} won't do: it {ready.reason}.")
    try:
        fetched = published.install(releases)
    except Unreachable as unreachable:
        if isinstance(ready, Cli):
            return ready
        note(
            f"The published Pulumi {pins.release.version} can't be had ({unreachable}). "
            f"Building {pins.build_version} from Go modules, once for all checkouts (some minutes)."
        )
        built = go_build.build(checkout, pins.build_version, cache, environment)
        return Cli(built / "pulumi", f"v{pins.build_version}", "built here")
    return Cli(fetched / "pulumi", f"v{pins.release.version}", "published")
