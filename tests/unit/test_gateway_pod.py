"""The gateway in a pod: its settings, the paths for the cluster alone, servers behind a Service."""

import asyncio
import json
import os
import signal
import socket
from copy import deepcopy
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from gateway_harness import (
    CHAT,
    KEY,
    ModelServer,
    Stream,
    asynchronous,
    bearer,
    gateway,
    write_keys,
)
from gateway_pod_harness import (
    ANSWER,
    OVMS_MODELS,
    READY,
    STATES,
    ovms,
    pod_gateway,
    says,
    states,
)

from machine.gateway import health, pod
from machine.gateway.settings import Limits, Settings, Upstream
from machine.paths import Paths
from machine.table import WrongError

CONFIG: dict[str, Any] = {
    "port": 8080,
    "host": "0.0.0.0",
    "front_port": 8443,
    "keys": "/etc/llm-endpoint/keys/keys.json",
    "activity": "/run/llm-endpoint/activity.json",
    "limits": {"active_requests": 4, "body_bytes": 10_000, "request_seconds": 30},
    "upstreams": [
        {
            "name": "chat",
            "origin": "http://chat.llm.svc.cluster.local:8000",
            "api_path": "/v3",
            "probe_path": "/v2/models/tiny/ready",
            "loading_status": 404,
            "state_path": "/v1/config",
        }
    ],
}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "_UNREADY_PAUSE_SECONDS", 0.01)


def test_the_settings_are_read_whole():
    settings = pod.parse(CONFIG)
    assert settings == pod.PodSettings(
        gateway=Settings(
            port=8080,
            upstreams=(
                Upstream(
                    "chat", "http://chat.llm.svc.cluster.local:8000", "/v3", READY, 404, STATES
                ),
            ),
            limits=Limits(active_requests=4, body_bytes=10_000, request_seconds=30),
            front_port=8443,
            host="0.0.0.0",
        ),
        keys=Path("/etc/llm-endpoint/keys/keys.json"),
        activity=Path("/run/llm-endpoint/activity.json"),
    )
    assert pod.parse({**CONFIG, "front_port": None}).gateway.front_port is None


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("port", "8080", "port has to be a whole number"),
        ("port", 70_000, "port is 70000, and has to be a port, 1 to 65535"),
        ("front_port", 0, "front_port is 0, and has to be a port"),
        ("host", "", "host is '', and has to be an address"),
        ("keys", "keys.json", "keys is 'keys.json', and has to be an absolute path"),
        ("prot", 8080, "prot is not known here: port, host"),
        ("limits.active_requests", 0, "limits.active_requests is 0, and has to be 1 or more"),
        ("limits.body_byte", 1, "limits.body_byte is not known here"),
        ("upstreams", [], "upstreams is [], and has to be a list of one or more servers"),
        ("upstreams.0.origin", "chat:8000", "upstreams[0].origin is 'chat:8000'"),
        ("upstreams.0.origin", "http://chat:8000/v3", "upstreams[0].origin is"),
        ("upstreams.0.origin", "http://chat:x", "upstreams[0].origin is"),
        ("upstreams.0.api_path", "/v3/", "upstreams[0].api_path is '/v3/'"),
        ("upstreams.0.probe_path", "ready", "upstreams[0].probe_path is 'ready'"),
        ("upstreams.0.loading_status", None, "upstreams[0].loading_status has to be a whole"),
        ("upstreams.0.port", 8000, "upstreams[0].port is not known here"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(place: str, value: object, told: str):
    config: Any = deepcopy(CONFIG)
    *way, last = place.split(".")
    entries = config
    for step in way:
        entries = entries[int(step) if step.isdigit() else step]
    entries[last] = value
    with pytest.raises(WrongError) as caught:
        pod.parse(config)
    assert told in str(caught.value)


def test_a_missing_setting_is_refused_by_its_name():
    for key in CONFIG:
        with pytest.raises(WrongError, match=key):
            pod.parse({name: value for name, value in CONFIG.items() if name != key})


def test_two_servers_of_one_name_are_refused():
    twice = {**CONFIG, "upstreams": CONFIG["upstreams"] * 2}
    with pytest.raises(WrongError, match="each with a name of its own"):
        pod.parse(twice)


def test_a_file_that_is_not_there_or_damaged_ends_it_for_good(tmp_path: Path, capsys):
    path = tmp_path / "gateway.json"
    assert pod.main(["--config", str(path)]) == 78
    assert "No such file" in capsys.readouterr().err
    path.write_text("{")
    assert pod.main(["--config", str(path)]) == 78
    assert f"{path}: it is not JSON\nnext: " in capsys.readouterr().err


@asynchronous
async def test_it_is_live_once_it_has_keys_and_nobody_is_asked_for_one(tmp_path: Path, capsys):
    async with pod_gateway(tmp_path, ovms(), keys=False) as running:
        async with running.here.get("/live") as answer:
            assert answer.status == 503
            assert (await answer.json())["stage"] == "keys"
        write_keys(running.here.paths, default=KEY)
        async with running.here.get("/live") as answer:
            assert answer.status == 200
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if not line.startswith("llm-endpoint: ")]


