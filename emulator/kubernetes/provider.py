"""The plugin's gRPC service: the engine's requests into the API server's, and back."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Generator
from functools import cached_property
from typing import NoReturn, cast

import grpc
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import plugin_pb2, provider_pb2, status_pb2
from pulumi.runtime.proto.provider_pb2_grpc import ResourceProviderServicer

from emulator.plugin.engine import Engine
from emulator.plugin.errors import NotImplementedHere, NotServed, PluginError, answering
from emulator.plugin.values import Properties, parse_struct, render_struct, reveal

from . import configuration, differences
from .api import Api, ApiError, Kind, NoSuchKind, Object, Unreachable
from .configuration import Settings
from .kubeconfig import KubeconfigError, connection, parse
from .objects import (
    MANAGER,
    annotation,
    as_secret_as,
    checkpoint,
    from_checkpoint,
    holds_unknown,
    identity,
    normalized,
    opened,
    pruned,
)
from .ownership import CREATOR, PREFIX, taken_over
from .waiting import NotReady, await_gone, await_ready, unready

_ATTEMPTS = 6
"""At making what its namespace or its definition is not there yet for."""


class KubernetesProvider(ResourceProviderServicer):
    """Serves every kind of object that the cluster has, at `version`."""

    def __init__(self, version: str, engine: Engine) -> None:
        self._version = version
        self._engine = engine
        self._settings = Settings()
        self._cancelled = threading.Event()

    def GetPluginInfo(self, request: Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        """Which version this stands in for."""
        return plugin_pb2.PluginInfo(version=self._version)

    def GetSchema(
        self, request: provider_pb2.GetSchemaRequest, context: grpc.ServicerContext
    ) -> provider_pb2.GetSchemaResponse:
        """The package's name: its kinds are the cluster's."""
        schema = f'{{"name": "kubernetes", "version": "{self._version}", "resources": {{}}}}'
        return provider_pb2.GetSchemaResponse(schema=schema)

    def CheckConfig(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        """Takes every setting."""
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> provider_pb2.DiffResponse:
        """Says whether the objects are of another cluster."""
        with answering(context):
            return configuration.compare(parse_struct(request.olds), parse_struct(request.news))

    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        """Takes the settings; the cluster is asked once it is needed."""
        with answering(context):
            self._settings = Settings.of(parse_struct(request.args), os.environ)
            return provider_pb2.ConfigureResponse(
                acceptSecrets=True, supportsPreview=True, acceptResources=False, acceptOutputs=False
            )

    def Attach(self, request: plugin_pb2.PluginAttach, context: grpc.ServicerContext) -> Empty:
        """Takes the engine of whoever debugs the plugin."""
        self._engine.attach(request.address)
        return Empty()

    def Cancel(self, request: Empty, context: grpc.ServicerContext) -> Empty:
        """Ends every wait."""
        self._cancelled.set()
        return Empty()

    def Check(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        """Names what has no name, and encodes a Secret's text; refuses lists and patches."""
        with answering(context):
            given = parse_struct(request.news)
            declared = normalized(opened(given))
            kind = _kind_of(request.urn)
            if kind.kind.endswith(("List", "Patch")) or Kind.of(declared) != kind:
                raise NotServed(
                    f"{kind.api_version} {kind.kind} is not served as {Kind.of(declared)}: this "
                    "plugin is a stand-in for tests that knows objects, not lists or patches"
                )
            before = opened(parse_struct(request.olds))
            _give_name(declared, before, request.urn, bytes(request.randomSeed))
            return provider_pb2.CheckResponse(inputs=render_struct(as_secret_as(declared, given)))

    def Diff(
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> provider_pb2.DiffResponse:
        """Compares what is declared now with what is live of what was."""
        with answering(context):
            was, live = from_checkpoint(parse_struct(request.olds))
            before = cast("Object", pruned(normalized(live), normalized(was)))
            after = normalized(opened(parse_struct(request.news)))
            settings = self._settings
            replaced_by = differences.replacing(
                after, config_maps=settings.config_maps, secrets=settings.secrets
            )
            return differences.compare(before, after, replaced_by, request.ignoreChanges)

    def Create(
        self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CreateResponse:
        """Makes the object and waits for it; a preview asks the server what it would make."""
        given = parse_struct(request.properties)
        declared, manager = opened(given), _manager(opened(given), {})
        with self._answering(context, given, declared, manager):
            if not request.preview:
                live = await_ready(
                    self._api, self._made(declared), declared, request.timeout, self._cancelled
                )
                return provider_pb2.CreateResponse(
                    id=identity(live),
                    properties=render_struct(checkpoint(declared, live, given, manager)),
                )
            live = self._tried(declared)
            if live is None:
                return provider_pb2.CreateResponse(properties=request.properties)
            live.pop("status", None)
            return provider_pb2.CreateResponse(
                properties=render_struct(checkpoint(declared, live, given, manager))
            )

    def Read(
        self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ReadResponse:
        """What the cluster has of what was declared; no id where the object is gone."""
        state, given = parse_struct(request.properties), parse_struct(request.inputs)
        declared = normalized(opened(given)) or from_checkpoint(state)[0]
        manager = _manager(declared, state)
        with self._answering(context, given, declared, manager, request.id):
            namespace, _, name = request.id.rpartition("/")
            try:
                live = self._api.get(_kind_of(request.urn), namespace, name)
            except NoSuchKind:
                live = None
            except Unreachable as error:
                self._forget_or_raise(error)
                live = None
            if live is None:
                return provider_pb2.ReadResponse()
            inputs = cast("Object", pruned(live, declared)) if declared else _imported(live)
            # What is only being imported may still be on its way.
            lacks = unready(self._api, live, declared) if declared else None
            if lacks:
                raise NotReady(live, lacks)
            return provider_pb2.ReadResponse(
                id=request.id,
                inputs=render_struct(as_secret_as(inputs, given)),
                properties=render_struct(checkpoint(inputs, live, given, manager)),
            )

    def Update(
        self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.UpdateResponse:
        """Applies what is declared and waits for it."""
        state, given = parse_struct(request.olds), parse_struct(request.news)
        declared, manager = normalized(opened(given)), _manager(opened(given), state)
        with self._answering(context, given, declared, manager):
            if request.preview and not self._can_try(declared):
                return provider_pb2.UpdateResponse(properties=request.news)
            live = self._applied(declared, manager, request.preview)
            if not request.preview:
                live = await_ready(self._api, live, declared, request.timeout, self._cancelled)
            return provider_pb2.UpdateResponse(
                properties=render_struct(checkpoint(declared, live, given, manager))
            )

    def Delete(self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext) -> Empty:
        """Deletes the object and what it owns, and waits until it is gone."""
        state = parse_struct(request.properties)
        declared, live = from_checkpoint(state)
        with self._answering(context, state, declared, _manager(declared, state)):
            kind, (namespace, _, name) = Kind.of(live), request.id.rpartition("/")
            policy = annotation(declared, "deletionPropagationPolicy") or "Foreground"
            try:
                self._api.delete(kind, namespace, name, policy)
                await_gone(self._api, live, declared, request.timeout, self._cancelled)
            except NoSuchKind:
                return Empty()
            except Unreachable as error:
                self._forget_or_raise(error)
            return Empty()

    def Invoke(
        self, request: provider_pb2.InvokeRequest, context: grpc.ServicerContext
    ) -> provider_pb2.InvokeResponse:
        """Nothing: Helm and YAML are not served."""
        with answering(context):
            raise NotServed(f"{request.tok} is not served: this stand-in has no function")
        raise AssertionError  # abort has raised

    def Handshake(
        self, request: provider_pb2.ProviderHandshakeRequest, context: grpc.ServicerContext
    ) -> NoReturn:
        """Configure says all that there is to agree on."""
        with answering(context):
            raise NotImplementedHere("Handshake is not implemented")
        raise AssertionError  # abort has raised

    @cached_property
    def _api(self) -> Api:
        try:
            settings = self._settings
            api = Api(connection(parse(settings.kubeconfig), settings.context))
            api.reach()
        except (KubeconfigError, Unreachable) as error:
            raise Unreachable(f"configured Kubernetes cluster is unreachable: {error}") from None
        return api

    def _forget_or_raise(self, error: Unreachable) -> None:
        """Return where objects of a cluster that is gone are to be forgotten."""
        if not self._settings.delete_unreachable:
            raise Unreachable(
                f"{error}. If the cluster was deleted, you can remove this resource from Pulumi "
                "state by rerunning the operation with the PULUMI_K8S_DELETE_UNREACHABLE "
                'environment variable set to "true"'
            ) from None

    def _can_try(self, declared: Object) -> bool:
        """Whether the server can tell, before the update, what it would make of the object."""
        try:
            return not holds_unknown(declared) and self._api.has(Kind.of(declared))
        except Unreachable:
            return False

    def _made(self, declared: Object) -> Object:
        """Make the object; what its namespace or its definition is not there for is tried again."""
        pause_seconds = 0.1
        for attempt in range(_ATTEMPTS):
            try:
                return self._api.create(declared, manager=CREATOR, dry_run=False)
            except (ApiError, NoSuchKind) as error:
                absent = isinstance(error, NoSuchKind) or error.code == 404
                if not absent or attempt == _ATTEMPTS - 1 or self._cancelled.wait(pause_seconds):
                    raise PluginError(
                        f"resource {identity(declared)} was not successfully created by the "
                        f"Kubernetes API server: {error}"
                    ) from None
                pause_seconds *= 2
        raise AssertionError  # the last attempt has returned or raised

    def _tried(self, declared: Object) -> Object | None:
        """What the server would make; None where only the update can tell."""
        if holds_unknown(declared):
            return None
        try:
            return self._api.create(declared, manager=CREATOR, dry_run=True)
        except (NoSuchKind, Unreachable):
            return None
        except ApiError as error:
            # The namespace, or the object that is to be replaced, stands in the way for now.
            if error.reason in ("AlreadyExists", "NotFound", "Forbidden"):
                return None
            raise

    def _applied(self, declared: Object, manager: str, preview: bool) -> Object:
        namespace, _, name = identity(declared).rpartition("/")
        live = self._api.get(Kind.of(declared), namespace, name)
        if live is None:
            raise ApiError(404, "NotFound", f"{identity(declared)} not found")
        forced = self._settings.forced or annotation(declared, "patchForce") == "true"
        changes = taken_over(live, manager)
        if changes and not preview:
            self._api.patch(Kind.of(declared), namespace, name, changes)
        force = forced or (preview and bool(changes))
        try:
            return self._api.apply(declared, manager=manager, force=force, dry_run=preview)
        except ApiError as error:
            if error.reason != "Conflict":
                raise
            raise ApiError(
                error.code,
                error.reason,
                "server-side apply field conflict detected: the resource managed by field manager "
                f'"{manager}" had an apply conflict: {error}',
            ) from None

    @contextlib.contextmanager
    def _answering(
        self,
        context: grpc.ServicerContext,
        given: Properties,
        declared: Object,
        manager: str,
        known_as: str = "",
    ) -> Generator[None]:
        """End the call as `answering` does; what is there and not ready goes into the state."""
        with answering(context):
            try:
                yield
            except NotReady as error:
                state = checkpoint(declared, error.live, given, manager)
                detail = provider_pb2.ErrorResourceInitFailed(
                    id=known_as or identity(error.live),
                    properties=render_struct(state),
                    reasons=[str(error)],
                    inputs=render_struct(as_secret_as(declared, given)),
                )
                status = status_pb2.Status(
                    code=grpc.StatusCode.UNKNOWN.value[0], message=str(error)
                )
                status.details.add().Pack(detail)
                context.set_trailing_metadata(
                    (("grpc-status-details-bin", status.SerializeToString()),)
                )
                raise


def _kind_of(urn: str) -> Kind:
    """The kind that a resource's type names: `kubernetes:apps/v1:Deployment`."""
    _, version, kind = urn.split("::", 3)[2].rpartition("$")[2].split(":")
    return Kind(version.removeprefix("core/"), kind)


def _manager(declared: Object, state: Properties) -> str:
    chosen = annotation(declared, "patchFieldManager") or str(reveal(state.get(MANAGER)) or "")
    return chosen or PREFIX + secrets.token_hex(4)


def _give_name(declared: Object, before: Object, urn: str, seed: bytes) -> None:
    """Name what the program has not: as it was named, else after its resource."""
    metadata = dict(cast("Object", declared.get("metadata") or {}))
    if metadata.get("name"):
        return
    if annotation(before, "autonamed") == "true":
        name = cast("Object", before["metadata"])["name"]
    else:
        name = f"{urn.rpartition('::')[2]}-{(seed or os.urandom(4)).hex()[:8]}"
    annotations = cast("Object", metadata.get("annotations") or {})
    declared["metadata"] = {
        **metadata,
        "name": name,
        "annotations": {**annotations, "pulumi.com/autonamed": "true"},
    }


def _imported(live: Object) -> Object:
    """The inputs of an object that was declared nowhere yet."""
    return {name: value for name, value in normalized(live).items() if name != "status"}
