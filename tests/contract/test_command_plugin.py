"""The plugin as a process and as a whole: what it says of itself, what it refuses, its end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import psutil
import pulumi_command
import pytest
from conftest import EMULATED, StartPlugin
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct
from plugin_client import Engine, Plugin, PluginFailure, call_in_background, eventually
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


def test_an_attached_engine_gets_the_log(start_plugin: StartPlugin):
    first, second = Engine(), Engine()
    plugin = start_plugin(engine=first)
    plugin.stub.Attach(plugin_pb2.PluginAttach(address=second.address))
    plugin.output("echo hi")
    assert [line.message for line in second.logged] == ["hi"]
    assert first.logged == []
    first.stop()
    second.stop()


def running(script_file: Path) -> bool:
    """Whether the process that wrote its id to SCRIPT_FILE still runs."""
    try:
        status = psutil.Process(int(script_file.read_text())).status()
    except psutil.NoSuchProcess:
        return False
    return status != psutil.STATUS_ZOMBIE


def slow(tmp_path: Path) -> dict:
    """A command that says when it runs, and would for five minutes."""
    return {"create": f"echo $$ > '{tmp_path}/id.tmp'; mv '{tmp_path}/id.tmp' '{tmp_path}/id'; "
            "exec sleep 300"}  # fmt: skip


def test_cancel_kills_the_running_command_and_lets_no_other_start(
    start_plugin: StartPlugin, tmp_path: Path
):
    plugin = start_plugin()
    call = call_in_background(lambda: plugin.create(slow(tmp_path)))
    assert eventually((tmp_path / "id").exists)
    plugin.cancel()
    failure = call.failure()
    assert failure.code == "UNKNOWN"
    assert failure.text.startswith("signal: killed: running")
    assert not running(tmp_path / "id")

    later = plugin.failure("touch ran", dir=str(tmp_path))
    assert later.code == "CANCELLED"
    assert later.text == 'context canceled: running "touch ran":\n'
    assert not (tmp_path / "ran").exists()
    assert plugin.check({"create": "a"}).inputs == {"create": "a"}
    plugin.cancel()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once(start_plugin: StartPlugin, number: signal.Signals):
    plugin = start_plugin()
    plugin.process.send_signal(number)
    plugin.process.wait(timeout=10)


@pytest.mark.skipif(
    not EMULATED, reason="the published plugin leaves its commands running when it is ended"
)
def test_no_command_outlives_a_signal(start_plugin: StartPlugin, tmp_path: Path):
    plugin = start_plugin()
    call = call_in_background(lambda: plugin.create(slow(tmp_path)))
    assert eventually((tmp_path / "id").exists)
    plugin.process.terminate()
    plugin.process.wait(timeout=10)
    assert call.failure().code in ("UNAVAILABLE", "CANCELLED", "UNKNOWN")
    assert eventually(lambda: not running(tmp_path / "id"))


@pytest.mark.skipif(not EMULATED, reason="the published plugin outlives an engine that was killed")
def test_nothing_outlives_a_lost_engine(start_plugin: StartPlugin, tmp_path: Path):
    engine = Engine()
    plugin = start_plugin(engine=engine)
    below = slow(tmp_path)["create"].replace("exec sleep", "sleep")
    script = f"sh -c '{below.replace(chr(39), '')}'; true"
    call = call_in_background(lambda: plugin.create({"create": script}))
    assert eventually((tmp_path / "id").exists)
    engine.stop()
    plugin.process.wait(timeout=30)
    assert call.failure().code in ("UNAVAILABLE", "CANCELLED", "UNKNOWN")
    assert eventually(lambda: not running(tmp_path / "id"))


@pytest.mark.skipif(not EMULATED, reason="the published plugin is no Python")
def test_without_the_python_package_it_says_what_is_missing(executable: list[str], tmp_path: Path):
    """A Python with grpc and pulumi but no pulumi_command: the version would be unknown."""
    code = (
        "import importlib.util as u, runpy, sys; find = u.find_spec; "
        "u.find_spec = lambda name, *rest: None if name == 'pulumi_command' else find(name, *rest);"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, executable[-1]],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "pulumi-command" in done.stderr
