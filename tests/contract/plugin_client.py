"""A provider plugin as a process, and the calls that the engine makes to it.

Nothing here comes from `emulator`: values go over the wire as JSON-like objects, so that the
tests say the same of the stand-in and of the published plugin.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.protobuf import json_format
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, provider_pb2, provider_pb2_grpc

Json = bool | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
Object = Mapping[str, Json]

SIGNATURE = "4dabf18193072939515e22adb298388d"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
ASSET = "c44067f5952c0a294b673a41bacd8c17"
ARCHIVE = "0def7320c3a5731c473e5ecbe6d01bc7"
SECRET_UNKNOWN: Json = {SIGNATURE: "d0e6a833031e9bbcd3f4e8bde6ca49a4", "secret": True}

EMULATED = os.environ.get("EMULATED", "1") != "0"
"""Whether the plugin is the stand-in; see conftest.py."""

CALL_SECONDS = 60
_ANY_SIZE = [("grpc.max_receive_message_length", -1), ("grpc.absolute_max_metadata_size", 1 << 24)]


def secret(value: Json) -> Json:
    """VALUE as a secret."""
    return {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270", "value": value}


def text_asset(text: str, digest: str) -> Json:
    return {SIGNATURE: ASSET, "text": text, "hash": digest}


def urn(name: str = "named", kind: str = "command:local:Command") -> str:
    return f"urn:pulumi:stack::project::{kind}::{name}"


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether CONDITION comes true within SECONDS."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


class PluginFailure(Exception):
    """A call that the plugin answered with an error."""

    def __init__(self, error: grpc.RpcError) -> None:
        self.code: str = error.code().name
        self.text: str = error.details() or ""
        super().__init__(f"{self.code}: {self.text}")


class Engine(engine_pb2_grpc.EngineServicer):
    """What a plugin needs of the engine: an address, and a place for log lines."""

    def __init__(self) -> None:
        self.logged: list[engine_pb2.LogRequest] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        engine_pb2_grpc.add_EngineServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Log(self, request: engine_pb2.LogRequest, context: grpc.ServicerContext) -> Empty:
        self.logged.append(request)
        return Empty()

    def stop(self) -> None:
        self._server.stop(None).wait()


@dataclass(frozen=True)
class Checked:
    inputs: Object
    faults: dict[str, str]
    """Reasons by property."""


@dataclass(frozen=True)
class Created:
    id: str
    outputs: Object


@dataclass(frozen=True)
class Difference:
    changes: bool
    detailed: dict[str, str]
    """Kinds of change by path."""
    properties: set[str]
    replacing: set[str]
    deletes_first: bool


@dataclass(frozen=True)
class Returned:
    value: Object
    faults: dict[str, str]


class Plugin:
    """A running plugin. Every call ends within a minute; errors come as `PluginFailure`."""

    def __init__(
        self,
        executable: Sequence[str],
        engine: Engine,
        *,
        folder: Path,
        environment: Mapping[str, str],
        flags: Sequence[str] = (),
        old_inputs: bool = True,
    ) -> None:
        # As the engine starts one: in a process group of its own.
        self.process = subprocess.Popen(
            [*executable, *flags, engine.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env=environment,
            process_group=0,
        )
        self.engine = engine
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", options=_ANY_SIZE)
        self.stub = provider_pb2_grpc.ResourceProviderStub(channel)
        self.configured = self.stub.Configure(
            provider_pb2.ConfigureRequest(
                acceptSecrets=True,
                acceptResources=True,
                sends_old_inputs=old_inputs,
                sends_old_inputs_to_delete=old_inputs,
                args=Struct(),
            ),
            timeout=CALL_SECONDS,
        )

    def close(self) -> None:
        """Kills the plugin."""
        self.process.kill()
        self.process.communicate()

    def check(self, inputs: Object, kind: str = "command:local:Command") -> Checked:
        request = provider_pb2.CheckRequest(urn=urn(kind=kind), news=_struct(inputs))
        answer = _called(self.stub.Check, request)
        return Checked(_object(answer.inputs), _faults(answer.failures))

    def diff(
        self, old: Object, new: Object, *, state: Object | None = None, ignore: Sequence[str] = ()
    ) -> Difference:
        request = provider_pb2.DiffRequest(
            id="an-id",
            urn=urn(),
            olds=_struct(state if state is not None else {**old, "stdout": "", "stderr": ""}),
            news=_struct(new),
            old_inputs=_struct(old),
            ignoreChanges=ignore,
        )
        answer = _called(self.stub.Diff, request)
        assert answer.hasDetailedDiff
        kinds = provider_pb2.PropertyDiff.Kind
        return Difference(
            changes=answer.changes == provider_pb2.DiffResponse.DIFF_SOME,
            detailed={path: kinds.Name(it.kind) for path, it in answer.detailedDiff.items()},
            properties=set(answer.diffs),
            replacing=set(answer.replaces),
            deletes_first=answer.deleteBeforeReplace,
        )

    def create(
        self,
        inputs: Object,
        *,
        preview: bool = False,
        limit_seconds: float = 0,
        name: str = "named",
        kind: str = "command:local:Command",
    ) -> Created:
        request = provider_pb2.CreateRequest(
            urn=urn(name, kind), properties=_struct(inputs), preview=preview, timeout=limit_seconds
        )
        answer = _called(self.stub.Create, request)
        return Created(answer.id, _object(answer.properties))

    def output(self, script: str, **inputs: Json) -> str:
        """What SCRIPT prints as the `create` of a command with INPUTS."""
        stdout = self.create({"create": script, **inputs}).outputs["stdout"]
        assert isinstance(stdout, str)
        return stdout

    def failure(self, script: str, **inputs: Json) -> PluginFailure:
        """How SCRIPT fails as the `create` of a command with INPUTS."""
        try:
            made = self.create({"create": script, **inputs})
        except PluginFailure as failure:
            return failure
        raise AssertionError(f"it did not fail: {made}")

    def read(self, state: Object, inputs: Object) -> tuple[str, Object, Object]:
        """Id, state and inputs."""
        request = provider_pb2.ReadRequest(
            id="an-id", urn=urn(), properties=_struct(state), inputs=_struct(inputs)
        )
        answer = _called(self.stub.Read, request)
        return answer.id, _object(answer.properties), _object(answer.inputs)

    def update(
        self,
        state: Object,
        inputs: Object,
        *,
        preview: bool = False,
        ignore: Sequence[str] = (),
    ) -> Object:
        request = provider_pb2.UpdateRequest(
            id="an-id",
            urn=urn(),
            olds=_struct(state),
            news=_struct(inputs),
            preview=preview,
            ignoreChanges=ignore,
        )
        return _object(_called(self.stub.Update, request).properties)

    def delete(self, state: Object) -> None:
        request = provider_pb2.DeleteRequest(id="an-id", urn=urn(), properties=_struct(state))
        _called(self.stub.Delete, request)

    def invoke(self, arguments: Object, token: str = "command:local:run") -> Returned:
        request = provider_pb2.InvokeRequest(tok=token, args=_struct(arguments))
        answer = _called(self.stub.Invoke, request)
        return Returned(_object(getattr(answer, "return")), _faults(answer.failures))

    def cancel(self) -> None:
        _called(self.stub.Cancel, Empty())


StartPlugin = Callable[..., Plugin]
"""Takes what `Plugin` takes, each with a default."""


class InBackground:
    """A call that runs in a thread of its own and is expected to fail."""

    def __init__(self, call: Callable[[], Created]) -> None:
        executor = futures.ThreadPoolExecutor(1)
        self._future = executor.submit(call)
        executor.shutdown(wait=False)

    def failure(self) -> PluginFailure:
        """The failure in which the call ended."""
        error = self._future.exception(timeout=CALL_SECONDS)
        assert isinstance(error, PluginFailure), error
        return error


def _called(method, request):
    try:
        return method(request, timeout=CALL_SECONDS)
    except grpc.RpcError as error:
        raise PluginFailure(error) from None


def _struct(value: Mapping[str, Json]) -> Struct:
    return json_format.ParseDict(dict(value), Struct())


def _object(struct: Struct) -> Object:
    tidied = _tidied(json_format.MessageToDict(struct))
    assert isinstance(tidied, dict)
    return tidied


def _tidied(value: Json) -> Json:
    """VALUE without the empty fields of assets and archives: absent or "" is the same there."""
    if isinstance(value, list):
        return [_tidied(item) for item in value]
    if not isinstance(value, dict):
        return value
    special = value.get(SIGNATURE) in (ASSET, ARCHIVE)
    return {key: _tidied(item) for key, item in value.items() if not (special and item == "")}


def _faults(failures: Sequence[provider_pb2.CheckFailure]) -> dict[str, str]:
    found = {failure.property: failure.reason for failure in failures}
    assert len(found) == len(failures)
    return found
