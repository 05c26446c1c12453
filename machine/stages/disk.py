"""Stage `disk`: the cache disk, formatted once in its life, and mounted at each boot."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from machine.commands import Command, Result, must
from machine.config import Config
from machine.errors import Permanent, Temporary
from machine.stages.packages import GATEWAY_USER
from machine.world import World

PULLING_USER = "nobody"
"""Who runs an engine's own command that pulls a model."""

LABEL = "llm-endpoint"

_WAIT_SECONDS = 60
_OPTIONS = "nodev,nosuid,noexec,noatime"
_NOTHING_FOUND = 2
_FSCK_LEFT_ERRORS = 4
_FSCK_COULD_NOT = 8


def run(config: Config, world: World) -> str:
    """Have the data folder on the cache disk, or on the boot disk where there is none."""
    world.paths.data.mkdir(parents=True, exist_ok=True)
    if config.cache_disk is None:
        _make_folders(world)
        return "the boot disk holds the models"
    device = _wait_for(config.cache_disk, world)
    formatted = _mount(device, config.cache_disk, world)
    # Does nothing unless the disk has become larger than its filesystem.
    must(world.run, Command("growing the filesystem", ("resize2fs", str(device)), 600))
    _make_folders(world)
    return f"the cache disk {config.cache_disk} is {'formatted and ' if formatted else ''}mounted"


def _wait_for(name: str, world: World) -> Path:
    device = world.paths.disk(name)
    for second in range(_WAIT_SECONDS):
        if device.exists():
            return device.resolve()
        if second % 10 == 0:
            world.say(f"waits for the disk {name}")
        world.sleep(1.0)
    raise Temporary(
        f"{device} has not come in {_WAIT_SECONDS} s: no disk is attached as {name}\n"
        "next: run up again, which attaches it"
    )


def _mount(device: Path, name: str, world: World) -> bool:
    """Mount the disk if it isn't; returns whether it had to be formatted."""
    data = str(world.paths.data)
    there = ("findmnt", "--noheadings", "--output", "SOURCE", "--mountpoint", data)
    mounted = world.run(Command("looking at what is mounted", there)).output.split()
    if mounted:
        if Path(mounted[-1]).resolve() == device:
            return False
        raise Permanent(
            f"{mounted[-1]} is mounted at {data}, where the cache disk {name} belongs\n"
            "next: unmount it"
        )
    probe = ("blkid", "--probe", "--output", "export", str(device))
    list_all = ("wipefs", "--no-act", "--noheadings", str(device))
    step = plan_disk(
        name,
        world.run(Command("looking for a filesystem", probe)),
        world.run(Command("looking for other signatures", list_all)),
    )
    if step == "format":
        world.say(f"formatting the empty disk {name}")
        words = ("mkfs.ext4", "-q", "-m", "0", "-L", LABEL, str(device))
        must(world.run, Command(f"formatting the disk {name}", words, 600))
    else:
        _check(device, name, world)
    words = ("mount", "--types", "ext4", "--options", _OPTIONS, str(device), data)
    must(world.run, Command(f"mounting the disk {name}", words), Permanent)
    return step == "format"


def plan_disk(name: str, probed: Result, signatures: Result) -> Literal["format", "mount"]:
    """Decide what the disk called `name` needs before it can be used.

    `probed` is from `blkid --probe --output export`, `signatures` from `wipefs --no-act`. A disk
    is formatted only where both have looked and found nothing at all. Raises `Permanent` for one
    that holds anything but ext4, and `Temporary` for one that could not be read.
    """
    lines = (line.partition("=") for line in probed.output.splitlines())
    found = {name: value for name, _, value in lines}
    if probed.code == 0 and found.get("TYPE") == "ext4":
        return "mount"
    if signatures.code != 0:
        raise Temporary(f"the disk {name} can't be read", (*probed.log, *signatures.log))
    if (
        probed.code == _NOTHING_FOUND
        and not probed.output.strip()
        and not signatures.output.strip()
    ):
        return "format"
    holds = found.get("TYPE") or found.get("PTTYPE")
    what = f"holds {holds}" if holds else "holds something that can't be told"
    raise Permanent(
        f"the cache disk {name} {what}, where ext4 or nothing is expected: it is left as it is\n"
        "next: attach an empty disk, or copy what is on this one and run wipefs --all on it",
        signatures.log,
    )


def _check(device: Path, name: str, world: World) -> None:
    result = world.run(Command(f"checking the disk {name}", ("e2fsck", "-p", str(device)), 3600))
    if result.code >= _FSCK_COULD_NOT:
        raise Temporary(f"the disk {name} can't be checked (e2fsck: {result.code})", result.log)
    if result.code >= _FSCK_LEFT_ERRORS:
        raise Permanent(
            f"the filesystem of the disk {name} is damaged beyond what repairs itself\n"
            f"next: run e2fsck {device} on the machine, or delete the disk: models are pulled anew",
            result.log,
        )


def _make_folders(world: World) -> None:
    paths = world.paths
    caddy = paths.data / "caddy"
    for folder, mode in (
        (paths.data, 0o755),
        (paths.data / "models", 0o755),
        (paths.hub, 0o755),
        (paths.build, 0o755),
        (caddy, 0o700),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
    # Users may have other numbers than on the machine that this one took the disk over from.
    for user, folder in ((GATEWAY_USER, caddy), (PULLING_USER, paths.hub)):
        words = ("chown", "--recursive", "--no-dereference", f"{user}:", str(folder))
        must(world.run, Command(f"giving {folder} to {user}", words, 600))
