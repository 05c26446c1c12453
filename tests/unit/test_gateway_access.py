"""Who gets in, to what, and how much of it."""

import asyncio
import gzip
import json
from pathlib import Path

import pytest
from aiohttp import web
from gateway_harness import (
    CHAT,
    EMBEDDINGS,
    KEY,
    ModelServer,
    Stream,
    asynchronous,
    bearer,
    echo,
    gateway,
    write_keys,
)
from yarl import URL

from machine.gateway.settings import Limits

OTHER = "sk-other"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("sk-wrong"),
        bearer(""),
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"api-key": KEY},
        {"x-api-key": KEY},
        [("Authorization", f"Bearer {KEY}"), ("Authorization", f"Bearer {KEY}")],
    ],
)
@asynchronous
async def test_without_the_right_key_nobody_gets_in(tmp_path: Path, headers: dict[str, str]):
    server = ModelServer()
    async with gateway(tmp_path, {"chat": server}) as here:
        for path in ("/v1/models", "/v1/models/x"):
            async with here.get(path, headers=headers) as answer:
                assert answer.status == 401
        async with here.post(key=None, headers=headers, data=b"{}") as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert (await answer.json())["error"]["code"] == "invalid_api_key"
    assert server.generations == []


@asynchronous
async def test_each_named_key_gets_in_and_is_logged_by_its_name(tmp_path: Path):
    keys = {"default": KEY, "alice": OTHER}
    async with gateway(tmp_path, {"chat": ModelServer()}, keys=keys) as here:
        for key in keys.values():
            async with here.get("/v1/models", headers=bearer(key)) as answer:
                assert answer.status == 200
        assert [entry["key"] for entry in await here.logged(2)] == ["default", "alice"]


@asynchronous
async def test_without_a_file_of_keys_nobody_gets_in_until_there_is_one(tmp_path: Path):
    async with gateway(tmp_path, {"chat": ModelServer()}, keys={}) as here:
        async with here.post(data=b"{}") as answer:
            assert answer.status == 401
        write_keys(here.paths, default=KEY)
        async with here.post(data=b"{}") as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/v1", "/v1/", "/metrics", "/slots", "/v1/files", "/v1/chat/completions/"),
        *("/V1/models", "/v1/models/", "/v1/../slots", "/v1/%6dodels", "//v1/models"),
    ],
)
@asynchronous
async def test_no_other_path_passes_even_with_a_key(tmp_path: Path, path: str):
    server = ModelServer()
    async with gateway(tmp_path, {"chat": server}) as here:
        url = URL(f"{here.url}{path}", encoded=True)
        async with here.client.get(url, headers=bearer()) as answer:
            assert answer.status == 404
        (entry,) = await here.logged()
    assert entry["path"] is None
    assert {request.path for request in server.asked} <= {"/health"}


@asynchronous
async def test_another_method_is_refused_by_name(tmp_path: Path):
    async with gateway(tmp_path, {"chat": ModelServer()}) as here:
        for method, path, allow in (
            ("GET", CHAT, "POST"),
            ("OPTIONS", CHAT, "POST"),
            ("POST", "/v1/models", "GET"),
            ("DELETE", "/v1/models/x", "GET"),
            ("POST", "/health", "GET"),
        ):
            async with here.client.request(method, here.url + path, headers=bearer()) as answer:
                assert (answer.status, answer.headers["Allow"]) == (405, allow)


@asynchronous
async def test_a_body_is_passed_on_byte_for_byte_to_the_servers_api_path(tmp_path: Path):
    server = ModelServer()
    server.replies["/v3/chat/completions"] = echo
    body = b'{ "model":"m", "text" : "gr\xc3\xbc\xc3\x9fe" }'
    async with (
        gateway(tmp_path, {"chat": server}, api_path="/v3") as here,
        here.post(data=body) as answer,
    ):
        assert await answer.read() == body


