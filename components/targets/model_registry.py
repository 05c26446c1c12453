"""A model registry in a bucket: the models uploaded to it, and the proof that they are there."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import pulumi
from pulumi_command import local

from components.rendering.process import Variable


@dataclass(frozen=True)
class Upload:
    """One version of a model, as `NAME@VERSION`, and the folder that it is uploaded from.

    `digest` is that of the folder's content.
    """

    model: str
    folder: str
    digest: str


class ModelRegistryArgs(TypedDict):
    """What `ModelRegistry` takes."""

    url: pulumi.Input[str]
    """Where it lies, known once its bucket is there: `gs://…`, or `s3://…`."""
    identity: pulumi.Input[str]
    """Changes when its bucket is another one, and then has nothing of what was uploaded."""
    credentials: Mapping[str, pulumi.Input[str]]
    """Environment variables by which storage is asked, besides the deployer's own. Secret."""
    uploads: Sequence[Upload]
    """What is uploaded. What is not listed any more stays in the registry."""
    python: Sequence[str]
    """The command that starts Python with this project's packages on the deployer's machine."""


class ModelRegistry(pulumi.ComponentResource):
    """Models in a bucket, each of which was read back with its checksums.

    A version that is in the registry never changes: an upload of other content is refused. Its
    outputs are known once all of it was checked.
    """

    url: pulumi.Output[str]
    """Where it lies, as other programs' `registry` takes it."""
    receipt: pulumi.Output[Mapping[str, object]]
    """What the check found."""

    def __init__(
        self, name: str, args: ModelRegistryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        shown = {"uploads": [upload.model for upload in args["uploads"]]}
        super().__init__("llm-endpoint:registry:ModelRegistry", name, shown, opts)
        uploads = [self._push(name, upload, args) for upload in args["uploads"]]
        check = local.Command(
            f"{name}-check",
            create=_command(args, "check"),
            environment=_environment(args),
            triggers=[args["identity"], *(upload.id for upload in uploads)],
            # The receipt is shown as an output; the log gets the progress.
            logging=local.Logging.STDERR,
            opts=pulumi.ResourceOptions(parent=self),
        )
        # A plugin may lay the credentials' secretness on it; a receipt has no credential.
        self.receipt = pulumi.Output.unsecret(check.stdout).apply(_read)
        self.url = pulumi.Output.all(args["url"], self.receipt).apply(lambda both: both[0])
        self.register_outputs({"url": self.url, "receipt": self.receipt})

    def _push(self, name: str, upload: Upload, args: ModelRegistryArgs) -> local.Command:
        """Return the command that uploads one version; it goes on where it was killed."""
        return local.Command(
            f"{name}-upload-{upload.model.replace('@', '-')}",
            create=_command(args, "push"),
            environment={
                **_environment(args),
                Variable.UPLOADS: json.dumps([{"model": upload.model, "folder": upload.folder}]),
            },
            triggers=[args["identity"], upload.digest],
            logging=local.Logging.STDERR,
            opts=pulumi.ResourceOptions(parent=self),
        )


def _command(args: ModelRegistryArgs, word: str) -> str:
    return shlex.join([*args["python"], "-m", "scripts.model_registry", word, "--json"])


def _environment(args: ModelRegistryArgs) -> dict[str, pulumi.Input[str]]:
    return {**args["credentials"], Variable.REGISTRY: args["url"]}


def _read(stdout: str) -> Mapping[str, object]:
    return json.loads(stdout)
