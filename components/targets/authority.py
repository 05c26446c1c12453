"""The certificate authority of one endpoint, made once by a command as its keys are."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

import pulumi
from pulumi_command import local

from components.keys import REPEAT
from components.rendering.process import Variable


def own_authority(
    name: str, host: pulumi.Input[str], python: Sequence[str], parent: pulumi.Resource
) -> local.Command:
    """Return the command `NAME-ca` that printed an authority which can sign for `host` alone.

    `host` is an address or a name, or several with spaces between them, and another one makes
    another authority. Its stdout is secret: the JSON object of `scripts.own_ca`.
    """
    return local.Command(
        f"{name}-ca",
        create=shlex.join([*python, "-m", "scripts.own_ca"]),
        update=REPEAT,
        environment={Variable.ADDRESS: host},
        triggers=[host],
        logging=local.Logging.NONE,
        opts=pulumi.ResourceOptions(parent=parent, additional_secret_outputs=["stdout"]),
    )


def certificate(printed: pulumi.Output[str]) -> pulumi.Output[str]:
    """Return the certificate in what the command printed, in the clear: it is there to be shown.

    The key beside it stays secret.
    """
    return pulumi.Output.unsecret(printed.apply(lambda text: json.loads(text)["certificate"]))
