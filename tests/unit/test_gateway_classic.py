"""Classic models at the gateway: KServe's v2 REST API below `/models`, and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from gateway_harness import CHAT, KEY, Gateway, ModelServer, asynchronous, bearer, echo, write_keys
from gateway_pod_harness import ANSWER, READY, STATES, ovms, says

from machine.gateway import health, pod
from machine.gateway.classic import ClassicModels
from machine.gateway.routes import Asked, NoRoute, Route
from machine.gateway.settings import Limits, Settings, Upstream
from machine.gateway.states import by_version, states
from machine.paths import Paths
from machine.table import WrongError

ALIVE = "/v2/health/ready"
MODELS = ("resnet50@1", "resnet50@2", "sum@1")
HEADER = "Inference-Header-Content-Length"
PATHS = ClassicModels(Upstream("models", "http://models:8000", "", ALIVE, 503, STATES, MODELS))


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "_UNREADY_PAUSE_SECONDS", 0.01)


def told(**others: tuple[str, str]) -> dict[str, Any]:
    """What OVMS says of its models: all there, but for those of which `others` say otherwise."""
    content: dict[str, Any] = {}
    for model in MODELS:
        name, _, version = model.partition("@")
        state, code = others.get(f"{name}_{version}", ("AVAILABLE", "OK"))
        entry = {
            "version": version,
            "state": state,
            "status": {"error_code": code, "error_message": code},
        }
        content.setdefault(name, {"model_version_status": []})["model_version_status"].append(entry)
    return content


def classic_server(**replies: Any) -> ModelServer:
    return ModelServer({ALIVE: says(""), STATES: says(told()), **replies})


@asynccontextmanager
async def running(
    root: Path, models: ModelServer, chat: ModelServer | None = None, body_bytes: int = 10_000
) -> AsyncIterator[Gateway]:
    """Run a pod's gateway before a chat server and one of classic models."""
    paths = Paths(root)
    write_keys(paths, default=KEY)
    lines: list[str] = []
    servers = {"chat": (chat or ovms()).server(), "models": models.server()}
    for server in servers.values():
        await server.start_server()
    origin = {name: f"http://127.0.0.1:{server.port}" for name, server in servers.items()}
    upstreams = (
        Upstream("chat", origin["chat"], "/v3", READY, 404, STATES),
        Upstream("models", origin["models"], "", ALIVE, 503, STATES, MODELS),
    )
    settings = Settings(0, upstreams, Limits(4, body_bytes, 30))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pod, "to_log", lines.append)
        app = pod.pod_application(pod.PodSettings(settings, paths.keys, paths.activity))
    gateway = TestServer(app)
    await gateway.start_server(shutdown_timeout=5)
    try:
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector) as client:
            yield Gateway(f"http://127.0.0.1:{gateway.port}", client, paths, gateway, lines)
    finally:
        for server in (gateway, *servers.values()):
            await server.close()


def access_lines(here: Gateway) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in here.lines if line.startswith("{")]
    return [entry for entry in entries if entry["path"] != "/health"]


@pytest.mark.parametrize(
    ("method", "path", "shown", "below"),
    [
        ("GET", "/models", "/models", ""),
        ("GET", "/models/resnet50", "/models/*", "/v2/models/resnet50"),
        ("GET", "/models/a-1/versions/12", "/models/*/versions/*", "/v2/models/a-1/versions/12"),
        ("GET", "/models/a/ready", "/models/*/ready", "/v2/models/a/ready"),
        ("POST", "/models/a/infer", "/models/*/infer", "/v2/models/a/infer"),
        (
            "POST",
            "/models/a/versions/2/infer",
            "/models/*/versions/*/infer",
            "/v2/models/a/versions/2/infer",
        ),
        ("GET", "/models/infer", "/models/*", "/v2/models/infer"),
        ("POST", "/models/infer/infer", "/models/*/infer", "/v2/models/infer/infer"),
        ("GET", "/models/v2", "/models/v2", "/v2"),
        ("GET", "/models/v2/health/live", "/models/v2/health/live", "/v2/health/live"),
        ("GET", "/models/v2/health/ready", "/models/v2/health/ready", "/v2/health/ready"),
        ("GET", "/models/v2/models/a", "/models/v2/models/*", "/v2/models/a"),
        (
            "POST",
            "/models/v2/models/a/versions/3/infer",
            "/models/v2/models/*/versions/*/infer",
            "/v2/models/a/versions/3/infer",
        ),
    ],
)
def test_kserve_s_paths_pass_and_show_no_name(method: str, path: str, shown: str, below: str):
    assert PATHS.route(method, path) == Route(Asked.CLASSIC, shown, below)
    other = "GET" if method == "POST" else "POST"
    assert PATHS.route(other, path) == NoRoute(405, shown, method)


