"""`python -m machine.gateway` as systemd runs it: its settings, its port, its end."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from gateway_harness import CHAT, KEY, ModelServer, Stream, asynchronous, bearer, write_keys

from machine.config import Config
from machine.gateway import __main__ as command
from machine.gateway.__main__ import from_config
from machine.gateway.settings import Limits, Settings, Upstream
from machine.paths import Paths


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def server(name: str, port: int, api_path: str) -> dict[str, object]:
    return {
        "name": name,
        "model": "owner/repo:file.gguf",
        "engine": "llama-wheel",
        "port": port,
        "pull": None,
        "probe": {"path": "/health", "loading_status": 503},
        "api_path": api_path,
        "context_tokens_total": None,
        "slots": None,
        "kv_type": None,
        "gpu_layers": None,
        "gpus": None,
        "snapshot": False,
    }


CONFIG = {
    "keys_secret": "x-keys",
    "ca_secret": None,
    "tls": "acme",
    "domain": "llm.example.com",
    "packages": [],
    "optional_packages": [],
    "cache_disk": None,
    "caddy": {"version": "v2.11.9", "url": "", "sha512": ""},
    "engines": {
        "llama-wheel": {"kind": "environment", "requirements": "llama-wheel", "source": None}
    },
    "gpus": None,
    "servers": [server("chat", 8081, "/v1"), server("embeddings", 8082, "/v3")],
    "gateway": {"port": 8080, "active_requests": 3, "body_bytes": 99, "request_seconds": 60},
    "watchdog": {"idle_minutes": None, "stop": {"kind": "power_off"}},
}


def test_the_gateways_settings_are_those_of_the_machine(tmp_path: Path):
    path = Paths(tmp_path).config
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(CONFIG))
    assert from_config(Config.load(path), 443) == Settings(
        port=8080,
        upstreams=(
            Upstream("chat", "http://127.0.0.1:8081", "/v1", "/health", 503),
            Upstream("embeddings", "http://127.0.0.1:8082", "/v3", "/health", 503),
        ),
        limits=Limits(active_requests=3, body_bytes=99, request_seconds=60),
        front_port=443,
    )


def test_a_machine_without_settings_is_a_failure_for_good(tmp_path: Path, capsys):
    assert command.main(["--root", str(tmp_path)]) == 78
    assert "machine.json" in capsys.readouterr().err


async def _until_serving(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return


@asynccontextmanager
async def served(root: Path, stream: Stream) -> AsyncIterator[str]:
    """Run the command's server before a model server that answers chats with `stream`."""
    model, paths, port = ModelServer(), Paths(root), free_port()
    model.replies[CHAT] = stream
    write_keys(paths, default=KEY)
    async with model.server() as upstream:
        assert upstream.port is not None
        chat = Upstream("chat", f"http://127.0.0.1:{upstream.port}", "/v1", "/health", 503)
        serving = asyncio.create_task(
            command.serve(Settings(port, (chat,), Limits(4, 1000, 60)), paths)
        )
        await _until_serving(port)
        yield f"http://127.0.0.1:{port}"
        await serving


async def _until_closed(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        writer.close()
        await asyncio.sleep(0.01)


def entry(output: str) -> tuple[int, str]:
    last = json.loads(output.splitlines()[-1])
    return last["status"], last["end"]


@asynchronous
async def test_sigterm_lets_a_stream_end(tmp_path: Path, capsys):
    stream = Stream()
    async with (
        served(tmp_path, stream) as url,
        aiohttp.ClientSession() as client,
        client.post(url + CHAT, headers=bearer(), data=b"{}") as answer,
    ):
        stream.send(b"data: {}\n\n")
        await answer.content.readany()
        os.kill(os.getpid(), signal.SIGTERM)
        await _until_closed(int(url.rpartition(":")[2]))
        stream.send(b"data: [DONE]\n\n")
        stream.end()
        assert await answer.read() == b"data: [DONE]\n\n"
    assert entry(capsys.readouterr().out) == (200, "complete")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/models?key=sk-secret\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nCookie: " + b"sk-secret" * 1000 + b"\r\n\r\n",
    ],
    ids=["query", "header"],
)
@asynchronous
async def test_what_the_server_itself_refuses_is_not_quoted(tmp_path: Path, capfd, head: bytes):
    async with served(tmp_path, Stream()) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(head)
        assert (await reader.readline()).split()[1] == b"400"
        writer.close()
        os.kill(os.getpid(), signal.SIGTERM)
    said = capfd.readouterr()
    assert "Error handling request" in said.err
    assert "sk-secret" not in said.out + said.err


@asynchronous
async def test_sigterm_does_not_wait_for_ever(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(command, "GRACE_SECONDS", 0.05)
    stream = Stream()
    async with served(tmp_path, stream) as url, aiohttp.ClientSession() as client:
        async with client.post(url + CHAT, headers=bearer(), data=b"{}") as answer:
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(aiohttp.ClientError):
                await answer.read()
        await stream.left.wait()
    assert entry(capsys.readouterr().out) == (200, "gateway stopped")


@asynchronous
async def test_a_client_that_leaves_frees_the_server(tmp_path: Path, capsys):
    stream = Stream()
    async with served(tmp_path, stream) as url, aiohttp.ClientSession() as client:
        async with client.post(url + CHAT, headers=bearer(), data=b"{}") as answer:
            answer.close()
        await stream.left.wait()
        os.kill(os.getpid(), signal.SIGTERM)
    assert entry(capsys.readouterr().out) == (200, "client left")
