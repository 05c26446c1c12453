"""The real Caddy gets a certificate for a domain from an authority that asks for proof."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest
from gateway_caddy import ACME, Caddy, caddy_program, free_port, running, trusting
from gateway_pebble import pebble, pebble_program, reached_by
from unit.gateway_harness import asynchronous

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

DOMAIN = "llm.example.com"


@pytest.fixture(scope="module")
def authority_program() -> Path:
    return pebble_program()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="caddy-acme-") as name:
        Path(name).chmod(0o755)
        shutil.copy(caddy_program(), name)
        yield Path(name)


async def _served(caddy: Caddy, root: Path) -> None:
    """Hold Caddy to serve the domain with a certificate of the authority's."""
    connector = aiohttp.TCPConnector(ssl=trusting(root), force_close=True)
    async with aiohttp.ClientSession(connector=connector) as client:
        url, host = f"https://127.0.0.1:{caddy.https}", {"Host": DOMAIN}
        async with client.get(f"{url}/health", server_hostname=DOMAIN, headers=host) as answer:
            assert answer.status == 503
            assert (await answer.json())["stage"] == "gateway"
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        # A cloud's health check: no name in the hello, and nobody's certificate is looked at.
        async with client.get(f"{url}/health", ssl=False, headers=host) as answer:
            assert answer.status == 503
        async with client.get(f"{url}/else", server_hostname=DOMAIN, headers=host) as answer:
            assert answer.status == 404


@asynchronous
async def test_a_domains_certificate_is_got_once_and_outlives_the_machine(
    authority_program: Path, folder: Path
):
    http, https = free_port(), free_port()
    ports = {"LLM_ENDPOINT_HTTP_PORT": str(http), "LLM_ENDPOINT_HTTPS_PORT": str(https)}
    nobody = {"LLM_ENDPOINT_GATEWAY_PORT": str(free_port())}
    caddy = folder / "caddy"
    async with pebble(authority_program, folder, http, https) as authority:
        reached = reached_by(authority)
        more = {**ports, **nobody, **reached}
        async with running(caddy, ACME, folder, DOMAIN, **more) as here:
            await _served(here, authority.root)
            process = psutil.Process(here.process.pid)
            sockets = process.net_connections("all")
            listening = {each.laddr.port for each in sockets if each.status == "LISTEN"}
            assert listening == {http, https}
            async with (
                aiohttp.ClientSession() as client,
                client.get(
                    f"http://127.0.0.1:{http}/v1/models?x=1",
                    headers={"Host": DOMAIN},
                    allow_redirects=False,
                ) as answer,
            ):
                assert answer.status == 308
                assert answer.headers["Location"] == f"https://{DOMAIN}/v1/models?x=1"
    # The authority is gone, and another machine has the disk.
    async with running(caddy, ACME, folder, DOMAIN, **more) as here:
        await _served(here, authority.root)