@pytest.mark.parametrize(
    "path",
    [
        *("/models/", "/models//ready", "/modelsa", "/v1/models", "/health", "/v2/models/a/infer"),
        *("/models/A", "/models/a%2Fb", "/models/../v1/config", "/models/a/versions/0"),
        *("/models/a/versions/x/infer", "/models/a/infer/", "/models/a/generate", "/models/v2/"),
        *("/models/v2/models", "/models/v2/models/", "/models/v2/ready", "/models/v2/config"),
        *("/models/v1/config", "/models/v1/config/reload", "/models/v2/repository/index"),
        *("/models/v2/health", "/models/v2/versions/1", "/models/metrics/a"),
    ],
)
def test_nothing_else_of_the_server_passes(path: str):
    assert PATHS.route("GET", path) is None
    assert PATHS.route("POST", path) is None


@asynchronous
async def test_the_configured_models_are_told_with_their_states(tmp_path: Path):
    content = told(resnet50_2=("LOADING", "UNKNOWN"))
    del content["sum"]
    server = classic_server(**{STATES: says(content)})
    async with (
        running(tmp_path, server) as here,
        here.get("/models", headers=bearer()) as answer,
    ):
        assert answer.status == 200
        keys = ("name", "version", "state", "error_code", "error_message")
        assert (await answer.json())["models"] == [
            dict(zip(keys, values, strict=True))
            for values in (
                ("resnet50", "1", "AVAILABLE", "OK", "OK"),
                ("resnet50", "2", "LOADING", "UNKNOWN", "UNKNOWN"),
                ("sum", "1", None, None, None),
            )
        ]


@asynchronous
async def test_binary_tensors_pass_both_ways_as_they_are(tmp_path: Path):
    async def infer(request: web.Request) -> web.Response:
        return web.Response(
            body=b'{"outputs": []}' + (await request.read())[::-1],
            headers={HEADER: "15", "Access-Control-Allow-Origin": "*"},
        )

    path = "/v2/models/resnet50/versions/2/infer"
    server = classic_server(**{path: infer})
    data = b'{"inputs": []}' + bytes(range(256))
    async with running(tmp_path, server) as here:
        for prefix in ("/models", "/models/v2/models"):
            async with here.post(
                f"{prefix}/resnet50/versions/2/infer",
                data=data,
                headers={HEADER: "14", "Content-Type": "application/octet-stream", "Cookie": "a=b"},
            ) as answer:
                assert answer.status == 200
                assert answer.headers[HEADER] == "15"
                assert "Access-Control-Allow-Origin" not in answer.headers
                assert await answer.read() == b'{"outputs": []}' + data[::-1]
        for asked in server.generations:
            assert asked.path == path
            assert asked.headers[HEADER] == "14"
            assert asked.headers["Content-Type"] == "application/octet-stream"
            assert not {"Authorization", "Cookie"} & set(asked.headers)
        lines = access_lines(here)
        assert [one["path"] for one in lines] == [
            "/models/*/versions/*/infer",
            "/models/v2/models/*/versions/*/infer",
        ]
        assert {(one["key"], one["status"]) for one in lines} == {("default", 200)}
        assert "resnet50" not in "".join(here.lines)


