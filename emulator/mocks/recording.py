"""A mock engine that keeps each registration as it was sent: parent, options, secretness.

It answers `command:local:Command` as the published plugin does: only the outputs that the options
name are secret besides the inputs. With `taints` any secret input makes every output secret, as
the plugin's framework does by default. Resources of Google Cloud are answered with what their
plugin computes, which is not known in a preview.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import pulumi
from google.protobuf import json_format, struct_pb2
from pulumi.runtime import mocks, settings
from pulumi.runtime.proto import resource_pb2, source_pb2

from emulator.mocks.computed import FOUND_CLUSTER, computed

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


@dataclass(frozen=True)
class Registration:
    """One resource as the program registered it. Secrets stand in `inputs` as sent on the wire."""

    token: str
    name: str
    parent: str
    inputs: Mapping[str, object]
    delete_before_replace: bool
    additional_secret_outputs: tuple[str, ...]
    protect: bool
    retain_on_delete: bool
    ignore_changes: tuple[str, ...]
    replace_on_changes: tuple[str, ...]
    provider: str
    """Name of the provider that it was given, "" for the default one."""
    version: str
    """Version of the provider's plugin that it asks for, "" for any."""
    dependencies: frozenset[str]
    """Names of what it comes after, by its inputs or by `depends_on`."""
    input_dependencies: Mapping[str, frozenset[str]]
    """Names of the resources that each input was made from."""

    def is_secret(self, *path: str) -> bool:
        """Whether the input at `path` is secret, itself or by what holds it."""
        value: object = self.inputs
        for step in path:
            if _is_secret(value):
                return True
            value = _mapping(value)[step]
        return _is_secret(value)

    def depends_on(self) -> frozenset[str]:
        """Names of what it comes after although none of its inputs is made from it."""
        return self.dependencies - frozenset().union(*self.input_dependencies.values())

    def plain(self) -> Mapping[str, object]:
        """The inputs with every secret opened."""
        return _mapping(_open(self.inputs))

    def without_secrets(self) -> object:
        """The inputs with every secret hidden: what a state file and a log would show."""
        return _hide(self.inputs)


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r} holds nothing by a name")
    return value


def _is_secret(value: object) -> bool:
    return isinstance(value, Mapping) and value.get(SIGNATURE) == SECRET


