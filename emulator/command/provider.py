"""The plugin's gRPC service: requests into properties, results and failures into answers."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable
from functools import partial
from typing import NoReturn

import grpc
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import plugin_pb2, provider_pb2
from pulumi.runtime.proto.provider_pb2_grpc import ResourceProviderServicer

from emulator.plugin.changes import Path, changed_paths
from emulator.plugin.difference import difference
from emulator.plugin.engine import Engine
from emulator.plugin.errors import NotImplementedHere, NotServed, answering
from emulator.plugin.values import Properties, parse_struct, render_struct

from . import commands, outputs
from .commands import Shell
from .execution import Processes
from .properties import (
    COMMAND_INPUTS,
    COMMAND_OUTPUTS,
    REPLACING,
    RUN_INPUTS,
    Fault,
    faults,
    refuse_faults,
)
from .schema import schema

_RESOURCE = "local:Command"
_FUNCTION = "local:run"
_FRAMEWORK = {"__pulumi-go-provider-version": "1.2.0"}
"""What the published plugin puts into the state of its provider.

With it, a stack that changes from one plugin to the other shows no change.
"""


class CommandProvider(ResourceProviderServicer):
    """Serves `command:local:Command` and `command:local:run` at VERSION to ENGINE."""

    def __init__(self, version: str, engine: Engine, processes: Processes) -> None:
        self._version = version
        self._engine = engine
        self._processes = processes
        self._gets_old_inputs = False

    # The plugin as a whole

    def GetPluginInfo(self, request: Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        """Which version this stands in for."""
        return plugin_pb2.PluginInfo(version=self._version)

    def GetSchema(
        self, request: provider_pb2.GetSchemaRequest, context: grpc.ServicerContext
    ) -> provider_pb2.GetSchemaResponse:
        """What is served, with no word on what isn't."""
        return provider_pb2.GetSchemaResponse(schema=schema(self._version))

    def CheckConfig(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        """The provider has no settings: what comes is kept."""
        with answering(context):
            settings = parse_struct(request.news)
            return provider_pb2.CheckResponse(inputs=render_struct({**settings, **_FRAMEWORK}))

    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        """Agrees with the engine on what the messages hold."""
        self._gets_old_inputs = request.sends_old_inputs and request.sends_old_inputs_to_delete
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, acceptResources=True, acceptOutputs=True
        )

    def Attach(self, request: plugin_pb2.PluginAttach, context: grpc.ServicerContext) -> Empty:
        """Takes the engine of whoever debugs the plugin."""
        self._engine.attach(request.address)
        return Empty()

    def Cancel(self, request: Empty, context: grpc.ServicerContext) -> Empty:
        """Kills the running commands, and lets none start any more."""
        self._processes.cancel()
        return Empty()

    # The resource

    def Check(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        """Finds unknown names and wrong types; there are no defaults."""
        with self._answering_for(request.urn, context):
            inputs = parse_struct(request.news)
            found = faults(inputs, COMMAND_INPUTS)
            return provider_pb2.CheckResponse(
                inputs=render_struct(inputs if found else outputs.checked(inputs)),
                failures=[_failure(fault) for fault in found],
            )

    def Diff(
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> provider_pb2.DiffResponse:
        """Compares inputs with inputs."""
        with self._answering_for(request.urn, context):
            state = parse_struct(request.olds)
            old = (
                parse_struct(request.old_inputs)
                if self._gets_old_inputs
                else {name: state[name] for name in COMMAND_INPUTS if name in state}
            )
            new = _with_ignored(parse_struct(request.news), state, request.ignoreChanges)
            return difference(changed_paths(old, new), _replaces)

    def Create(
        self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CreateResponse:
        """Runs `create`."""
        with self._answering_for(request.urn, context):
            made = commands.create(
                parse_struct(request.properties),
                self._shell(request.urn, request.timeout),
                preview=request.preview,
            )
            return provider_pb2.CreateResponse(
                id=commands.new_id(_name(request.urn)), properties=render_struct(made)
            )

    def Read(
        self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ReadResponse:
        """Gives back what the engine has: a command leaves nothing that could be read."""
        with self._answering_for(request.urn, context):
            inputs = parse_struct(request.inputs)
            state = parse_struct(request.properties)
            refuse_faults(inputs, COMMAND_INPUTS)
            refuse_faults(state, COMMAND_OUTPUTS)
            return provider_pb2.ReadResponse(
                id=request.id, properties=render_struct(state), inputs=render_struct(inputs)
            )

    def Update(
        self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.UpdateResponse:
        """Runs `update`, else `create`."""
        with self._answering_for(request.urn, context):
            state = parse_struct(request.olds)
            updated = commands.update(
                _with_ignored(parse_struct(request.news), state, request.ignoreChanges),
                state,
                self._shell(request.urn, request.timeout),
                preview=request.preview,
            )
            return provider_pb2.UpdateResponse(properties=render_struct(updated))

    def Delete(self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext) -> Empty:
        """Runs `delete`."""
        with self._answering_for(request.urn, context):
            commands.delete(
                parse_struct(request.properties), self._shell(request.urn, request.timeout)
            )
            return Empty()

    # The function

    def Invoke(
        self, request: provider_pb2.InvokeRequest, context: grpc.ServicerContext
    ) -> provider_pb2.InvokeResponse:
        """Runs `command`, in previews too."""
        with answering(context):
            if _without_package(request.tok) != _FUNCTION:
                raise self._not_served(request.tok)
            arguments = parse_struct(request.args)
            if found := faults(arguments, RUN_INPUTS, required=("command",)):
                return provider_pb2.InvokeResponse(failures=[_failure(fault) for fault in found])
            script = commands.text(arguments, "command") or ""
            results = commands.execute(script, arguments, {}, self._shell("", 0))
            returned = {**outputs.all_passed_on(arguments), **results}
            response = provider_pb2.InvokeResponse()
            getattr(response, "return").CopyFrom(render_struct(returned))
            return response

    # What the engine may ask for, and does without

    def Handshake(
        self, request: provider_pb2.ProviderHandshakeRequest, context: grpc.ServicerContext
    ) -> NoReturn:
        """Configure says all that there is to agree on."""
        _not_implemented("Handshake", context)

    def Parameterize(
        self, request: provider_pb2.ParameterizeRequest, context: grpc.ServicerContext
    ) -> NoReturn:
        """There is nothing to parameterize."""
        _not_implemented("Parameterize", context)

    def DiffConfig(
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> NoReturn:
        """The provider has no settings."""
        _not_implemented("DiffConfig", context)

    def Construct(
        self, request: provider_pb2.ConstructRequest, context: grpc.ServicerContext
    ) -> NoReturn:
        """There are no components."""
        _not_implemented("Construct", context)

    def Call(self, request: provider_pb2.CallRequest, context: grpc.ServicerContext) -> NoReturn:
        """There are no methods."""
        _not_implemented("Call", context)

    def List(self, request: provider_pb2.ListRequest, context: grpc.ServicerContext) -> NoReturn:
        """Commands can't be listed."""
        _not_implemented("List", context)

    def GetMapping(
        self, request: provider_pb2.GetMappingRequest, context: grpc.ServicerContext
    ) -> NoReturn:
        """There is nothing to convert from."""
        _not_implemented("GetMapping", context)

    def GetMappings(
        self, request: provider_pb2.GetMappingsRequest, context: grpc.ServicerContext
    ) -> NoReturn:
        """There is nothing to convert from."""
        _not_implemented("GetMappings", context)

    def _shell(self, urn: str, limit_seconds: float) -> Shell:
        # The engine's limits are whole seconds; 0 is none.
        return Shell(self._processes, partial(self._engine.log, urn), int(limit_seconds) or None)

    @contextlib.contextmanager
    def _answering_for(self, urn: str, context: grpc.ServicerContext) -> Generator[None]:
        with answering(context):
            kind = urn.split("::", 3)[2].rpartition("$")[2]
            if _without_package(kind) != _RESOURCE:
                raise self._not_served(kind)
            yield

    def _not_served(self, token: str) -> NotServed:
        return NotServed(
            f"{token} is not served: this plugin is a stand-in that knows command:{_RESOURCE} and "
            f"command:{_FUNCTION} only. For the rest, install the published one where the internet "
            f"can be reached: pulumi plugin install resource command {self._version} --reinstall"
        )


def _not_implemented(name: str, context: grpc.ServicerContext) -> NoReturn:
    with answering(context):
        raise NotImplementedHere(f"{name} is not implemented")
    raise AssertionError  # abort has raised


def _without_package(token: str) -> str:
    return token.partition(":")[2]


def _name(urn: str) -> str:
    return urn.split("::", 3)[3]


def _failure(fault: Fault) -> provider_pb2.CheckFailure:
    return provider_pb2.CheckFailure(property=fault.property, reason=fault.reason)


def _with_ignored(new: Properties, state: Properties, ignored: Iterable[str]) -> Properties:
    return {**new, **{name: state[name] for name in ignored if name in state}}


def _replaces(path: Path) -> bool:
    """Whether a change at PATH replaces the resource: only `triggers` as a whole does."""
    return path == (REPLACING,)
