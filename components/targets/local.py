"""The machine you sit at: an engine as a detached process on its loopback address."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import NotRequired, TypedDict

import pulumi
from pulumi_command import local

from components.compose import Place, form_for
from components.endpoint import StackOutputs, VerifiedEndpoint, parked_outputs
from components.keys import REPEAT, api_keys
from components.launch import Accelerator, Form, Launch
from components.rendering.process import LOG_NAME, RECORD_NAME, Variable, process_launch

PLACE = Place(
    "local",
    forms=(Form.PROCESS,),
    accelerators=frozenset({Accelerator.CPU}),
    has_gateway=False,
)


class LocalServerArgs(TypedDict):
    """What `LocalServer` takes."""

    launch: Launch
    """What serves: its program runs as a process of this machine."""
    model: str
    """The model reference that is pulled."""
    model_version: str
    """A text that changes with the content behind `model`, where that can be told beforehand."""
    embedding_model: NotRequired[str | None]
    """The id that answers `/v1/embeddings`, where one does."""
    stand_in: bool
    """Whether the model only stands in for a real one."""
    keys: Mapping[str, int]
    """Generation of each API key by its name; a new generation makes a new key."""
    server_build: str
    """Which build of the program runs: `wheel`, `path` or `native`."""
    server_package: str
    """The package and version of that build; a new one starts the server anew."""
    home: PurePath
    """Folder for the server's record, log and keys, relative to the checkout."""
    port: NotRequired[int | None]
    """TCP port, or None for the first free one from 8080 on."""
    replaces: str
    """A value that changes exactly when the server has died (`scripts.serve.identity`)."""
    python: Sequence[str]
    """The command that starts Python with this project's packages."""
    wait_seconds: int
    """Seconds that verification waits for the model to have loaded."""
    streams: int
    """Streams that verification runs at the same time."""
    min_tokens_per_second: NotRequired[float | None]
    """The floor below which a stream fails verification."""
    parked: NotRequired[bool]
    """Keep the keys and run nothing."""


class LocalServer(pulumi.ComponentResource):
    """A verified endpoint on 127.0.0.1, with a key, that outlives `up` and ends with `destroy`.

    It refuses a launch that can't run as a process on this machine's processor. It opens nothing
    to the network: plain HTTP on the loopback address, with the engine's own key check.
    """

    outputs: StackOutputs

    def __init__(
        self, name: str, args: LocalServerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        shown = {key: args[key] for key in ("model", "server_build", "server_package")}
        super().__init__("llm-endpoint:local:LocalServer", name, shown, opts)
        # There is one form here; asking refuses a launch that does not have it.
        form_for(args["launch"], PLACE)
        keys = api_keys(name, args["keys"], args["python"], self)
        home = self._home(name, args)
        if args.get("parked", False):
            self.outputs = parked_outputs(
                args["launch"],
                args.get("embedding_model"),
                {key: command.stdout for key, command in keys.items()},
                billing=(),
            )
        else:
            self.outputs = self._serve(name, args, keys, home)
        self.register_outputs({"state": self.outputs.state})

    def _home(self, name: str, args: LocalServerArgs) -> local.Command:
        """Make the server's folder, which a parked stack keeps with the port in it."""
        return local.Command(
            f"{name}-home",
            create=_serve_command(args, "home"),
            delete=_serve_command(args, "remove-home"),
            environment={Variable.HOME: str(args["home"])},
            # Another folder is another home: the old one goes when nothing runs in it any more.
            triggers=[str(args["home"])],
            logging=local.Logging.STDERR,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _serve(
        self,
        name: str,
        args: LocalServerArgs,
        keys: Mapping[str, local.Command],
        home: local.Command,
    ) -> StackOutputs:
        child = pulumi.ResourceOptions(parent=self)
        launch = args["launch"]
        port = args.get("port")
        model = local.Command(
            f"{name}-model",
            create=_serve_command(args, "pull"),
            environment={Variable.MODEL: args["model"]},
            triggers=[args["model"], args["model_version"]],
            logging=local.Logging.STDERR,
            opts=child,
        )
        order: dict[str, pulumi.Input[str]] = {
            Variable.HOME: home.stdout,
            Variable.PORT: "" if port is None else str(port),
            Variable.MODEL_FILE: model.stdout,
            Variable.LAUNCH: process_launch(launch).as_json(),
            Variable.SERVER_BUILD: args["server_build"],
        }
        # What can't be started is refused while the server that runs is still untouched.
        preflight = local.Command(
            f"{name}-preflight",
            create=_serve_command(args, "preflight"),
            update=REPEAT,
            environment=order,
            triggers=[
                home.stdout,
                order[Variable.PORT],
                model.stdout,
                launch.digest(),
                args["server_build"],
                args["server_package"],
            ],
            logging=local.Logging.STDERR,
            opts=child,
        )
        server = local.Command(
            f"{name}-server",
            create=_serve_command(args, "start"),
            delete=_serve_command(args, "stop"),
            environment={
                **order,
                Variable.REPLACES: args["replaces"],
                Variable.KEYS: pulumi.Output.json_dumps([key.stdout for key in keys.values()]),
            },
            # Ids stand for the keys: a trigger is no place for a secret.
            triggers=[preflight.id, args["replaces"], *(key.id for key in keys.values())],
            logging=local.Logging.STDERR,
            # The old server holds the port and the memory that the new one needs.
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        endpoint = VerifiedEndpoint(
            name,
            {
                "url": server.stdout.apply(_url),
                "keys": {key: command.stdout for key, command in keys.items()},
                "launch": launch,
                "verify": [*args["python"], "-m", "scripts.verify"],
                "triggers": [server.id, launch.digest()],
                "wait_seconds": args["wait_seconds"],
                "streams": args["streams"],
                "min_tokens_per_second": args.get("min_tokens_per_second"),
                "embedding_model": args.get("embedding_model"),
                "engine_package": args["server_package"],
                "stand_in": args["stand_in"],
                "process": str(args["home"] / RECORD_NAME),
                "log": str(args["home"] / LOG_NAME),
            },
            opts=child,
        )
        return endpoint.outputs


def _serve_command(args: LocalServerArgs, command: str) -> str:
    return shlex.join([*args["python"], "-m", "scripts.serve", command])


def _url(started: str) -> str:
    return f"http://127.0.0.1:{json.loads(started)['port']}"
