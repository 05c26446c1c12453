"""Where things are kept: the checkout's own folders, and the cache that checkouts share."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from scripts.bootstrap.console import BootstrapError

PROJECT = "llm-endpoint"


@dataclass(frozen=True)
class Checkout:
    """One clone of the project. `root` is absolute and free of links."""

    root: Path

    @property
    def virtual_environment(self) -> Path:
        """The folder of this checkout's virtual environment."""
        return self.root / ".venv"

    @property
    def state(self) -> Path:
        """The git-ignored folder, readable by its owner alone, for state and secrets."""
        return self.root / ".state"

    @property
    def stacks(self) -> Path:
        """The folder of the stacks' programs, defaults and configuration."""
        return self.root / "stacks"

    def make_state(self) -> Path:
        """Return `state`, made and with mode 0700 (again) where the system has modes."""
        try:
            self.state.mkdir(mode=0o700, exist_ok=True)
            if self.state.stat().st_mode & 0o077:
                self.state.chmod(0o700)
        except OSError as error:
            raise BootstrapError(
                f"{self.state} can't be made or closed to others: {error.strerror}",
                f"make {self.root} writable, or clone to where you may write",
            ) from None
        return self.state


def this_checkout() -> Checkout:
    """Return the checkout that this file is in."""
    return Checkout(Path(__file__).resolve().parents[2])


def cache_root(environment: Mapping[str, str]) -> Path:
    """Return the folder of what is fetched or built once for all checkouts.

    `$LLM_ENDPOINT_CACHE`, else `$XDG_CACHE_HOME/llm-endpoint`, else `~/.cache/llm-endpoint`.
    """
    own = environment.get("LLM_ENDPOINT_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    shared = environment.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else home(environment) / ".cache") / PROJECT


def home(environment: Mapping[str, str]) -> Path:
    """Return the person's home folder: `$HOME`, else the user database's."""
    named = environment.get("HOME")
    return Path(named) if named else Path.home()


def make_folder(folder: Path) -> Path:
    """Return `folder`, made with its parents. Raises `BootstrapError` with what to set."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BootstrapError(
            f"the cache folder {folder} can't be made: {error.strerror}",
            "set LLM_ENDPOINT_CACHE to a folder that you may write",
        ) from None
    return folder


def release_platform() -> str:
    """Return this machine as Pulumi's releases name it, such as `linux-x64`."""
    return _platform("x64")


def plugin_platform() -> str:
    """Return this machine as the releases of Pulumi's plugins name it, such as `linux-amd64`."""
    return _platform("amd64")


def _platform(x86: str) -> str:
    machine = platform.machine().lower()
    names = {"x86_64": x86, "amd64": x86, "aarch64": "arm64", "arm64": "arm64"}
    return f"{sys.platform}-{names.get(machine, machine)}"


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write `text` to `path` with `mode`, whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.new")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)


def read_object(path: Path) -> dict[str, object]:
    """Return the JSON object in the file `path`; empty where there is none or it is broken."""
    try:
        found: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}


def write_object(path: Path, value: Mapping[str, object]) -> None:
    """Write `value` to the file `path` as JSON, whole or not at all."""
    write_whole(path, json.dumps(value, indent=2) + "\n")
