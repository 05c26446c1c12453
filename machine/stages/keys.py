"""Stage `keys`: what the machine gets by its identity, and the name that the endpoint has."""

from __future__ import annotations

from machine.config import Config
from machine.errors import Temporary
from machine.files import write_whole
from machine.google import CloudError
from machine.keys import refresh
from machine.world import World

_PATIENCE_SECONDS = 120.0
"""How long a fresh permission may take to spread, seldom more
(cloud.google.com/iam/docs/access-change-propagation). Then the stage fails, and is tried again."""
_PAUSE_SECONDS = 5.0


def run(config: Config, world: World) -> str:
    """Have the hashes of the keys, the authority, and the host's name; raises `Temporary`."""
    deadline = world.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            host = config.domain or world.google.external_address()
            refreshed = refresh(config, world)
        except CloudError as error:
            if world.monotonic() + _PAUSE_SECONDS > deadline:
                raise Temporary(f"{error.message}\nnext: {_next(config, error)}") from None
            world.say(f"{error.message}; asking again")
            world.sleep(_PAUSE_SECONDS)
            continue
        if not host:
            raise Temporary("the machine has no external address\nnext: run up again")
        write_whole(world.paths.host, f"LLM_ENDPOINT_HOST={host}\n")
        many = f"{len(refreshed.names)} key{'s' if len(refreshed.names) > 1 else ''}"
        return f"{many} ({', '.join(refreshed.names)}) for {host}"


def _next(config: Config, error: CloudError) -> str:
    secrets = " and ".join(name for name in (config.keys_secret, config.ca_secret) if name)
    match error.status:
        case 401 | 403:
            return (
                "give the machine's service account roles/secretmanager.secretAccessor on "
                f"{secrets} (up does); it is tried again by itself"
            )
        case 404:
            return f"see that {secrets} have a version (up makes it); it is tried again by itself"
        case _:
            return "it is tried again by itself; if it stays, see whether the machine has a network"
