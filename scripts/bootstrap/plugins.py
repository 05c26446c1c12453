"""The plugins that the program's packages need: published ones, or a stand-in for `command`.

A stand-in is installed into a Pulumi home of the checkout's own, so that it never stands before
the published plugin in the person's other projects.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scripts.bootstrap.backend import pulumi_home
from scripts.bootstrap.console import BootstrapError, note
from scripts.bootstrap.downloads import Unreachable
from scripts.bootstrap.places import Checkout, plugin_platform, read_object
from scripts.bootstrap.processes import one_at_a_time
from scripts.bootstrap.published import Releases
from scripts.bootstrap.pulumi_cli import Cli

INSTALL_SECONDS = 180.0
_STAND_INS = ("command",)
_RELEASES = "https://github.com/pulumi"


@dataclass(frozen=True)
class Plugin:
    """A provider's plugin at the version that its Python package asks for."""

    name: str
    version: str

    @property
    def folder(self) -> str:
        """The name of its folder under `plugins` in a Pulumi home."""
        return f"resource-{self.name}-v{self.version}"

    @property
    def program(self) -> str:
        """The name of its program in that folder."""
        return f"pulumi-resource-{self.name}"

    @property
    def archive(self) -> str:
        """The name of its release's archive for this machine."""
        return f"{self.program}-v{self.version}-{plugin_platform()}.tar.gz"

    @property
    def address(self) -> str:
        """Where Pulumi publishes its archive."""
        return f"{_RELEASES}/pulumi-{self.name}/releases/download/v{self.version}/{self.archive}"

    def is_in(self, pulumi_home: Path) -> bool:
        """Whether the Pulumi home has it, whole."""
        folder = pulumi_home / "plugins" / self.folder
        unfinished = folder.with_name(f"{folder.name}.partial")
        return (folder / self.program).exists() and not unfinished.exists()


@dataclass(frozen=True)
class Plan:
    """Where the plugins come from.

    `published`: the person's Pulumi home has all; `stand-in`: the checkout's has the stand-in;
    `engine`: the engine fetches what is missing.
    """

    source: Literal["published", "stand-in", "engine"]


def needed(python: Path, *, local_only: bool) -> list[Plugin]:
    """Return the plugins of the packages beside `python`; with `local_only` what `local` needs."""
    found: list[Plugin] = []
    for file in sorted(python.parents[1].glob("lib/python*/site-packages/*/pulumi-plugin.json")):
        about = read_object(file)
        name, version = about.get("name"), about.get("version")
        if about.get("resource") is True and isinstance(name, str) and isinstance(version, str):
            found.append(Plugin(name, version.removeprefix("v")))
    return [plugin for plugin in found if not local_only or plugin.name in _STAND_INS]


def can_stand_in(plugins: Sequence[Plugin]) -> bool:
    """Whether the project has a stand-in for each of them."""
    return all(plugin.name in _STAND_INS for plugin in plugins)


def by_hand(missing: Sequence[Plugin]) -> str:
    """Return what to type where the releases of the `missing` plugins can't be reached from."""
    lines = ["fetch each archive where its release can be reached, and install it here:"]
    for plugin in missing:
        install = f"scripts/pulumi plugin install resource {plugin.name} {plugin.version}"
        lines += [f"curl -fLO {plugin.address}", f"{install} --file {plugin.archive}"]
    return "\n    ".join(lines)


def ensure(
    checkout: Checkout,
    cli: Cli,
    releases: Releases,
    plugins: Sequence[Plugin],
    environment: Mapping[str, str],
    *,
    stack: str | None,
) -> Plan:
    """Put the plugins in place and return where they are. Raises `BootstrapError`.

    `stack` is what they are for, where that is known: an error says what it can do without them.
    """
    theirs = pulumi_home(environment)
    missing = [plugin for plugin in plugins if not plugin.is_in(theirs)]
    if not missing:
        _leave_stand_in(checkout)
        return Plan("published")
    standable = can_stand_in(plugins)
    in_place = standable and all(_stand_in_is_current(checkout, plugin) for plugin in missing)
    if in_place and not releases.worth_asking:
        return Plan("stand-in")
    with one_at_a_time(checkout.make_state() / "plugins.lock", "installing plugins"):
        try:
            releases.checksums()
            if not standable:
                return Plan("engine")
            for plugin in missing:
                _install_published(cli, plugin, environment)
        except Unreachable as unreachable:
            releases.remember(unreachable)
            if not standable:
                names = ", ".join(f"{plugin.name} {plugin.version}" for plugin in missing)
                without = (
                    f"\nscripts/doctor {stack} and .venv/bin/python -m scripts.render {stack} work "
                    "without them."
                )
                raise BootstrapError(
                    f"this stack needs Pulumi plugins that are not here ({names}), and their "
                    f"releases can't be reached: {unreachable}",
                    by_hand(missing) + (without if stack else ""),
                ) from None
            for plugin in missing:
                if not _stand_in_is_current(checkout, plugin):
                    _install_stand_in(checkout, cli, plugin, environment)
                    note(
                        f"The published plugin {plugin.name} {plugin.version} can't be had "
                        f"({unreachable}).\n"
                        "This checkout uses its stand-in (emulator/), which does the same on this "
                        "machine; the published one is looked for again once a day."
                    )
            return Plan("stand-in")
    _leave_stand_in(checkout)
    return Plan("published")