@asynchronous
async def test_the_server_s_errors_stay_texts_as_kserve_s_clients_read_them(tmp_path: Path):
    body = {"error": "Model with requested name is not found"}
    server = classic_server(**{"/v2/models/other": says(body, 404)})
    async with (
        running(tmp_path, server) as here,
        here.get("/models/other", headers=bearer()) as answer,
    ):
        assert (answer.status, await answer.json()) == (404, body)


@asynchronous
async def test_what_a_kserve_client_asks_of_the_server_itself_passes_with_a_key(tmp_path: Path):
    server = classic_server(
        **{"/v2": says({"name": "OpenVINO Model Server"}), "/v2/health/live": says("")}
    )
    async with running(tmp_path, server) as here:
        for path in ("/models/v2", "/models/v2/health/live", "/models/v2/health/ready"):
            async with here.get(path, headers=bearer()) as answer:
                assert answer.status == 200
            async with here.get(path) as answer:
                assert answer.status == 401


@asynchronous
async def test_keys_limits_and_activity_are_those_of_every_request(tmp_path: Path):
    server = classic_server(**{"/v2/models/sum/infer": echo})
    async with running(tmp_path, server, body_bytes=1000) as here:
        async with here.post("/models/sum/infer", key="sk-wrong", data=b"{}") as answer:
            assert answer.status == 401
        async with here.post("/models/sum/infer", data=b"x" * 1001) as answer:
            assert answer.status == 413
        assert server.generations == []
        async with here.get("/models") as answer:
            assert answer.status == 401
        before = here.activity()["last_request"]
        async with here.post("/models/sum/infer", data=b"{}") as answer:
            assert answer.status == 200
        assert here.activity()["last_request"] > before


@asynchronous
async def test_the_server_s_configuration_can_not_be_reloaded_from_outside(tmp_path: Path):
    server = classic_server(**{"/v1/config/reload": says({})})
    async with running(tmp_path, server) as here:
        for path in (
            "/v1/config/reload",
            "/models/v1/config/reload",
            "/models/../v1/config/reload",
        ):
            async with here.client.post(
                aiohttp.client.URL(here.url + path, encoded=True), headers=bearer()
            ) as answer:
                assert answer.status == 404
    assert server.generations == []


@asynchronous
async def test_chats_and_their_list_know_nothing_of_classic_models(tmp_path: Path):
    server = classic_server(**{"/v3/models": says({"object": "list", "data": [{"id": "sum"}]})})
    chat = ovms(**{ANSWER: echo})
    async with running(tmp_path, server, chat) as here:
        async with here.get("/v1/models", headers=bearer()) as answer:
            assert [one["id"] for one in (await answer.json())["data"]] == ["tiny"]
        async with here.post(CHAT, data=b'{"model": "sum"}') as answer:
            assert await answer.read() == b'{"model": "sum"}'


async def until_message(here: Gateway, message: str) -> None:
    while True:
        async with here.get("/health") as answer:
            body = await answer.json()
            if body.get("message") == message:
                assert (answer.status, body["stage"]) == (503, "server")
                return
        await asyncio.sleep(0.01)


@asynchronous
async def test_one_model_that_is_not_there_keeps_health_unready_and_chats_go_on(tmp_path: Path):
    server = classic_server(**{STATES: says(told(resnet50_2=("LOADING", "UNKNOWN")))})
    async with running(tmp_path, server, ovms(**{ANSWER: echo})) as here:
        states = "AVAILABLE (OK), LOADING (UNKNOWN), AVAILABLE (OK)"
        await until_message(here, f"chat answers; models loads its models: {states}")
        async with here.post(CHAT, data=b"{}") as answer:
            assert answer.status == 200
        for unready in (says(told(sum_1=("AVAILABLE", "UNKNOWN"))), says("no JSON"), says({})):
            server.replies[STATES] = unready
            async with here.get("/health") as answer:
                assert answer.status == 503
        await until_message(
            here, "chat answers; models loads its models: not told of, not told of, not told of"
        )
        server.replies[STATES] = says(told())
        await here.until_ready()


