"""The plugin's gRPC service: the engine's requests into the cloud's, and back."""

from __future__ import annotations

import json
from functools import partial
from typing import NoReturn, cast

import grpc
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import plugin_pb2, provider_pb2
from pulumi.runtime.proto.provider_pb2_grpc import ResourceProviderServicer

from emulator.plugin.changes import changed_paths
from emulator.plugin.difference import difference
from emulator.plugin.engine import Engine
from emulator.plugin.errors import NotImplementedHere, NotServed, answering
from emulator.plugin.values import (
    Properties,
    Property,
    Secret,
    Unknown,
    is_unknown,
    parse_struct,
    render_struct,
    reveal,
)

from .cloud import CloudError, Made, cloud
from .gke import CLUSTER, GET_CLUSTER, foreseen, looked_up
from .kind import Fields, Kind, Plain, Where, number, replaces
from .resources import PROJECT, TYPES


class GcpProvider(ResourceProviderServicer):
    """Serves the resource types of `resources.TYPES` at `version`."""

    def __init__(self, version: str, engine: Engine) -> None:
        self._version = version
        self._engine = engine
        self._where = Where("", "", "")

    def GetPluginInfo(self, request: Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        """Which version this stands in for."""
        return plugin_pb2.PluginInfo(version=self._version)

    def GetSchema(
        self, request: provider_pb2.GetSchemaRequest, context: grpc.ServicerContext
    ) -> provider_pb2.GetSchemaResponse:
        """The names of what is served."""
        resources: dict[str, dict[str, object]] = {token: {} for token in TYPES}
        return provider_pb2.GetSchemaResponse(
            schema=json.dumps({"name": "gcp", "version": self._version, "resources": resources})
        )

    def CheckConfig(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        """Takes every setting."""
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> provider_pb2.DiffResponse:
        """No setting replaces anything."""
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        """Takes project, region and zone."""
        with answering(context):
            settings = parse_struct(request.args)
            given = {name: str(reveal(settings.get(name)) or "") for name in vars(self._where)}
            self._where = Where(**given)
            return provider_pb2.ConfigureResponse(
                acceptSecrets=True, supportsPreview=True, acceptResources=True, acceptOutputs=False
            )

    def Attach(self, request: plugin_pb2.PluginAttach, context: grpc.ServicerContext) -> Empty:
        """Takes the engine of whoever debugs the plugin."""
        self._engine.attach(request.address)
        return Empty()

    def Cancel(self, request: Empty, context: grpc.ServicerContext) -> Empty:
        """Every call is short."""
        return Empty()

    def Check(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        """Refuses types that aren't served; what a served one takes is the published plugin's."""
        with answering(context):
            self._kind(request.urn)
            return provider_pb2.CheckResponse(inputs=request.news)

    def Diff(
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> provider_pb2.DiffResponse:
        """Compares inputs with what the cloud has."""
        with answering(context):
            kind = self._kind(request.urn)
            new = parse_struct(request.news)
            state = parse_struct(request.olds)
            old = parse_struct(request.old_inputs)
            # What a refresh has found changed in the world differs from what is wanted.
            if "desiredStatus" in new and "currentStatus" in state:
                old = {**old, "desiredStatus": state["currentStatus"]}
            for name in request.ignoreChanges:
                if name in old:
                    new[name] = old[name]
            return difference(changed_paths(old, new), partial(replaces, kind))

    def Create(
        self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CreateResponse:
        """Makes the resource; in a preview, what the cloud would add is left unknown."""
        with answering(context):
            inputs = parse_struct(request.properties)
            token = _token(request.urn)
            if request.preview:
                shown = foreseen(inputs, None) if token == CLUSTER else inputs
                return provider_pb2.CreateResponse(properties=render_struct(shown))
            made = cloud().create(token, _plain(inputs), self._where)
            return provider_pb2.CreateResponse(
                id=made.identity, properties=render_struct(_outputs(inputs, made))
            )

    def Read(
        self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ReadResponse:
        """What the cloud has; no id where the resource is gone."""
        with answering(context):
            self._kind(request.urn)
            made = cloud().read(_token(request.urn), request.id)
            if made is None:
                return provider_pb2.ReadResponse()
            # What is there may have been made by an update that was killed, or be imported.
            known = parse_struct(request.inputs)
            inputs = _as_secret_as(known, cast("Properties", dict(made.inputs)))
            return provider_pb2.ReadResponse(
                id=made.identity,
                inputs=render_struct(inputs),
                properties=render_struct(_outputs(inputs, made)),
            )

    def Update(
        self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.UpdateResponse:
        """Changes the resource in place."""
        with answering(context):
            inputs = parse_struct(request.news)
            token = _token(request.urn)
            if request.preview:
                state = parse_struct(request.olds)
                shown = foreseen(inputs, state) if token == CLUSTER else inputs
                return provider_pb2.UpdateResponse(properties=render_struct({**state, **shown}))
            made = cloud().update(token, request.id, _plain(inputs), self._where)
            return provider_pb2.UpdateResponse(properties=render_struct(_outputs(inputs, made)))

    def Delete(self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext) -> Empty:
        """Removes the resource."""
        with answering(context):
            self._kind(request.urn)
            cloud().delete(_token(request.urn), request.id)
            return Empty()

    def Invoke(
        self, request: provider_pb2.InvokeRequest, context: grpc.ServicerContext
    ) -> provider_pb2.InvokeResponse:
        """Tells a project's number, and what a cluster is."""
        with answering(context):
            asked = _plain(parse_struct(request.args))
            if request.tok == PROJECT:
                project = str(asked.get("projectId") or self._where.project)
                answer: Fields = {"projectId": project, "number": number(project)}
            elif request.tok == GET_CLUSTER:
                answer = self._cluster(asked)
            else:
                raise NotServed(
                    f"{request.tok} is not served: this stand-in knows {PROJECT} and {GET_CLUSTER}"
                )
            response = provider_pb2.InvokeResponse()
            getattr(response, "return").CopyFrom(render_struct(cast("Properties", answer)))
            return response

    def _cluster(self, asked: Fields) -> Fields:
        project = asked.get("project") or self._where.project
        location = asked.get("location") or self._where.zone
        identity = f"projects/{project}/locations/{location}/clusters/{asked['name']}"
        made = cloud().read(CLUSTER, identity)
        if made is None:
            raise CloudError(f"{identity} not found")
        return {**looked_up({**made.inputs, **made.added}), "id": made.identity}

    def Handshake(
        self, request: provider_pb2.ProviderHandshakeRequest, context: grpc.ServicerContext
    ) -> NoReturn:
        """Configure says all that there is to agree on."""
        with answering(context):
            raise NotImplementedHere("Handshake is not implemented")
        raise AssertionError  # abort has raised

    def _kind(self, urn: str) -> Kind:
        token = _token(urn)
        if token not in TYPES:
            raise NotServed(
                f"{token} is not served: this plugin is a stand-in for tests that knows "
                f"{', '.join(sorted(TYPES))}"
            )
        return TYPES[token]


def _token(urn: str) -> str:
    return urn.split("::", 3)[2].rpartition("$")[2]


def _plain(properties: Properties) -> Fields:
    """The inputs as the cloud gets them: opened, and all known."""
    return {name: _opened(value) for name, value in properties.items()}


def _opened(value: Property) -> Plain:
    match value:
        case Secret(inner):
            return _opened(inner)
        case list():
            return [_opened(item) for item in value]
        case dict():
            return {name: _opened(item) for name, item in value.items()}
        case Unknown():
            raise NotImplementedHere("an input is unknown outside of a preview")
        case bool() | int() | float() | str() | None:
            return value
        case _:
            raise NotImplementedHere("assets are not taken")


def _as_secret_as(known: Properties, found: Properties) -> Properties:
    """What the cloud has, secret where the state has it secret."""
    return {
        name: Secret(value) if isinstance(known.get(name), Secret) else value
        for name, value in found.items()
    }


def _outputs(inputs: Properties, made: Made) -> Properties:
    """What the engine gets: the inputs, as secret as they came, and what the cloud added."""
    known = {name: value for name, value in inputs.items() if not is_unknown(value)}
    outputs = {**known, **cast("Properties", made.added)}
    for name in ("secretData", "privateKey"):
        if name in outputs:
            outputs[name] = Secret(reveal(outputs[name]))
    return outputs
