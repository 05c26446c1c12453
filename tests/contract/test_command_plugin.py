"""The plugin as a process and as a whole: what it says of itself, what it refuses, its end."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import grpc
import psutil
import pulumi_command
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct
from plugin_client import (
    EMULATED,
    Engine,
    InBackground,
    Plugin,
    PluginFailure,
    StartPlugin,
    eventually,
)
from pulumi.runtime.proto import plugin_pb2, provider_pb2

PACKAGE = Path(pulumi_command.__file__).parent
PROVIDER = "urn:pulumi:stack::project::pulumi:providers:command::default_1_2_1"


def test_its_version_is_the_one_that_the_python_package_asks_for(plugin: Plugin):
    wanted = json.loads((PACKAGE / "pulumi-plugin.json").read_text())["version"]
    assert plugin.stub.GetPluginInfo(Empty()).version == wanted


def test_it_takes_secrets_resources_outputs_and_previews(plugin: Plugin):
    configured = plugin.configured
    assert configured.acceptSecrets
    assert configured.acceptResources
    assert configured.acceptOutputs
    assert configured.supportsPreview


def test_what_it_puts_into_its_providers_state_is_the_same_in_both(plugin: Plugin):
    """So a stack can change from one plugin to the other without a change."""
    settings = Struct()
    settings.update({"version": "1.2.1"})
    answer = plugin.stub.CheckConfig(provider_pb2.CheckRequest(urn=PROVIDER, news=settings))
    assert dict(answer.inputs.items()) == {
        "version": "1.2.1", "__pulumi-go-provider-version": "1.2.0",
    }  # fmt: skip
    assert not answer.failures


def test_its_schema_describes_what_is_served(plugin: Plugin):
    schema = json.loads(plugin.stub.GetSchema(provider_pb2.GetSchemaRequest()).schema)
    assert schema["name"] == "command"
    command = schema["resources"]["command:local:Command"]
    types = {name: it.get("type", it.get("$ref")) for name, it in command["properties"].items()}
    assert types == {
        "triggers": "array", "create": "string", "update": "string", "delete": "string",
        "stdin": "string", "logging": "#/types/command:local:Logging", "interpreter": "array",
        "dir": "string", "environment": "object", "assetPaths": "array", "archivePaths": "array",
        "addPreviousOutputInEnv": "boolean", "stdout": "string", "stderr": "string",
        "assets": "object", "archive": "pulumi.json#/Archive",
    }  # fmt: skip
    results = {"stdout", "stderr", "assets", "archive"}
    assert set(command["inputProperties"]) == set(types) - results
    assert command["inputProperties"]["triggers"]["replaceOnChanges"]
    assert set(command["required"]) == {"stdout", "stderr"}
    run = schema["functions"]["command:local:run"]
    assert set(run["inputs"]["properties"]) == (
        set(command["inputProperties"]) - {"triggers", "create", "update", "delete"} | {"command"}
    )
    assert run["inputs"]["required"] == ["command"]
    words = {it["value"] for it in schema["types"]["command:local:Logging"]["enum"]}
    assert words == {"stdout", "stderr", "stdoutAndStderr", "none"}


@pytest.mark.parametrize("name", ["Handshake", "Parameterize", "GetMapping", "GetMappings"])
def test_calls_that_it_does_without_are_not_implemented(plugin: Plugin, name: str):
    requests = {
        "Handshake": provider_pb2.ProviderHandshakeRequest(),
        "Parameterize": provider_pb2.ParameterizeRequest(),
        "GetMapping": provider_pb2.GetMappingRequest(),
        "GetMappings": provider_pb2.GetMappingsRequest(),
    }
    with pytest.raises(grpc.RpcError) as refused:
        getattr(plugin.stub, name)(requests[name])
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_its_provider_has_no_settings_to_compare(plugin: Plugin):
    with pytest.raises(grpc.RpcError) as refused:
        plugin.stub.DiffConfig(provider_pb2.DiffRequest(urn=PROVIDER))
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("kind", ["command:local:Other", "command:index:Command"])
def test_a_resource_that_does_not_exist_is_not_found(plugin: Plugin, kind: str):
    with pytest.raises(PluginFailure) as refused:
        plugin.create({}, kind=kind)
    assert refused.value.code == "NOT_FOUND"
    with pytest.raises(PluginFailure) as refused:
        plugin.check({}, kind=kind)
    assert refused.value.code == "NOT_FOUND"


def test_a_function_that_does_not_exist_is_not_found(plugin: Plugin):
    with pytest.raises(PluginFailure) as refused:
        plugin.invoke({}, "command:local:other")
    assert refused.value.code == "NOT_FOUND"


@pytest.mark.skipif(not EMULATED, reason="the published plugin serves them")
@pytest.mark.parametrize("kind", ["Command", "CopyToRemote", "CopyFile"])
def test_remote_resources_are_refused_with_the_way_to_the_published_plugin(
    plugin: Plugin, kind: str
):
    with pytest.raises(PluginFailure) as refused:
        plugin.create({}, kind=f"command:remote:{kind}")
    assert f"command:remote:{kind} is not served" in refused.value.text
    assert "stand-in" in refused.value.text
    assert "pulumi plugin install resource command 1.2.1" in refused.value.text


def test_logging_flags_of_the_engine_come_before_its_address(start_plugin: StartPlugin):
    engine = Engine()
    plugin = start_plugin(engine=engine, flags=["--logtostderr", "-v=1"])
    plugin.output("echo hi")
    assert [line.message for line in engine.logged] == ["hi"]
    engine.stop()


def test_an_attached_engine_gets_the_log(start_plugin: StartPlugin):
    first, second = Engine(), Engine()
    plugin = start_plugin(engine=first)
    plugin.stub.Attach(plugin_pb2.PluginAttach(address=second.address))
    plugin.output("echo hi")
    assert [line.message for line in second.logged] == ["hi"]
    assert first.logged == []
    first.stop()
    second.stop()


@pytest.fixture
def slow(tmp_path: Path) -> dict[str, str]:
    """A command that writes its process's id to `id` and would then run for five minutes."""
    script = "echo $$ > id.tmp; mv id.tmp id; exec sleep 300\n"
    (tmp_path / "slow.sh").write_text(script)
    return {"create": "exec sh slow.sh", "dir": str(tmp_path)}


