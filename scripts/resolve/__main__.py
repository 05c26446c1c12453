"""`python -m scripts.resolve STACK [--has-machine]`: what STACK names loosely, looked up.

Prints one JSON object: configuration keys with the values to record, none where there is nothing
to record. `container_image` and `runtime_image` get the digest of their tag, `image` the boot image
that its family stands for now, as long as the stack has no machine: `--has-machine` says that it
has one, else Compute Engine is asked. Exit status 1 where something that is needed can't be looked
up. scripts/up starts it, in the virtual environment of cloud stacks, and records what it prints.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from components.container_images import pinned_colab_image
from components.settings import ConfigurationError
from scripts.bootstrap.recording import HAS_MACHINE
from scripts.gcp.credentials import CredentialsError, find
from scripts.gcp.rest import ApiError, from_environment
from scripts.resolve import boot_images, container_images
from scripts.resolve.errors import ResolveError
from scripts.stack_file import file_of, raw_values
from stacks import HERE, Program, choose
from stacks.gcp_vm import base_name

_USAGE = f"usage: python -m scripts.resolve STACK [{HAS_MACHINE}]"
_ATTEMPTS = 2


def resolve(
    stack: str, folder: Path, environment: Mapping[str, str], *, has_machine: bool
) -> dict[str, str]:
    """Return the keys of `stack`, whose file lies in `folder`, with the values to record.

    A program without containers has none, and one without machines of its own no boot image.
    Raises `ResolveError`, `ConfigurationError`.
    """
    raw = raw_values(file_of(stack, folder))
    program = _program(raw, stack)
    fields = program.schema.model_fields
    if "container_image" not in fields:
        return {}
    # Raw, since the program refuses what is looked up here.
    values = {**program.defaults(), **raw}
    found: dict[str, str] = {}
    container = values.get("container_image")
    pinned = container_images.pinned(None if container is None else str(container), stack)
    if pinned is not None:
        found["container_image"] = pinned
    if "runtime_image" in fields:
        runtime = _runtime_image(values.get("runtime_image"), stack)
        if runtime is not None:
            found["runtime_image"] = runtime
    if "image" not in fields:
        return found
    family = boot_images.family_of(str(values.get("image", fields["image"].default)))
    if family is not None and not has_machine:
        image = _boot_image(family, stack, values, environment)
        if image is not None:
            found["image"] = image
    return found


def _program(raw: Mapping[str, object], stack: str) -> Program:
    try:
        return choose(raw, stack.rsplit("/", 1)[-1])
    except ConfigurationError as error:
        # Its last words are the command for the stack that is selected, and here that is another.
        raise ConfigurationError(
            f"{error} --stack {stack}\n"
            f"    before that, where there is no such stack: scripts/pulumi stack init {stack}"
        ) from None


def _runtime_image(configured: object, stack: str) -> str | None:
    """Return the Colab runtime's image with its digest; None where there is nothing to record.

    The pinned one is named by its tag as long as nobody has pinned its digest, and is that of a
    dated release: where its registry can't be asked, it is taken as it is. Raises `ResolveError`
    for one of the person's own.
    """
    if configured is not None:
        return container_images.pinned(str(configured), stack, key="runtime_image")
    try:
        return container_images.pinned(pinned_colab_image(), stack, key="runtime_image")
    except ResolveError as error:
        print(f"note: the runtime's image stays a tag: {error}", file=sys.stderr)
        return None


def _boot_image(
    family: str, stack: str, values: Mapping[str, object], environment: Mapping[str, str]
) -> str | None:
    """Return what `family` stands for; None where a machine is there, or nobody tells."""
    project, zone = values.get("gcp:project"), values.get("gcp:zone")
    if project is None or zone is None:
        # The program says what is not set.
        return None
    name = base_name(stack.rsplit("/", 1)[-1])
    try:
        api = from_environment(find(environment), environment, attempts=_ATTEMPTS)
        if boot_images.has_machine(api, str(project), str(zone), name):
            return None
        return boot_images.newest(api, family, stack)
    except (ApiError, CredentialsError, ValueError) as error:
        why = error.problem if isinstance(error, CredentialsError) else error
        print(
            f"note: image stays the family {family}, whose image changes with time: Compute Engine "
            f"can't be asked ({why})",
            file=sys.stderr,
        )
        return None


def main(arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> int:
    """Print what is to be recorded; return the exit status."""
    names = [word for word in arguments if not word.startswith("-")]
    if len(names) != 1 or set(arguments) - {*names, HAS_MACHINE}:
        print(_USAGE, file=sys.stderr)
        return 2
    try:
        found = resolve(names[0], folder, environment, has_machine=HAS_MACHINE in arguments)
    except (ResolveError, ConfigurationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ, HERE))
