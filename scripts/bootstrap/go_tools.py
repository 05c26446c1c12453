"""Linters that are built from Go modules, in seconds, once for all checkouts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.bootstrap import go_build, pins, pulumi_cli
from scripts.bootstrap.memory import Memory
from scripts.bootstrap.places import Checkout, cache_root, make_folder, release_platform
from scripts.bootstrap.processes import one_at_a_time, run_with_progress
from scripts.bootstrap.pulumi_cli import Cli
from scripts.bootstrap.staging import staged

SOURCES = Path("scripts/bootstrap/go_tools")


@dataclass(frozen=True)
class GoTool:
    """A program to build: `package`, in the module at `SOURCES/name`, becomes the file `name`."""

    name: str
    package: str


ACTIONLINT = GoTool("actionlint", "github.com/rhysd/actionlint/cmd/actionlint")
TOOLS = (ACTIONLINT,)


def program(checkout: Checkout, tool: GoTool, cache: Path) -> Path:
    """Return where the tool of this checkout's module is kept: another for any change of it."""
    digest = hashlib.sha256(release_platform().encode())
    for name in ("go.mod", "go.sum"):
        digest.update((_module(checkout, tool) / name).read_bytes())
    return cache / "go-tools" / f"{tool.name}-{digest.hexdigest()[:12]}" / tool.name


def ensure(checkout: Checkout, tool: GoTool, environment: Mapping[str, str]) -> Path:
    """Return the tool's program, built where it isn't there.

    Raises `BootstrapError` where it can't be built.
    """
    cache = cache_root(environment)
    built = program(checkout, tool, cache)
    if built.is_file():
        return built
    # Go's own caches in the cache folder, and a toolchain there, are shared with that build.
    with one_at_a_time(
        make_folder(cache / "pulumi") / "lock", f"building Pulumi or {tool.name}"
    ) as lock:
        if built.is_file():
            return built
        go_mod = _module(checkout, tool) / "go.mod"
        toolchain = go_build.find_toolchain(checkout, cache, environment, lock, go_mod)
        with staged(built.parent) as partial:
            _build(checkout, tool, toolchain, partial / tool.name)
        if _has_cli(checkout, cache, environment):
            go_build.remove_own_caches(cache, toolchain)
        # Else the build of Pulumi, which is next, saves half a minute by them and removes them.
    return built


def _has_cli(checkout: Checkout, cache: Path, environment: Mapping[str, str]) -> bool:
    memory = Memory(checkout.make_state() / "answers.json")
    pinned = pins.load(checkout.root / "pins.toml")
    return isinstance(pulumi_cli.at_hand(checkout, pinned, cache, environment, memory), Cli)


def _module(checkout: Checkout, tool: GoTool) -> Path:
    return checkout.root / SOURCES / tool.name


def _build(checkout: Checkout, tool: GoTool, toolchain: go_build.Toolchain, into: Path) -> None:
    # The flags of Pulumi's build: with others the standard library would be compiled twice.
    command = [toolchain.go, "build", "-mod=readonly", "-buildvcs=false"]
    run_with_progress(
        [*command, "-ldflags", "-s -w", "-o", str(into), tool.package],
        what=f"Building {tool.name} from Go modules",
        log=toolchain.logs / f"build-{tool.name}.log",
        environment=toolchain.variables,
        folder=_module(checkout, tool),
        lock=toolchain.lock,
        next_step="check that the Go module proxy is reached (GOPROXY applies)",
    )
