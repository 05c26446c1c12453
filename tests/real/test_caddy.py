"""The real Caddy in front of the real key checker, from the files that a machine gets."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from gateway_caddy import (
    ACME,
    CHECKOUT,
    NOBODY,
    OWN_CA,
    VERSION,
    Caddy,
    adapted,
    caddy_program,
    command,
    free_port,
    own_authority,
    running,
    trusting,
)
from unit.gateway_harness import CHAT, KEY, ModelServer, Stream, asynchronous, bearer, write_keys

from machine.gateway.__main__ import HTTPS_PORT
from machine.paths import Paths
from machine.status import State, Status

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

ADDRESS = "127.0.0.1"
EVENTS = (b'data: {"choices": [{"delta": {"content": "one"}}]}\n\n', b"data: [DONE]\n\n")
BODY_BYTES = 100_000


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="caddy-") as name:
        Path(name).chmod(0o755)
        yield Path(shutil.copy(caddy_program(), name))


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="caddy-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def config(port: int, upstream: int) -> dict[str, object]:
    chat = {
        "name": "chat",
        "model": "owner/repo:file.gguf",
        "engine": "llama-wheel",
        "port": upstream,
        "pull": None,
        "probe": {"path": "/health", "loading_status": 503},
        "api_path": "/v1",
        "context_tokens_total": None,
        "slots": None,
        "kv_type": None,
        "gpu_layers": None,
        "gpus": None,
        "snapshot": False,
    }
    return {
        "keys_secret": "x-keys",
        "ca_secret": "x-ca",
        "tls": "own_ca",
        "domain": None,
        "packages": [],
        "optional_packages": [],
        "cache_disk": None,
        "caddy": {"version": VERSION, "url": "", "sha512": ""},
        "engines": {
            "llama-wheel": {"kind": "environment", "requirements": "llama-wheel", "source": None}
        },
        "gpus": None,
        "servers": [chat],
        "gateway": {
            "port": port,
            "active_requests": 4,
            "body_bytes": BODY_BYTES,
            "request_seconds": 60,
        },
        "watchdog": {"idle_minutes": None, "stop": {"kind": "power_off"}},
    }


@asynccontextmanager
async def key_checker(folder: Path, port: int, upstream: int, https: int) -> AsyncIterator[Path]:
    """Run `python -m machine.gateway`; yields the file that its log goes to."""
    paths = Paths(folder / "root")
    write_keys(paths, default=KEY)
    paths.config.parent.mkdir(parents=True)
    paths.config.write_text(json.dumps(config(port, upstream)))
    log = folder / "gateway.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "machine.gateway", "--root", str(paths.root)],
            cwd=CHECKOUT,
            env={**os.environ, HTTPS_PORT: str(https)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield log
    finally:
        process.terminate()
        assert await asyncio.to_thread(process.wait, 30) == 0, log.read_text()


@dataclass
class Endpoint:
    """The whole way: client, Caddy, key checker, model server."""

    caddy: Caddy
    client: aiohttp.ClientSession
    server: ModelServer
    log: Path

    def get(self, path: str, **options: Any) -> Any:
        return self.client.get(f"{self.caddy.url}{path}", **options)

    def post(self, **options: Any) -> Any:
        headers = options.pop("headers", bearer())
        return self.client.post(f"{self.caddy.url}{CHAT}", headers=headers, **options)

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@asynccontextmanager
async def endpoint(program: Path, folder: Path, host: str = ADDRESS) -> AsyncIterator[Endpoint]:
    certificate = own_authority(folder, host)
    server, port, https = ModelServer(), free_port(), free_port()
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(server.server())
        assert upstream.port is not None
        log = await stack.enter_async_context(key_checker(folder, port, upstream.port, https))
        caddy = await stack.enter_async_context(
            running(
                *(program, OWN_CA, folder, host),
                LLM_ENDPOINT_GATEWAY_PORT=str(port),
                LLM_ENDPOINT_BODY_BYTES=str(BODY_BYTES),
                LLM_ENDPOINT_HTTPS_PORT=str(https),
            )
        )
        connector = aiohttp.TCPConnector(ssl=trusting(certificate), force_close=True)
        client = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        here = Endpoint(caddy, client, server, log)
        await _until_ready(here)
        yield here


async def _until_ready(here: Endpoint) -> None:
    while True:
        async with here.get("/health") as answer:
            if answer.status == 200:
                assert await answer.json() == {"status": "ok"}
                return
            assert answer.status == 503
            told = await answer.json()
            assert told["stage"] in {"gateway", "server", "packages"}
        await asyncio.sleep(0.05)


def test_the_program_is_the_pinned_version(program: Path):
    said = subprocess.run([program, "version"], capture_output=True, text=True, check=True)
    assert said.stdout.split()[0] == VERSION


def variables(folder: Path) -> dict[str, str]:
    return {
        "HOME": str(folder),
        "LLM_ENDPOINT_HOST": "llm.example.com",
        "LLM_ENDPOINT_CADDY_STORAGE": str(folder),
        "RUNTIME_DIRECTORY": str(folder),
        "CREDENTIALS_DIRECTORY": str(folder),
    }


@pytest.mark.parametrize("caddyfile", [OWN_CA, ACME])
def test_caddy_takes_the_file_and_has_nothing_to_format(
    program: Path, folder: Path, caddyfile: Path
):
    own_authority(folder, "llm.example.com")
    environment = variables(folder)
    for verb in ("validate", "fmt"):
        words = command(program, verb, caddyfile)
        words = [str(program), "fmt", "--diff", str(caddyfile)] if verb == "fmt" else words
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("caddyfile", [OWN_CA, ACME])
def test_no_time_is_set_that_would_end_a_long_answer_and_no_port_but_https(
    program: Path, folder: Path, caddyfile: Path
):
    made: Any = adapted(program, caddyfile, variables(folder))
    (server,) = made["apps"]["http"]["servers"].values()
    assert server["listen"] == [":443"]
    assert server["protocols"] == ["h1", "h2"]
    assert server["read_header_timeout"] > 0
    assert not {"read_timeout", "write_timeout", "logs"} & set(server)
    assert made["admin"] == {"listen": "fd/3", "config": {"persist": False}}
    assert not any(
        name in json.dumps(server)
        for name in ("response_header_timeout", "read_timeout", "write_timeout", "flush_interval")
    )


def test_both_files_let_the_same_pass(program: Path, folder: Path):
    routes = []
    for caddyfile in (OWN_CA, ACME):
        made: Any = adapted(program, caddyfile, variables(folder))
        (server,) = made["apps"]["http"]["servers"].values()
        inner = server["routes"][0]["handle"][0]["routes"]
        headers = [each for each in inner if each["handle"][0]["handler"] == "headers"]
        assert len(headers) == (caddyfile is ACME)
        rest = [each for each in inner if each not in headers]
        routes.append((rest, server["routes"][1:], server["errors"]))
    assert routes[0] == routes[1]


@pytest.mark.parametrize("host", [ADDRESS, "localhost"])
@asynchronous
async def test_clients_that_trust_the_authority_alone_are_served(
    program: Path, folder: Path, host: str
):
    async with endpoint(program, folder, host) as here:
        async with here.post(data=b'{"a": 1}') as answer:
            assert (answer.status, await answer.read()) == (200, b'{"a": 1}')
        assert "Strict-Transport-Security" not in answer.headers
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            async with here.get("/health", ssl=ssl.create_default_context()):
                pass


@asynchronous
async def test_the_machine_is_ready_once_caddy_answers(program: Path, folder: Path):
    async with endpoint(program, folder):
        status = Status(Paths(folder / "root").run, Path(os.devnull))
        while (record := status.read("ready")) is None:
            await asyncio.sleep(0.05)
        assert record.state is State.DONE
        for stage in ("server", "gateway"):
            assert status.read_all()[stage].state is State.DONE


@asynchronous
async def test_without_a_key_nobody_gets_in_and_only_the_apis_paths_pass(
    program: Path, folder: Path
):
    async with endpoint(program, folder) as here:
        for headers in ({}, bearer("sk-wrong")):
            async with here.post(data=b"{}", headers=headers) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"
        before = len(here.entries())
        for path in ("/", "/metrics", "/slots", "/v1/files", "/v1/chat/completions/x", "/healthz"):
            async with here.get(path, headers=bearer()) as answer:
                assert answer.status == 404
                assert (await answer.json())["error"]["message"] == "Not Found"
        assert len(here.entries()) == before, "Caddy lets no other path through"
        async with here.get("/v1/models", headers=bearer()) as answer:
            assert [model["id"] for model in (await answer.json())["data"]] == ["owner/model"]
        other = {"Host": "other.example", **bearer()}
        async with here.get("/v1/models", headers=other) as answer:
            assert answer.status == 404
    assert here.server.generations == []


async def _pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 1000


@asynchronous
async def test_bodies_and_headers_have_a_largest_size(program: Path, folder: Path):
    async with endpoint(program, folder) as here:
        async with here.post(data=b"x" * BODY_BYTES) as answer:
            assert answer.status == 200
        for body in (b"x" * (BODY_BYTES + 1), _pieces(BODY_BYTES // 1000 + 1)):
            async with here.post(data=body) as answer:
                assert answer.status == 413
                assert "error" in await answer.json()
        async with here.post(data=b"{}", headers={**bearer(), "X-Long": "x" * 40_000}) as answer:
            assert answer.status == 431
    assert len(here.server.generations) == 1


@asynchronous
async def test_a_stream_passes_unbuffered_and_a_client_that_leaves_frees_the_server(
    program: Path, folder: Path
):
    async with endpoint(program, folder) as here:
        stream = here.server.replies[CHAT] = Stream()
        async with here.post(data=b"{}") as answer:
            assert answer.content_type == "text/event-stream"
            for event in EVENTS:
                stream.send(event)
                assert await answer.content.readany() == event
            stream.end()
            assert await answer.read() == b""
        stream = here.server.replies[CHAT] = Stream()
        async with here.post(data=b"{}") as answer:
            stream.send(EVENTS[0])
            await answer.content.readany()
            answer.close()
        await stream.left.wait()


@asynchronous
async def test_a_server_that_dies_in_a_stream_is_noticed_by_the_client(program: Path, folder: Path):
    async with endpoint(program, folder) as here:
        stream = here.server.replies[CHAT] = Stream()
        async with here.post(data=b"{}") as answer:
            stream.send(EVENTS[0])
            assert await answer.content.readany() == EVENTS[0]
            stream.die()
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()


@asynchronous
async def test_a_stream_over_http_2_passes_unbuffered(program: Path, folder: Path):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl, which speaks HTTP/2")
    async with endpoint(program, folder) as here:
        stream = here.server.replies[CHAT] = Stream()
        words = [curl, "-sSN", "--http2", "--cacert", str(folder / "certificate.pem"), "-d", "{}"]
        words += ["-w", "HTTP/%{http_version}", "-H", f"Authorization: Bearer {KEY}"]
        process = await asyncio.create_subprocess_exec(
            *words, f"{here.caddy.url}{CHAT}", stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        for event in EVENTS:
            stream.send(event)
            assert await process.stdout.readexactly(len(event)) == event
        stream.end()
        assert await process.stdout.read() == b"HTTP/2"
        assert await process.wait() == 0


@asynchronous
async def test_a_reload_breaks_no_stream_and_only_root_may_ask_for_it(program: Path, folder: Path):
    async with endpoint(program, folder) as here:
        stream = here.server.replies[CHAT] = Stream()
        async with here.post(data=b"{}") as answer:
            stream.send(EVENTS[0])
            assert await answer.content.readany() == EVENTS[0]
            for _ in range(2):
                done = await asyncio.to_thread(here.caddy.reload)
                assert done.returncode == 0, done.stderr
                async with here.get("/health") as health:
                    assert health.status == 200
            stream.send(EVENTS[1])
            stream.end()
            assert await answer.read() == EVENTS[1]
        if os.geteuid() == 0:
            refused = await asyncio.to_thread(here.caddy.reload, user=NOBODY, group=NOBODY)
            assert refused.returncode != 0
            assert "permission denied" in refused.stderr


@asynchronous
async def test_caddy_listens_for_https_alone_and_runs_without_root(program: Path, folder: Path):
    async with endpoint(program, folder) as here:
        process = psutil.Process(here.caddy.process.pid)
        listening = [c.laddr.port for c in process.net_connections("all") if c.status == "LISTEN"]
        datagrams = process.net_connections("udp")
        assert (listening, datagrams) == ([here.caddy.https], [])
        assert process.uids().real != 0 or os.geteuid() != 0


@asynchronous
async def test_no_log_holds_the_key_whatever_goes_wrong(program: Path, folder: Path):
    async with endpoint(program, folder) as here:
        async with here.get(f"/v1/models/{KEY}?key={KEY}", headers=bearer()) as answer:
            assert answer.status == 404
        async with here.get(f"/{KEY}", headers=bearer()) as answer:
            assert answer.status == 404
        stream = here.server.replies[CHAT] = Stream()
        async with here.post(data=KEY.encode()) as answer:
            stream.send(EVENTS[0])
            stream.die()
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        log, caddy = here.log, here.caddy
        assert len([entry for entry in here.entries() if entry["path"] != "/health"]) == 2
    # The key checker went first: what Caddy meets then is a fault, which it may log.
    assert KEY not in log.read_text()
    assert KEY not in caddy.log.read_text()


@asynchronous
async def test_while_the_key_checker_is_away_clients_are_told_so(program: Path, folder: Path):
    certificate = own_authority(folder, ADDRESS)
    nobody = str(free_port())
    async with (
        running(program, OWN_CA, folder, ADDRESS, LLM_ENDPOINT_GATEWAY_PORT=nobody) as caddy,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting(certificate))) as client,
    ):
        async with client.get(f"{caddy.url}/health") as answer:
            assert answer.status == 503
            told = await answer.json()
            assert (told["status"], told["stage"]) == ("starting", "gateway")
        async with client.post(f"{caddy.url}{CHAT}", headers=bearer(), data=b"{}") as answer:
            assert answer.status == 503
            assert (await answer.json())["error"]["code"] == "not_ready"
        assert KEY not in caddy.log.read_text()
