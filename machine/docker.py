"""Docker on this machine: that it answers, keeps containers where they belong, and has an image."""

from __future__ import annotations

from machine.commands import Command, Result
from machine.errors import Permanent, Temporary
from machine.world import World

SERVICE = "docker.service"
ENGINES_SLICE = "llm-endpoint-engines.slice"
"""What all servers run in: it bounds their memory, and keeps them off the network."""

SERVER_OPTIONS = (
    "--rm",
    "--pull=never",
    "--user=65534:65534",
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
"""Options of `docker run` for the bounds that servers have too."""

_INFO = "{{.ServerVersion}} {{.CgroupDriver}} {{.CgroupVersion}}"
_START_SECONDS = 120
_NO_IMAGE = "no such image"


def check(world: World) -> str:
    """Have Docker answer, started if need be, with containers in systemd's slices.

    Returns its version, such as 20.10.24+dfsg1. Raises `Temporary` where it does not answer, and
    `Permanent` where the slice of the servers would not hold a container: without it one can reach
    the network and the metadata server.
    """
    said = _ask(world)
    if said is None:
        world.say("starting Docker")
        start = ("systemctl", "start", SERVICE)
        started = world.run(Command("starting Docker", start, _START_SECONDS))
        said = _ask(world)
        if said is None:
            raise Temporary(
                f"Docker does not answer: systemctl start {SERVICE} ended with {started.code}\n"
                f"next: it is tried again by itself; if it stays, see the journal of {SERVICE}",
                (*started.log, *_journal(world)),
            )
    version, driver, cgroup = said
    if (driver, cgroup) != ("systemd", "2"):
        raise Permanent(
            f"Docker {version} puts containers into cgroups v{cgroup} by the driver {driver}, "
            f"where {ENGINES_SLICE} would not keep them off the network; it has to be the driver "
            "systemd with cgroups v2\n"
            "next: choose an image with cgroups v2: debian-12 or ubuntu-24.04 and their like "
            "(scripts/pulumi config set image NAME)"
        )
    show = ("systemctl", "show", "--property=IPAddressDeny", "--value", ENGINES_SLICE)
    denied = world.run(Command("asking what the servers' slice denies", show))
    if denied.code != 0:
        raise Temporary(f"systemd does not tell what {ENGINES_SLICE} denies", denied.log)
    if not denied.output.strip():
        raise Permanent(
            f"{ENGINES_SLICE} denies no addresses, so that containers could reach the network\n"
            "next: render the stack anew with the same version of this project as the machine has"
        )
    return version


def restart(world: World) -> None:
    """Restart Docker, which ends all containers. Raises `Temporary`."""
    words = ("systemctl", "restart", SERVICE)
    result = world.run(Command("restarting Docker", words, _START_SECONDS))
    if result.code != 0:
        raise Temporary(
            f"restarting Docker failed: systemctl ended with {result.code}",
            (*result.log, *_journal(world)),
        )


def inspect(image: str, template: str, world: World) -> str | None:
    """Return what the Go `template` gives for `image`; None where the image is not here.

    Raises `Temporary` where Docker can't tell.
    """
    words = ("docker", "image", "inspect", f"--format={template}", image)
    result = world.run(Command(f"looking for the image {image}", words))
    if result.code == 0:
        return result.output.strip()
    if _NO_IMAGE in result.errors.lower():
        return None
    raise Temporary(f"Docker does not tell whether it has the image {image}", result.log)


def _ask(world: World) -> tuple[str, str, str] | None:
    """Return Docker's version, cgroup driver and cgroup version; None where it does not answer."""
    words = ("docker", "info", f"--format={_INFO}")
    result: Result = world.run(Command("asking Docker how it runs", words))
    # Some versions end with 0 without an answer, and leave the values out.
    said = result.output.split()
    return (said[0], said[1], said[2]) if result.code == 0 and len(said) == 3 else None


def _journal(world: World) -> tuple[str, ...]:
    words = ("journalctl", f"--unit={SERVICE}", "--lines=20", "--output=cat", "--no-pager")
    return world.run(Command("reading Docker's journal", words)).log
