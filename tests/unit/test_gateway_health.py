"""What the gateway says of the endpoint: over HTTP, in the status records, in the activity."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from gateway_harness import (
    CHAT,
    KEY,
    Gateway,
    ModelServer,
    asynchronous,
    bearer,
    gateway,
    until,
    write_keys,
)

import machine.status
from machine.gateway import health
from machine.paths import Paths
from machine.status import State, Status
from scripts.own_ca import make


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "_UNREADY_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(machine.status, "_PROGRESS_SECONDS", 0.0)


def status(root: Path) -> Status:
    paths = Paths(root)
    return Status(paths.run, paths.console)


async def asked(here: Gateway) -> tuple[int, Any]:
    async with here.get("/health") as answer:
        return answer.status, await answer.json()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def loading(_request: web.Request) -> web.Response:
    return web.Response(status=503)


def done_before(root: Path, stage: str) -> Status:
    """Report every stage before `stage` as done."""
    records = status(root)
    for each in ("packages", "disk", "tools", "caddy", "engine", "keys", "model"):
        if each == stage:
            break
        records.report(each, State.DONE, "done")
    return records


@asynchronous
async def test_a_ready_endpoint_says_ok_without_a_key_and_tells_its_stages(tmp_path: Path):
    done_before(tmp_path, "server")
    async with gateway(tmp_path, {"chat": ModelServer()}) as here:
        await here.until_ready()
        assert await asked(here) == (200, {"status": "ok"})
        await until(lambda: here.activity()["ready_since"] is not None)
        records = status(tmp_path).read_all()
        assert records["server"].state is State.DONE
        assert records["ready"].state is State.DONE


@asynchronous
async def test_health_names_the_stage_that_the_boot_is_at(tmp_path: Path):
    records = done_before(tmp_path, "model")
    records.report("model", State.RUNNING, "1.2 of 4.1 GB")
    async with gateway(tmp_path, {"chat": free_port()}) as here:
        starting = {"status": "starting", "stage": "model", "message": "1.2 of 4.1 GB"}
        assert await asked(here) == (503, starting)
        status(tmp_path).report("model", State.FAILED, "no such file", ["a secret line"])
        failed = {"status": "failed", "stage": "model", "message": "no such file"}
        assert await asked(here) == (503, failed)


@asynchronous
async def test_health_says_that_the_model_is_being_loaded_until_it_is(tmp_path: Path):
    done_before(tmp_path, "server")
    server = ModelServer()
    ready, server.replies["/health"] = server.replies["/health"], loading
    async with gateway(tmp_path, {"chat": server}) as here:
        while (answer := await asked(here))[1].get("message") != "chat loads its model":
            await asyncio.sleep(0.01)
        assert answer[1]["stage"] == "server"
        assert status(tmp_path).read_all()["server"].state is State.RUNNING
        assert here.activity()["ready_since"] is None
        server.replies["/health"] = ready
        await here.until_ready()
        # It is told a moment after it is so.
        await until(lambda: status(tmp_path).read_all()["server"].state is State.DONE)


@asynchronous
async def test_health_waits_for_every_server(tmp_path: Path):
    done_before(tmp_path, "server")
    servers = {"chat": ModelServer(), "embeddings": free_port()}
    async with gateway(tmp_path, servers) as here:
        while not (answer := await asked(here))[1]["message"].startswith("chat answers"):
            await asyncio.sleep(0.01)
        assert answer[0] == 503
        assert answer[1]["message"] == "chat answers; embeddings does not answer yet"


@asynchronous
async def test_health_says_that_the_keys_are_missing(tmp_path: Path):
    done_before(tmp_path, "keys")
    async with gateway(tmp_path, {"chat": ModelServer()}, keys={}) as here:
        code, answer = await asked(here)
        assert (code, answer["stage"]) == (503, "keys")
        assert "the file of the keys can't be read" in answer["message"]
        write_keys(here.paths, default=KEY)
        await here.until_ready()
        here.paths.keys.unlink()
        assert (await asked(here))[1]["stage"] == "keys"


@asynchronous
async def test_a_request_before_the_server_is_there_is_told_the_stage(tmp_path: Path):
    records = done_before(tmp_path, "model")
    records.report("model", State.RUNNING, "1.2 of 4.1 GB")
    async with gateway(tmp_path, {"chat": free_port()}) as here:
        for asking in (here.post(data=b"{}"), here.get("/v1/models", headers=bearer())):
            async with asking as answer:
                assert answer.status == 503
                assert answer.headers["Retry-After"]
                error = (await answer.json())["error"]
                assert (error["code"], error["type"]) == ("not_ready", "server_error")
                assert "stage model: 1.2 of 4.1 GB" in error["message"]
        assert [entry["end"] for entry in await here.logged(2)] == ["server ended"] * 2


@asynchronous
async def test_a_server_that_dies_at_a_request_is_noticed_at_once_and_again_when_back(
    tmp_path: Path,
):
    done_before(tmp_path, "server")
    server = ModelServer()

    async def dies(request: web.Request) -> web.Response:
        server.replies["/health"] = loading
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    ready, server.replies[CHAT] = server.replies["/health"], dies
    async with gateway(tmp_path, {"chat": server}) as here:
        await here.until_ready()
        # It answers before it has told so.
        await until(lambda: here.activity()["ready_since"] is not None)
        since = here.activity()["ready_since"]
        async with here.post(data=b"{}") as answer:
            assert answer.status == 503
        assert (await asked(here))[0] == 503
        while status(tmp_path).read_all()["ready"].state is State.DONE:
            await asyncio.sleep(0.01)
        server.replies["/health"] = ready
        await here.until_ready()
        assert here.activity()["ready_since"] == since


@asynchronous
async def test_a_server_that_is_too_busy_for_its_probe_stays_ready(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(health, "_PROBE_SECONDS", 0.05)
    monkeypatch.setattr(health, "_READY_PAUSE_SECONDS", 0.01)
    server, probed = ModelServer(), asyncio.Event()

    async def hangs(_request: web.Request) -> web.Response:
        probed.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with gateway(tmp_path, {"chat": server}) as here:
        await here.until_ready()
        server.replies["/health"] = hangs
        for _ in range(3):
            probed.clear()
            await probed.wait()
            assert (await asked(here))[0] == 200


@asynchronous
async def test_what_gave_up_stays_failed_until_it_answers(tmp_path: Path):
    records = done_before(tmp_path, "server")
    records.report("server", State.FAILED, "the engine gave up")
    server = ModelServer()
    ready, server.replies["/health"] = server.replies["/health"], loading
    async with gateway(tmp_path, {"chat": server}) as here:
        while not server.asked:
            await asyncio.sleep(0.01)
        failed = {"status": "failed", "stage": "server", "message": "the engine gave up"}
        assert await asked(here) == (503, failed)
        server.replies["/health"] = ready
        await here.until_ready()
        await until(lambda: status(tmp_path).read_all()["server"].state is State.DONE)


def certified(tmp_path: Path) -> ssl.SSLContext:
    authority = make("127.0.0.1", datetime.now(UTC))
    place = tmp_path / "front.pem"
    place.write_text(authority.key + authority.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place)
    return context


async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@asynchronous
async def test_it_is_ready_once_caddy_is_there_with_a_certificate(tmp_path: Path):
    done_before(tmp_path, "server")
    port = free_port()
    async with gateway(tmp_path, {"chat": ModelServer()}, front_port=port) as here:
        # Caddy itself asks for it, and is not judged.
        await here.until_ready()

        async def told(message: str) -> None:
            while (record := status(tmp_path).read("gateway")) is None or record.message != message:
                await asyncio.sleep(0.01)

        await told("Caddy does not answer yet")
        bare = await asyncio.start_server(
            hang_up, "127.0.0.1", port, ssl=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        )
        async with bare:
            await told("Caddy has no certificate yet")
        records = status(tmp_path).read_all()
        assert records["server"].state is State.DONE
        assert "ready" not in records
        assert here.activity()["ready_since"] is None
        async with await asyncio.start_server(hang_up, "127.0.0.1", port, ssl=certified(tmp_path)):
            await told("Caddy answers")
            while status(tmp_path).read("ready") is None:
                await asyncio.sleep(0.01)
            assert status(tmp_path).read_all()["gateway"].state is State.DONE