@asynchronous
async def test_neither_of_the_clusters_paths_is_an_activity(tmp_path: Path):
    async with pod_gateway(tmp_path, ovms()) as running:
        await running.here.until_ready()
        await running.activity()
        async with running.here.get("/live"):
            pass
        told = await running.activity()
        assert told["last_request"] is None
        assert told["active"] == 0
        assert 0 < told["ready_since"] <= told["now"]
        async with running.here.get("/v1/models", headers=bearer()) as answer:
            assert answer.status == 200
        told = await running.activity()
        assert told["ready_since"] <= told["last_request"] <= told["now"]
        assert 0 < told["began"] <= told["ready_since"]


@pytest.mark.parametrize("path", ["/live", "/activity"])
@asynchronous
async def test_a_machine_has_none_of_the_clusters_paths(tmp_path: Path, path: str):
    async with gateway(tmp_path, {"chat": ModelServer()}) as here, here.get(path) as answer:
        assert answer.status == 404


@pytest.mark.parametrize("path", ["/live", "/activity"])
@asynchronous
async def test_the_clusters_paths_are_only_read(tmp_path: Path, path: str):
    async with pod_gateway(tmp_path, ovms()) as running:
        assert (await running.error(path))[0] == 404


@asynchronous
async def test_ready_counts_from_the_last_time_that_the_servers_came_up(tmp_path: Path):
    server = ovms()
    async with pod_gateway(tmp_path, server) as running:
        await running.here.until_ready()
        first = (await running.activity())["ready_since"]
        ready, server.replies[READY] = server.replies[READY], says("", 404)
        server.replies[CHAT.replace("/v1", "/v3")] = _hang_up
        assert (await running.error())[0] == 503
        while (await running.activity())["ready_since"] is not None:
            await asyncio.sleep(0.01)
        server.replies[READY] = ready
        await running.here.until_ready()
        assert (await running.activity())["ready_since"] > first


async def _hang_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@asynchronous
async def test_health_tells_what_state_the_servers_say_their_models_are_in(tmp_path: Path):
    async with pod_gateway(tmp_path, ovms()) as running:
        await running.here.until_ready()
        async with running.here.get("/health") as answer:
            assert await answer.json() == {"status": "ok", "models": "chat AVAILABLE (OK)"}


@asynchronous
async def test_a_model_in_another_state_is_not_ready_whatever_the_probe_says(tmp_path: Path):
    server = ovms(**{STATES: says(states("LOADING", "UNKNOWN"))})
    async with pod_gateway(tmp_path, server) as running:
        while not any(request.path == STATES for request in server.asked):
            await asyncio.sleep(0.01)
        async with running.here.get("/health") as answer:
            assert answer.status == 503
        server.replies[STATES] = says(states())
        await running.here.until_ready()


@pytest.mark.parametrize("told", [says({}), says("no JSON"), says([]), says("", 404)])
@asynchronous
async def test_a_server_that_tells_of_no_model_is_believed_by_its_probe(tmp_path: Path, told: Any):
    async with pod_gateway(tmp_path, ovms(**{STATES: told})) as running:
        await running.here.until_ready()
        async with running.here.get("/health") as answer:
            assert await answer.json() == {"status": "ok"}


@asynchronous
async def test_health_waits_for_no_stage_of_a_boot(tmp_path: Path):
    server = ovms()
    server.replies[READY] = says("", 404)
    async with pod_gateway(tmp_path, server) as running:

        async def health() -> tuple[int, Any]:
            async with running.here.get("/health") as answer:
                return answer.status, await answer.json()

        while (told := await health())[1].get("message") != "chat loads its model":
            assert told[1]["stage"] == "server"
            await asyncio.sleep(0.01)
        server.replies[READY] = says("")
        await running.here.until_ready()
        running.here.paths.keys.unlink()
        status, body = await health()
        assert (status, body["stage"]) == (503, "keys")


