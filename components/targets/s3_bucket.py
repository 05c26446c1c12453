"""A bucket in storage that speaks S3, made by a command: such storage has no one provider."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi
from pulumi_command import local

from components.keys import REPEAT
from components.rendering.process import Variable
from components.targets.order import once


class S3BucketArgs(TypedDict):
    """What `S3Bucket` takes."""

    url: str
    """`s3://BUCKET[/FOLDER][?endpoint=URL&region=REGION]`."""
    identity: str
    """Which bucket that is, whatever else `url` says: another text is another bucket."""
    credentials: Mapping[str, pulumi.Input[str]]
    """Environment variables by which storage is asked, besides the deployer's own. Secret."""
    python: Sequence[str]
    """The command that starts Python with this project's packages on the deployer's machine."""
    keep_data: NotRequired[bool]
    """Refuse to delete the bucket until this is unset again. Otherwise it goes with all that is in
    it."""


class S3Bucket(pulumi.ComponentResource):
    """A private bucket in storage that speaks S3, with versions where that storage knows them."""

    url: pulumi.Output[str]
    """Known once the bucket is there."""
    identity: pulumi.Output[str]
    """Changes when it is another bucket."""

    def __init__(
        self, name: str, args: S3BucketArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("llm-endpoint:s3:S3Bucket", name, {"bucket": args["url"]}, opts)
        keep_data = args.get("keep_data", False)
        made = local.Command(
            f"{name}-bucket",
            create=_command(args, "make"),
            # What it is asked with may change, and not which bucket it is.
            update=REPEAT,
            delete=_command(args, "unmake"),
            environment={
                **args["credentials"],
                Variable.REGISTRY: args["url"],
                Variable.FORCE_DESTROY: "" if keep_data else "1",
            },
            triggers=[args["identity"]],
            logging=local.Logging.STDERR,
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=keep_data,
                # A bucket may have two endpoints: deleted last, it would go with what is new there.
                delete_before_replace=True,
            ),
        )
        self.url = once(args["url"], made.id)
        self.identity = made.id
        self.register_outputs({"url": self.url})


def _command(args: S3BucketArgs, word: str) -> str:
    return shlex.join([*args["python"], "-m", "scripts.model_registry", word, "--json"])
