"""Answers pass through the gateway as they come, and end where they end."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from gateway_harness import CHAT, KEY, ModelServer, Stream, asynchronous, gateway, until, write_keys

from machine.gateway.settings import Limits

DONE = b"data: [DONE]\n\n"


def event(text: str, **more: object) -> bytes:
    content = {"choices": [{"delta": {"content": text}}], **more}
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def streaming() -> tuple[ModelServer, Stream]:
    server, stream = ModelServer(), Stream()
    server.replies[CHAT] = stream
    return server, stream


@asynchronous
async def test_a_piece_arrives_while_the_server_holds_back_the_next(tmp_path: Path):
    server, stream = streaming()
    async with gateway(tmp_path, {"chat": server}) as here, here.post() as answer:
        for text in ("one", "two"):
            stream.send(event(text))
            assert await answer.content.readany() == event(text)
        stream.send(DONE)
        stream.end()
        assert await answer.content.read() == DONE


@asynchronous
async def test_the_headers_arrive_before_the_first_piece(tmp_path: Path):
    server, stream = streaming()
    async with gateway(tmp_path, {"chat": server}) as here, here.post() as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        stream.end()
        assert await answer.read() == b""


@asynchronous
async def test_pieces_that_cut_events_apart_pass_byte_for_byte(tmp_path: Path):
    server, stream = streaming()
    sent = event("grüße") * 3 + b": a comment\r\n\r\n" + DONE
    async with gateway(tmp_path, {"chat": server}) as here, here.post() as answer:
        for start in range(0, len(sent), 7):
            stream.send(sent[start : start + 7])
        stream.end()
        assert await answer.read() == sent


@asynchronous
async def test_a_client_that_leaves_in_a_stream_frees_the_server(tmp_path: Path):
    server, stream = streaming()
    async with gateway(tmp_path, {"chat": server}) as here:
        async with here.post() as answer:
            stream.send(event("one"))
            await answer.content.readany()
            answer.close()
        await stream.left.wait()
        (entry,) = await here.logged()
        assert (entry["status"], entry["end"]) == (200, "client left")
        assert here.activity()["active"] == 0


@asynchronous
async def test_a_client_that_leaves_before_the_answer_frees_the_server(tmp_path: Path):
    server, gone, reached = ModelServer(), asyncio.Event(), asyncio.Event()

    async def thinks(request: aiohttp.web.Request) -> aiohttp.web.Response:
        await request.read()
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        raise AssertionError

    server.replies[CHAT] = thinks
    async with gateway(tmp_path, {"chat": server}) as here:
        asking = asyncio.create_task(here.post().__aenter__())
        await reached.wait()
        asking.cancel()
        await gone.wait()
        (entry,) = await here.logged()
        assert (entry["status"], entry["end"]) == (499, "client left")


@asynchronous
async def test_a_server_that_dies_in_a_stream_ends_the_connection_without_an_end(tmp_path: Path):
    server, stream = streaming()
    async with gateway(tmp_path, {"chat": server}) as here:
        async with here.post() as answer:
            stream.send(event("one"))
            assert await answer.content.readany() == event("one")
            stream.die()
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        (entry,) = await here.logged()
        assert entry["end"] == "server ended"


@asynchronous
async def test_a_revoked_key_ends_no_stream_and_a_new_one_gets_in(tmp_path: Path):
    server, stream = streaming()
    async with gateway(tmp_path, {"chat": server}) as here, here.post() as answer:
        stream.send(event("one"))
        await answer.content.readany()
        write_keys(here.paths, alice="sk-alice")
        async with here.get("/v1/models", headers={"Authorization": f"Bearer {KEY}"}) as refused:
            assert refused.status == 401
        async with here.get("/v1/models", headers={"Authorization": "Bearer sk-alice"}) as other:
            assert other.status == 200
        stream.send(DONE)
        stream.end()
        assert await answer.read() == DONE
        first, second, third = await here.logged(3)
        assert [first["key"], second["key"], third["key"]] == [None, "alice", "default"]


@asynchronous
async def test_a_stream_is_ended_where_a_request_takes_too_long(tmp_path: Path):
    server, stream = streaming()
    limits = Limits(active_requests=4, body_bytes=1000, request_seconds=0.2)
    async with gateway(tmp_path, {"chat": server}, limits=limits) as here:
        async with here.post() as answer:
            stream.send(event("one"))
            with pytest.raises(aiohttp.ClientError):
                await answer.read()
        await stream.left.wait()
        (entry,) = await here.logged()
        assert (entry["status"], entry["end"]) == (200, "time limit")


@asynchronous
async def test_an_answer_that_does_not_begin_in_time_is_a_gateway_timeout(tmp_path: Path):
    server = ModelServer()
    server.replies[CHAT] = _never
    limits = Limits(active_requests=4, body_bytes=1000, request_seconds=0.1)
    async with (
        gateway(tmp_path, {"chat": server}, limits=limits) as here,
        here.post() as answer,
    ):
        assert answer.status == 504
        assert (await answer.json())["error"]["code"] == "time_limit"


async def _never(_request: aiohttp.web.Request) -> aiohttp.web.Response:
    await asyncio.Event().wait()
    raise AssertionError


@asynchronous
async def test_a_stream_is_told_with_its_tokens_and_times(tmp_path: Path):
    server, stream = streaming()
    async with gateway(tmp_path, {"chat": server}) as here:
        async with here.post() as answer:
            stream.send(event("one"))
            await answer.content.readany()
            stream.send(event("two"))
            usage = {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13}
            stream.send(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n")
            stream.send(DONE)
            stream.end()
            await answer.read()
        (entry,) = await here.logged()
        assert (entry["prompt_tokens"], entry["completion_tokens"], entry["chunks"]) == (11, 2, 2)
        assert 0 <= entry["first_byte_milliseconds"] <= entry["milliseconds"]
        assert (entry["key"], entry["method"], entry["path"]) == ("default", "POST", CHAT)
        assert (entry["status"], entry["end"]) == (200, "complete")


@asynchronous
async def test_requests_count_as_activity_from_their_beginning_to_their_end(tmp_path: Path):
    server, stream = streaming()
    async with gateway(tmp_path, {"chat": server}) as here:
        assert here.activity()["last_request"] is None
        async with here.post() as answer:
            began = here.activity()
            assert began["active"] == 1
            stream.end()
            await answer.read()
        await until(lambda: here.activity()["active"] == 0)
        assert here.activity()["last_request"] > began["last_request"]
