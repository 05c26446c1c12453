"""API keys and our certificate authority, from Secret Manager to where the gateway reads them.

`python3 -m machine.keys`, run each minute, takes up keys that were added and drops those that are
gone. A read that fails leaves everything as it was.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from machine.commands import Command, must
from machine.config import Config
from machine.errors import StageError, Temporary
from machine.files import write_whole
from machine.world import World, this_machine

CADDY_UNIT = "llm-endpoint-caddy-run.service"
"""Gets the authority as credentials when it starts, so that a new one needs a restart."""


@dataclass(frozen=True)
class Refreshed:
    """The names of the keys that hold now, and whether keys or authority are others than before."""

    names: tuple[str, ...]
    keys_changed: bool
    authority_changed: bool


def refresh(config: Config, world: World) -> Refreshed:
    """Read the secrets and write what the gateway needs of them.

    Raises `CloudError` where they can't be read, and `Temporary` where they hold something else:
    a next version may be right.
    """
    hashes = read_keys(world.google.secret(config.keys_secret), config.keys_secret)
    authority_changed = False
    if config.ca_secret is not None:
        authority = read_authority(world.google.secret(config.ca_secret), config.ca_secret)
        authority_changed = _write_authority(world, *authority)
    text = json.dumps(hashes, sort_keys=True) + "\n"
    keys_changed = not _holds(world.paths.keys, text)
    if keys_changed:
        write_whole(world.paths.keys, text)
    return Refreshed(tuple(sorted(hashes)), keys_changed, authority_changed)


def read_keys(secret: bytes, name: str) -> dict[str, str]:
    """Return the sha256 of each key by the key's name, from the secret called `name`."""
    entries = _texts(secret, name)
    if not entries:
        raise Temporary(
            f"the secret {name} holds no key\nnext: name at least one in the config key keys"
        )
    return {key_name: hashlib.sha256(key.encode()).hexdigest() for key_name, key in entries.items()}


def read_authority(secret: bytes, name: str) -> tuple[str, str]:
    """Return certificate and key of our authority, both PEM, from the secret called `name`."""
    entries = _texts(secret, name)
    certificate, key = entries.get("certificate", ""), entries.get("key", "")
    if not (certificate.startswith("-----BEGIN ") and key.startswith("-----BEGIN ")):
        raise Temporary(
            f"the secret {name} holds no certificate and key in PEM\n"
            "next: run up again, which makes the authority where it is missing"
        )
    return certificate, key


def _texts(secret: bytes, name: str) -> dict[str, str]:
    """Read a JSON object of texts. No exception of the reader goes on: it may quote its text."""
    try:
        content: object = json.loads(secret)
    except ValueError:
        content = None
    entries = cast("dict[str, object]", content) if isinstance(content, dict) else {"": None}
    if not all(key and value and isinstance(value, str) for key, value in entries.items()):
        raise Temporary(
            f"the secret {name} is not a JSON object with texts\n"
            "next: run up again; who changed it by hand writes a further version of it"
        ) from None
    return {key: str(value) for key, value in entries.items()}


def _write_authority(world: World, certificate: str, key: str) -> bool:
    folder = world.paths.ca
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    changed = False
    for file, text in (("key.pem", key), ("certificate.pem", certificate)):
        if not _holds(folder / file, text):
            write_whole(folder / file, text, 0o600)
            changed = True
    return changed


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, ValueError):
        return False


def again(config: Config, world: World) -> str | None:
    """Read the secrets once more, and have Caddy take up a new authority.

    Returns the line to log; None where nothing is new.
    """
    try:
        refreshed = refresh(config, world)
    except StageError as error:
        return f"keys stay as they were: {error.message.splitlines()[0]}"
    # Kept until it has happened: the next read finds the authority unchanged.
    owed = world.paths.run / "caddy-restart"
    if refreshed.authority_changed:
        owed.touch()
    if owed.exists():
        restart = Command("restarting Caddy", ("systemctl", "try-restart", CADDY_UNIT))
        try:
            must(world.run, restart)
        except StageError as error:
            return (
                f"the certificate authority is another one now: {error.message}; again in a minute"
            )
        owed.unlink()
        return "the certificate authority is another one now: Caddy was restarted"
    return f"keys are now: {', '.join(refreshed.names)}" if refreshed.keys_changed else None


def main() -> int:
    """Run once; returns 0 also where a secret could not be read, which the next minute mends."""
    world = this_machine(print)
    try:
        config = Config.load(world.paths.config)
    except StageError as error:
        print(error.message, file=sys.stderr)
        return 1
    line = again(config, world)
    if line is not None:
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