def _open(value: object) -> object:
    if isinstance(value, Mapping):
        if _is_secret(value):
            return _open(value["value"])
        return {key: _open(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_open(inner) for inner in value]
    return value


def _hide(value: object) -> object:
    if _is_secret(value):
        return "[secret]"
    if isinstance(value, Mapping):
        return {key: _hide(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_hide(inner) for inner in value]
    return value


def _holds_secret(value: object) -> bool:
    if _is_secret(value):
        return True
    if isinstance(value, Mapping):
        return any(_holds_secret(inner) for inner in value.values())
    return isinstance(value, list) and any(_holds_secret(inner) for inner in value)


def _names(urns: Iterable[str]) -> frozenset[str]:
    return frozenset(urn.rsplit("::", 1)[-1] for urn in urns)


def _provider_name(reference: str) -> str:
    """Return the name in a reference to a provider, `URN::ID`."""
    return reference.split("::")[3] if reference else ""


class RecordingMonitor(mocks.MockMonitor):
    """Answers registrations; `stdout` says what a command prints, by its resource's name.

    None is what is not known yet, as in a preview.
    """

    def __init__(
        self,
        stdout: Callable[[str, Mapping[str, object]], str | None],
        *,
        taints: bool,
        preview: bool,
    ) -> None:
        super().__init__(_OnlyTheProject())
        self._stdout = stdout
        self._taints = taints
        self._preview = preview
        self.registrations: list[Registration] = []
        # By the component's type without its package.
        self.component_outputs: dict[str, Mapping[str, object]] = {}

    def RegisterResource(self, request):
        """Keep what is registered, and answer as the engine would."""
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == "pulumi:pulumi:Stack":
            return resource_pb2.RegisterResourceResponse(urn=urn)
        inputs = json_format.MessageToDict(request.object)
        self.registrations.append(
            Registration(
                token=request.type,
                name=request.name,
                parent=request.parent.rsplit("::", 1)[-1],
                inputs=inputs,
                delete_before_replace=request.deleteBeforeReplace,
                additional_secret_outputs=tuple(request.additionalSecretOutputs),
                protect=request.protect,
                retain_on_delete=request.retainOnDelete,
                ignore_changes=tuple(request.ignoreChanges),
                replace_on_changes=tuple(request.replaceOnChanges),
                provider=_provider_name(request.provider),
                version=request.version,
                dependencies=_names(request.dependencies),
                input_dependencies={
                    name: _names(made.urns) for name, made in request.propertyDependencies.items()
                },
            )
        )
        outputs = dict(inputs)
        if request.type == "command:local:Command":
            opened = _mapping(_open(inputs))
            printed: object = self._stdout(request.name, opened) or UNKNOWN
            tainted = self._taints and _holds_secret(inputs)
            secret = tainted or "stdout" in request.additionalSecretOutputs
            outputs["stdout"] = {SIGNATURE: SECRET, "value": printed} if secret else printed
            outputs["stderr"] = ""
        if request.type.startswith("gcp:"):
            found = computed(request.type, request.name, inputs)
            outputs |= dict.fromkeys(found, UNKNOWN) if self._preview else found
        if request.type.startswith("kubernetes:"):
            uid = {**_mapping(inputs["metadata"]), "uid": f"{request.name}-uid"}
            outputs["metadata"] = UNKNOWN if self._preview else uid
        answer = struct_pb2.Struct()
        json_format.ParseDict(outputs, answer)
        identity = f"{request.name}-id" if request.custom and not self._preview else ""
        return resource_pb2.RegisterResourceResponse(urn=urn, id=identity, object=answer)

    def RegisterResourceOutputs(self, request):
        """Keep a component's outputs."""
        kind = request.urn.split("::")[2].rpartition(":")[2]
        self.component_outputs[kind] = json_format.MessageToDict(request.outputs)
        return super().RegisterResourceOutputs(request)


class _OnlyTheProject(mocks.Mocks):
    def call(self, args):  # pyright: ignore[reportIncompatibleMethodOverride]
        if args.token == "gcp:organizations/getProject:getProject":  # noqa: S105
            return {"id": args.args["projectId"], "number": "123456789012"}
        if args.token == "gcp:container/getCluster:getCluster":  # noqa: S105
            return FOUND_CLUSTER
        raise AssertionError(f"no function is expected to be called, and {args.token} was")

    def new_resource(self, args):
        raise AssertionError("the monitor answers registrations itself")


@dataclass(frozen=True)
class Seen:
    """What came of an output: its value, whether it is secret, and whether it is known yet."""

    value: object
    secret: bool
    known: bool


@dataclass(frozen=True)
class Run:
    """Everything that one run of a program registered and returned."""

    registrations: Mapping[str, Registration]
    outputs: Mapping[str, Seen]
    component_outputs: Mapping[str, Mapping[str, object]]


@contextmanager
def _only_what_is_recorded() -> Iterator[None]:
    """Leave out what costs half of a run and of which nothing is kept.

    That is the stack trace of each registration, and the search for garbage among the hundreds of
    thousands of objects of a cloud's package.
    """
    collected = gc.isenabled()
    gc.disable()
    try:
        with patch("pulumi.runtime.resource._get_stack_trace", source_pb2.StackTrace):
            yield
    finally:
        if collected:
            gc.enable()


def run(
    program: Callable[[], Mapping[str, object]],
    stdout: Callable[[str, Mapping[str, object]], str | None],
    stack: str = "local",
    *,
    preview: bool = False,
    taints: bool = False,
) -> Run:
    """Run `program` under the recording engine until all of its registrations have drained."""
    asyncio.set_event_loop(asyncio.new_event_loop())
    # Else the stack of the run before would be the parent.
    settings.ROOT.set(None)
    monitor = RecordingMonitor(stdout, taints=taints, preview=preview)
    pulumi.runtime.set_mocks(
        monitor.mocks, project="llm-endpoint", stack=stack, preview=preview, monitor=monitor
    )
    seen: dict[str, Seen] = {}

    @pulumi.runtime.test
    def drained() -> object:
        async def look(name: str, value: object) -> None:
            output = pulumi.Output.from_input(value)
            known = await output.is_known()
            value = await output.future() if known else None
            seen[name] = Seen(value, await output.is_secret(), known)

        async def look_at_all(outputs: Mapping[str, object]) -> None:
            for name, value in outputs.items():
                await look(name, value)

        return asyncio.ensure_future(look_at_all(program()))

    with _only_what_is_recorded():
        drained()
    by_name = {f"{entry.token}:{entry.name}": entry for entry in monitor.registrations}
    if len(by_name) != len(monitor.registrations):
        raise AssertionError("two resources of one type share a name")
    return Run(by_name, seen, monitor.component_outputs)