@asynchronous
async def test_a_server_learns_neither_key_nor_cookie(tmp_path: Path):
    server = ModelServer()
    headers = {
        "Cookie": "a=b",
        "X-Api-Key": "sk-x",
        "X-Forwarded-For": "192.0.2.1",
        "Accept-Encoding": "gzip",
        "Content-Type": "application/json",
        "Proxy-Authorization": "Basic x",
        "TE": "trailers",
    }
    async with (
        gateway(tmp_path, {"chat": server}) as here,
        here.post(data=b"{}", headers=headers) as answer,
    ):
        assert answer.status == 200
    (request,) = server.generations
    assert {name.lower() for name in request.headers} <= {
        *("host", "content-type", "content-length", "accept", "user-agent", "connection")
    }
    assert request.headers["Content-Type"] == "application/json"


@asynchronous
async def test_no_browser_of_another_origin_is_let_in(tmp_path: Path):
    server = ModelServer()

    async def open_to_all(_request: web.Request) -> web.Response:
        headers = {"Access-Control-Allow-Origin": "*", "Set-Cookie": "a=b", "X-Engine": "e"}
        return web.Response(headers=headers)

    server.replies[CHAT] = open_to_all
    async with (
        gateway(tmp_path, {"chat": server}) as here,
        here.post(data=b"{}", headers={"Origin": "https://example.com"}) as answer,
    ):
        assert answer.headers["X-Engine"] == "e"
        for name in ("Access-Control-Allow-Origin", "Set-Cookie", "Server"):
            assert name not in answer.headers


@asynchronous
async def test_a_servers_refusal_passes_as_it_is(tmp_path: Path):
    server = ModelServer()

    async def refuses(_request: web.Request) -> web.Response:
        return web.Response(status=400, body=b'{"error": {"message": "too long"}}')

    server.replies[CHAT] = refuses
    async with gateway(tmp_path, {"chat": server}) as here, here.post(data=b"{}") as answer:
        assert answer.status == 400
        assert await answer.read() == b'{"error": {"message": "too long"}}'


@asynchronous
async def test_an_answer_that_a_server_compressed_passes_as_it_is(tmp_path: Path):
    server, packed = ModelServer(), gzip.compress(b'{"a": 1}')

    async def compressed(_request: web.Request) -> web.Response:
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    server.replies[CHAT] = compressed
    async with (
        gateway(tmp_path, {"chat": server}) as here,
        here.post(data=b"{}") as answer,
    ):
        assert int(answer.headers["Content-Length"]) == len(packed)
        assert await answer.json(content_type=None) == {"a": 1}


@asynchronous
async def test_a_body_that_is_announced_as_too_large_is_not_waited_for(tmp_path: Path):
    async with gateway(tmp_path, {"chat": ModelServer()}) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.server.port)
        lines = (f"POST {CHAT} HTTP/1.1", "Host: x", f"Authorization: Bearer {KEY}")
        writer.write("\r\n".join((*lines, "Content-Length: 10001", "", "")).encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
        writer.close()


async def _pieces(count: int):
    for _ in range(count):
        yield b"x" * 100


@asynchronous
async def test_a_body_over_the_limit_never_reaches_the_server(tmp_path: Path):
    server = ModelServer()
    limits = Limits(active_requests=4, body_bytes=1000, request_seconds=30)
    async with gateway(tmp_path, {"chat": server}, limits=limits) as here:
        async with here.post(data=b"x" * 1000) as answer:
            assert answer.status == 200
        async with here.post(data=b"x" * 1001) as answer:
            assert answer.status == 413
        # Without a length: it shows as it comes.
        async with here.post(data=_pieces(10)) as answer:
            assert answer.status == 200
        async with here.post(data=_pieces(11)) as answer:
            assert answer.status == 413
            assert (await answer.json())["error"]["code"] == "body_too_large"
    assert len(server.generations) == 2


@asynchronous
async def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path):
    server = ModelServer()
    limits = Limits(active_requests=4, body_bytes=1000, request_seconds=30, upload_seconds=0.1)

    async def halting():
        yield b"x"
        await asyncio.Event().wait()

    async with (
        gateway(tmp_path, {"chat": server}, limits=limits) as here,
        here.post(data=halting()) as answer,
    ):
        assert answer.status == 408
    assert server.generations == []