def runs(id_file: Path) -> bool:
    """Whether the process whose id is in ID_FILE still runs."""
    try:
        status = psutil.Process(int(id_file.read_text())).status()
    except psutil.NoSuchProcess:
        return False
    return status != psutil.STATUS_ZOMBIE


def test_cancel_kills_the_running_command_and_lets_no_other_start(
    start_plugin: StartPlugin, slow: dict[str, str], tmp_path: Path
):
    plugin = start_plugin()
    call = InBackground(lambda: plugin.create(slow))
    assert eventually((tmp_path / "id").exists)
    plugin.cancel()
    failure = call.failure()
    assert failure.code == "UNKNOWN"
    assert failure.text == 'signal: killed: running "exec sh slow.sh":\n'
    assert not runs(tmp_path / "id")

    later = plugin.failure("touch ran", dir=str(tmp_path))
    assert later.code == "CANCELLED"
    assert later.text == 'context canceled: running "touch ran":\n'
    assert not (tmp_path / "ran").exists()
    assert plugin.check({"create": "a"}).inputs == {"create": "a"}
    plugin.cancel()


def test_cancel_kills_the_commands_own_process_and_waits_for_those_below(
    start_plugin: StartPlugin, slow: dict[str, str], tmp_path: Path
):
    """Those below are the engine's to end, by the plugin's process group."""
    plugin = start_plugin()
    call = InBackground(lambda: plugin.create({**slow, "create": "sh slow.sh; true"}))
    assert eventually((tmp_path / "id").exists)
    plugin.cancel()
    assert runs(tmp_path / "id")
    os.kill(int((tmp_path / "id").read_text()), signal.SIGKILL)
    assert call.failure().text.startswith("signal: killed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once(start_plugin: StartPlugin, number: signal.Signals):
    plugin = start_plugin()
    plugin.process.send_signal(number)
    plugin.process.wait(timeout=10)


@pytest.mark.skipif(
    not EMULATED, reason="the published plugin leaves its commands running when it is ended"
)
def test_no_command_outlives_a_signal(
    start_plugin: StartPlugin, slow: dict[str, str], tmp_path: Path
):
    plugin = start_plugin()
    call = InBackground(lambda: plugin.create(slow))
    assert eventually((tmp_path / "id").exists)
    plugin.process.terminate()
    plugin.process.wait(timeout=10)
    call.failure()
    assert eventually(lambda: not runs(tmp_path / "id"))


@pytest.mark.skipif(not EMULATED, reason="the published plugin outlives an engine that was killed")
def test_nothing_outlives_a_lost_engine(
    start_plugin: StartPlugin, slow: dict[str, str], tmp_path: Path
):
    engine = Engine()
    plugin = start_plugin(engine=engine)
    call = InBackground(lambda: plugin.create({**slow, "create": "sh slow.sh; true"}))
    assert eventually((tmp_path / "id").exists)
    engine.stop()
    plugin.process.wait(timeout=30)
    call.failure()
    assert eventually(lambda: not runs(tmp_path / "id"))


@pytest.mark.skipif(not EMULATED, reason="the published plugin knows its version")
def test_without_the_python_package_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch):
    from emulator.plugin import serving

    def find_nothing(name: str) -> None:
        return None

    monkeypatch.setattr(serving.importlib.util, "find_spec", find_nothing)
    with pytest.raises(FileNotFoundError, match="install pulumi-command"):
        serving.published_version("pulumi_command")