def variables(checkout: Checkout, plan: Plan, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables under which Pulumi finds the plugins of `plan`."""
    # Said even where it is the default: the CLI takes the home folder from the user database,
    # and everything else takes it from $HOME.
    theirs = str(pulumi_home(environment))
    quiet = {"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true"}
    if plan.source == "engine":
        return {"PULUMI_HOME": theirs}
    if plan.source == "published":
        return {"PULUMI_HOME": theirs, **quiet}
    # The login stays where it is: the CLI reads and writes it there.
    login = environment.get("PULUMI_CREDENTIALS_PATH") or theirs
    return {
        "PULUMI_HOME": str(_private_home(checkout)),
        "PULUMI_CREDENTIALS_PATH": login,
        **quiet,
    }


def outer_environment(checkout: Checkout, environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return `environment` with the person's Pulumi home where it has the checkout's own.

    It has that where one of these scripts is started from within another's environment.
    """
    if environment.get("PULUMI_HOME") != str(_private_home(checkout)):
        return environment
    outer = {name: value for name, value in environment.items() if name != "PULUMI_HOME"}
    theirs = environment.get("PULUMI_CREDENTIALS_PATH")
    return {**outer, "PULUMI_HOME": theirs} if theirs else outer


def _private_home(checkout: Checkout) -> Path:
    return checkout.state / "pulumi-home"


def _install_published(cli: Cli, plugin: Plugin, environment: Mapping[str, str]) -> None:
    note(f"Fetching the plugin {plugin.name} {plugin.version} …")
    command = [str(cli.program), "plugin", "install", "resource", plugin.name, plugin.version]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **environment,
                "PULUMI_HOME": str(pulumi_home(environment)),
                "PULUMI_SKIP_UPDATE_CHECK": "1",
            },
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{shlex.join(command[1:])} took over {INSTALL_SECONDS:.0f} s") from None
    if done.returncode != 0:
        raise Unreachable(f"{shlex.join(command[1:])}: {done.stderr.strip()[-300:]}")


def _stand_in_is_current(checkout: Checkout, plugin: Plugin) -> bool:
    home = _private_home(checkout)
    program = home / "plugins" / plugin.folder / plugin.program
    try:
        text = program.read_text(encoding="utf-8")
    except OSError:
        return False
    return plugin.is_in(home) and text == stand_in(checkout, plugin)


def stand_in(checkout: Checkout, plugin: Plugin) -> str:
    """Return the program that stands in for `plugin`: it starts the emulator's in this checkout.

    Started by its folder's path: a PYTHONPATH would reach the commands that the plugin runs, and
    the person's own must not reach the plugin.
    """
    python = shlex.quote(str(checkout.virtual_environment / "bin" / "python"))
    folder = shlex.quote(str(checkout.root / "emulator" / plugin.name))
    return (
        "#!/bin/sh\n"
        f"# Stands in for the plugin {plugin.name} {plugin.version} in one checkout alone.\n"
        f'exec {python} -I -X utf8 {folder} "$@"\n'
    )


def _install_stand_in(
    checkout: Checkout, cli: Cli, plugin: Plugin, environment: Mapping[str, str]
) -> None:
    home = _private_home(checkout)
    made = checkout.state / "stand-in"
    shutil.rmtree(made, ignore_errors=True)
    shutil.rmtree(home / "plugins" / plugin.folder, ignore_errors=True)
    made.mkdir(parents=True)
    program = made / plugin.program
    program.write_text(stand_in(checkout, plugin), encoding="utf-8")
    program.chmod(0o755)
    command = [str(cli.program), "plugin", "install", "resource", plugin.name, plugin.version]
    done = subprocess.run(
        [*command, "--file", str(made), "--reinstall"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**environment, "PULUMI_HOME": str(home), "PULUMI_SKIP_UPDATE_CHECK": "1"},
        check=False,
    )
    if done.returncode != 0 or not _stand_in_is_current(checkout, plugin):
        raise BootstrapError(
            f"the stand-in for the plugin {plugin.name} can't be installed: {done.stderr.strip()}",
            f"remove {home} and try again",
        )
    shutil.rmtree(made)


def _leave_stand_in(checkout: Checkout) -> None:
    plugins = _private_home(checkout) / "plugins"
    if plugins.is_dir():
        shutil.rmtree(plugins)
        note("The published plugins are there now: the stand-in is not used any more.")