@asynchronous
async def test_one_request_too_many_is_sent_away_until_another_is_over(tmp_path: Path):
    server, stream = ModelServer(), Stream()
    server.replies[CHAT] = stream
    limits = Limits(active_requests=1, body_bytes=1000, request_seconds=30)
    async with gateway(tmp_path, {"chat": server}, limits=limits) as here:
        async with here.post() as first:
            async with here.post() as second:
                assert second.status == 429
                assert second.headers["Retry-After"] == "1"
                assert (await second.json())["error"]["code"] == "too_many_requests"
            async with here.get("/health") as health:
                assert health.status == 200
            stream.end()
            await first.read()
        async with here.get("/v1/models", headers=bearer()) as third:
            assert third.status == 200


@asynchronous
async def test_embeddings_go_to_their_own_server_where_there_is_one(tmp_path: Path):
    chat, embeddings = ModelServer(), ModelServer()
    chat.replies[EMBEDDINGS] = embeddings.replies[EMBEDDINGS] = echo
    async with gateway(tmp_path / "two", {"chat": chat, "embeddings": embeddings}) as here:
        async with here.post(EMBEDDINGS, data=b"{}") as answer:
            assert answer.status == 200
        async with here.post(CHAT, data=b"{}") as answer:
            assert answer.status == 200
    assert [request.path for request in embeddings.generations] == [EMBEDDINGS]
    assert [request.path for request in chat.generations] == [CHAT]
    async with (
        gateway(tmp_path / "one", {"chat": chat}) as here,
        here.post(EMBEDDINGS, data=b"{}") as answer,
    ):
        assert answer.status == 200
    assert chat.generations[-1].path == EMBEDDINGS


@asynchronous
async def test_the_list_of_models_has_those_of_all_servers(tmp_path: Path):
    chat, embeddings = ModelServer(), ModelServer()
    ids = ["owner/model", "other"]

    async def two(_request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": name, "meta": {"n": 1}} for name in ids]})

    embeddings.replies["/v1/models"] = two
    async with gateway(tmp_path, {"chat": chat, "embeddings": embeddings}) as here:
        async with here.get("/v1/models", headers=bearer()) as answer:
            listed = await answer.json()
        async with here.get("/v1/models/owner%2Fmodel", headers=bearer()) as answer:
            one = await answer.json()
        async with here.get("/v1/models/owner/none", headers=bearer()) as answer:
            assert answer.status == 404
            assert (await answer.json())["error"]["code"] == "model_not_found"
    assert listed["object"] == "list"
    assert listed["data"] == [
        {"id": "owner/model", "object": "model"},
        {"id": "other", "meta": {"n": 1}},
    ]
    assert one == {"id": "owner/model", "object": "model"}


@asynchronous
async def test_the_log_holds_neither_key_nor_text(tmp_path: Path):
    async with gateway(tmp_path, {"chat": ModelServer()}) as here:
        secret = "sk-secret"
        async with here.post(data=json.dumps({"text": secret}).encode()) as answer:
            assert secret in await answer.text()
        async with here.get(f"/v1/models/{secret}?key={secret}", headers=bearer()) as answer:
            await answer.read()
        async with here.get(f"/{secret}", headers=bearer(secret)) as answer:
            assert answer.status == 404
        async with here.get("/v1/models", headers=bearer(secret)) as answer:
            assert answer.status == 401
        await here.logged(4)
        log = "\n".join(here.lines)
    assert secret not in log
    assert KEY not in log


@asynchronous
async def test_refused_requests_and_health_are_no_activity(tmp_path: Path):
    async with gateway(tmp_path, {"chat": ModelServer()}) as here:
        await here.until_ready()
        async with here.post(key="sk-wrong", data=b"{}") as answer:
            assert answer.status == 401
        assert here.activity()["last_request"] is None
        async with here.post(data=b"{}") as answer:
            assert answer.status == 200
        assert here.activity()["last_request"] is not None
