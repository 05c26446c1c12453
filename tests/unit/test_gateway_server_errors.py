"""What clients read of a model server's errors: those of a text alone become OpenAI's."""

import asyncio
from pathlib import Path

import aiohttp
import openai
import pytest
from aiohttp import web
from gateway_harness import KEY, asynchronous
from gateway_pod_harness import ANSWER, ovms, pod_gateway, says


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
@pytest.mark.parametrize(
    ("status", "kind"), [(404, "invalid_request_error"), (500, "server_error")]
)
@asynchronous
async def test_an_error_of_a_text_becomes_one_that_clients_read(
    tmp_path: Path, status: int, kind: str, content_type: str
):
    server = ovms(**{ANSWER: says({"error": "no such graph"}, status, content_type)})
    async with (
        pod_gateway(tmp_path, server) as running,
        running.here.post(data=b"{}") as answer,
    ):
        assert (answer.status, answer.content_type) == (status, "application/json")
        assert await answer.json() == {
            "error": {"message": "no such graph", "type": kind, "param": None, "code": None}
        }
        assert "Access-Control-Allow-Origin" not in answer.headers


@asynchronous
async def test_openais_client_reads_the_error_of_a_server(tmp_path: Path):
    server = ovms(**{ANSWER: says({"error": "no such graph"}, 404)})
    async with (
        pod_gateway(tmp_path, server) as running,
        openai.AsyncOpenAI(api_key=KEY, base_url=f"{running.here.url}/v1", max_retries=0) as client,
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            await client.chat.completions.create(model="other", messages=[])
        assert caught.value.body == {
            "message": "no such graph",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }


@pytest.mark.parametrize(
    "body",
    [
        '{"error": {"message": "too long", "code": 400}}',
        '{"detail": "error"}',
        '["error"]',
        "not JSON",
        "",
        '{"error": "' + "x" * 200_000,
    ],
)
@asynchronous
async def test_any_other_error_is_passed_on_as_it_is(tmp_path: Path, body: str):
    server = ovms(**{ANSWER: says(body, 400)})
    async with (
        pod_gateway(tmp_path, server) as running,
        running.here.post(data=b"{}") as answer,
    ):
        assert answer.status == 400
        assert await answer.text() == body


@asynchronous
async def test_an_answer_that_is_no_error_is_never_reshaped(tmp_path: Path):
    server = ovms(**{ANSWER: says({"error": "is a word"})})
    async with (
        pod_gateway(tmp_path, server) as running,
        running.here.post(data=b"{}") as answer,
    ):
        assert await answer.json() == {"error": "is a word"}


@asynchronous
async def test_an_error_in_pieces_is_told_once_it_is_whole_and_not_later(tmp_path: Path):
    left = asyncio.Event()

    async def slowly(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=400, headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'{"error": "too ')
        await response.write(b'long"}')
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return response

    async with pod_gateway(tmp_path, ovms(**{ANSWER: slowly})) as running:
        status, error = await running.error()
        assert (status, error["message"]) == (400, "too long")
        await left.wait()


@asynchronous
async def test_an_error_that_breaks_off_does_not_come_to_an_end(tmp_path: Path):
    async def breaks(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=500)
        await response.prepare(request)
        await response.write(b'{"error": "half')
        assert request.transport is not None
        request.transport.close()
        return response

    async with (
        pod_gateway(tmp_path, ovms(**{ANSWER: breaks})) as running,
        running.here.post(data=b"{}") as answer,
    ):
        assert answer.status == 500
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
