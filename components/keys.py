"""API keys: each is made once by a command, never by the program, which runs at every `up`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

import pulumi
from pulumi_command import local

from components.rendering.process import Variable

# A command whose text alone has changed has done its work: it repeats what it printed.
REPEAT = f"printf '%s\\n' \"${Variable.PRINTED}\""


def api_keys(
    name: str, generations: Mapping[str, int], python: Sequence[str], parent: pulumi.Resource
) -> dict[str, local.Command]:
    """Return, by a key's name, the command `NAME-key-KEY` that printed it: its stdout is secret.

    A key's generation is the only thing that makes another: that trigger replaces the command,
    and any other change only repeats. `python` starts Python with this project's packages.
    """
    return {
        key: local.Command(
            f"{name}-key-{key}",
            create=shlex.join([*python, "-m", "scripts.serve", "new-key"]),
            update=REPEAT,
            triggers=[generation],
            logging=local.Logging.NONE,
            opts=pulumi.ResourceOptions(parent=parent, additional_secret_outputs=["stdout"]),
        )
        for key, generation in generations.items()
    }