def nobody() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("gone", ["refused", "unknown name"])
@asynchronous
async def test_where_no_replica_is_up_it_says_that_it_is_not_ready(tmp_path: Path, gone: str):
    origin = nobody() if gone == "refused" else "http://chat.llm.invalid:8000"
    async with pod_gateway(tmp_path, origin) as running:
        status, error = await running.error()
        assert (status, error["code"]) == (503, "not_ready")
        assert "chat does not answer yet" in error["message"]
        async with running.here.get("/v1/models", headers=bearer()) as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"]


@asynchronous
async def test_a_connection_that_nobody_takes_is_no_time_limit(tmp_path: Path, monkeypatch):
    async def never(*_args: Any, **_options: Any) -> Any:
        raise aiohttp.ConnectionTimeoutError

    async with pod_gateway(tmp_path, ovms()) as running:
        await running.here.until_ready()
        monkeypatch.setattr(aiohttp.ClientSession, "_request", never)
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", running.here.server.port)
            writer.write(
                f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
                "Content-Length: 2\r\nConnection: close\r\n\r\n{}".encode()
            )
            answer = await reader.read()
            writer.close()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"not_ready"' in answer


@asynchronous
async def test_a_node_that_is_gone_is_noticed_though_nobody_refuses_the_connection(
    tmp_path: Path, monkeypatch
):
    async def never(*_args: Any, **_options: Any) -> Any:
        raise aiohttp.ConnectionTimeoutError

    monkeypatch.setattr(health, "_READY_PAUSE_SECONDS", 0.01)
    async with pod_gateway(tmp_path, ovms()) as running:
        await running.here.until_ready()
        monkeypatch.setattr(aiohttp.ClientSession, "_request", never)
        while running.here.activity()["ready_since"] is not None:
            await asyncio.sleep(0.01)


@asynchronous
async def test_models_that_are_not_loaded_yet_are_no_empty_list(tmp_path: Path):
    server = ovms(**{"/v3/models": says({"object": "list", "data": []})})
    async with (
        pod_gateway(tmp_path, server) as running,
        running.here.get("/v1/models", headers=bearer()) as answer,
    ):
        assert answer.status == 503
        assert (await answer.json())["error"]["code"] == "not_ready"


@asynchronous
async def test_the_servers_models_come_out_below_v1(tmp_path: Path):
    async with pod_gateway(tmp_path, ovms()) as running:
        async with running.here.get("/v1/models", headers=bearer()) as answer:
            assert (await answer.json()) == OVMS_MODELS
            assert "Access-Control-Allow-Origin" not in answer.headers
        async with running.here.get("/v1/models/tiny", headers=bearer()) as answer:
            assert (await answer.json())["id"] == "tiny"


@pytest.mark.parametrize("below", ["chat/completions", "completions", "responses", "embeddings"])
@asynchronous
async def test_what_is_asked_of_v1_is_asked_of_the_servers_own_path(tmp_path: Path, below: str):
    server = ovms(**{f"/v3/{below}": says({"object": "answer"})})
    async with (
        pod_gateway(tmp_path, server) as running,
        running.here.post(f"/v1/{below}", data=b"{}") as answer,
    ):
        assert (await answer.json()) == {"object": "answer"}
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert [request.path for request in server.generations] == [f"/v3/{below}"]


async def _until_open(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return


async def _until_closed(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        writer.close()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("ends", [True, False])
@asynchronous
async def test_sigterm_lets_streams_end_for_a_bounded_time(
    tmp_path: Path, monkeypatch, capsys, ends: bool
):
    monkeypatch.setattr(pod, "GRACE_SECONDS", 15.0 if ends else 0.05)
    stream, paths = Stream(), Paths(tmp_path)
    write_keys(paths, default=KEY)
    port = int(nobody().rpartition(":")[2])
    async with ovms(**{ANSWER: stream}).server() as server:
        upstream = Upstream("chat", f"http://127.0.0.1:{server.port}", "/v3", READY, 404)
        settings = pod.PodSettings(
            Settings(port, (upstream,), Limits(4, 1000, 60)), paths.keys, paths.activity
        )
        serving = asyncio.create_task(pod.serve(settings))
        await _until_open(port)
        async with (
            aiohttp.ClientSession() as client,
            client.post(f"http://127.0.0.1:{port}{CHAT}", headers=bearer(), data=b"{}") as answer,
        ):
            stream.send(b"data: {}\n\n")
            assert await answer.content.readany()
            os.kill(os.getpid(), signal.SIGTERM)
            await _until_closed(port)
            if ends:
                stream.send(b"data: [DONE]\n\n")
                stream.end()
                assert await answer.read() == b"data: [DONE]\n\n"
            else:
                with pytest.raises(aiohttp.ClientError):
                    await answer.read()
        await serving
    entries = [
        json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")
    ]
    assert entries[-1]["end"] == ("complete" if ends else "gateway stopped")