@pytest.mark.parametrize(("said", "status"), [(says("no JSON"), 503), (says([]), 200)])
@asynchronous
async def test_a_server_that_tells_no_states_gives_no_false_ones(
    tmp_path: Path, said: Any, status: int
):
    server = classic_server(**{STATES: said})
    async with (
        running(tmp_path, server) as here,
        here.get("/models", headers=bearer()) as answer,
    ):
        assert answer.status == status
        listed = (await answer.json()).get("models", [])
        assert {one["state"] for one in listed} <= {None}


@asynchronous
async def test_a_server_that_is_away_is_told_as_not_ready(tmp_path: Path):
    server = classic_server()
    async with running(tmp_path, server) as here:
        await here.until_ready()

        async def reset(request: web.Request) -> web.Response:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        server.replies |= dict.fromkeys((STATES, ALIVE, "/v2/models/sum"), reset)
        for path in ("/models", "/models/sum"):
            async with here.get(path, headers=bearer()) as answer:
                assert answer.status == 503
                assert (await answer.json())["error"]["code"] == "not_ready"


@asynchronous
async def test_a_gateway_without_classic_models_has_none_of_their_paths(tmp_path: Path):
    paths = Paths(tmp_path)
    write_keys(paths, default=KEY)
    upstream = Upstream("chat", "http://127.0.0.1:9", "/v3", READY, 404, STATES)
    settings = Settings(0, (upstream,), Limits(4, 1000, 30))
    app = TestServer(pod.pod_application(pod.PodSettings(settings, paths.keys, paths.activity)))
    await app.start_server(shutdown_timeout=5)
    async with aiohttp.ClientSession() as client:
        for path in ("/models", "/models/a", "/models/v2"):
            async with client.get(app.make_url(path), headers=bearer()) as answer:
                assert answer.status == 404
    await app.close()


def config(**changed: object) -> dict[str, Any]:
    upstream = {
        "name": "models",
        "origin": "http://models.llm.svc.cluster.local:8000",
        "api_path": "",
        "probe_path": ALIVE,
        "loading_status": 503,
        "state_path": STATES,
        "models": ["resnet50@1"],
        **changed,
    }
    return {
        "port": 8080,
        "host": "0.0.0.0",
        "front_port": None,
        "keys": "/keys.json",
        "activity": "/activity.json",
        "limits": {"active_requests": 4, "body_bytes": 10_000, "request_seconds": 30},
        "upstreams": [upstream],
    }


def test_the_settings_of_classic_models_are_read_whole():
    (upstream,) = pod.parse(config()).gateway.upstreams
    assert upstream.models == ("resnet50@1",)
    assert upstream.api_path == ""
    (upstream,) = pod.parse(config(models=[], api_path="/v3")).gateway.upstreams
    assert upstream.models == ()


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"models": ["Resnet@1"]}, "models is ['Resnet@1'], and has to be a list of models"),
        ({"models": ["resnet"]}, "it is written NAME@VERSION"),
        ({"models": "resnet@1"}, "models has to be a list of texts"),
        ({"state_path": None}, "state_path has to be a text"),
        ({"models": []}, "api_path is ''"),
    ],
)
def test_wrong_settings_of_classic_models_are_refused_by_name(changed: Any, part: str):
    with pytest.raises(WrongError) as caught:
        pod.parse(config(**changed))
    assert part in str(caught.value)


def test_states_of_wanted_versions_are_each_told():
    content = told(resnet50_1=("END", "OK"))
    assert states(content, MODELS) == ("END (OK)", "AVAILABLE (OK)", "AVAILABLE (OK)")
    assert states(content) == ("AVAILABLE (OK)", "AVAILABLE (OK)")
    assert states(None, ("a@1",)) == ("not told of",)
    assert by_version([]) == {}
