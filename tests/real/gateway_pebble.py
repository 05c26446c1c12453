"""A public authority in miniature: Let's Encrypt's test server, and the DNS that it asks."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from gateway_caddy import built, free_port

_SOURCES = Path(__file__).parent / "gateway_pebble_build"
_PACKAGE = "github.com/letsencrypt/pebble/v2/cmd/pebble"
_A_RECORD, _HEADER_BYTES = 1, 12


async def _tell_addresses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer DNS over TCP (RFC 1035): each name has the address 127.0.0.1 and nothing else."""
    with closing(writer), suppress(asyncio.IncompleteReadError):
        while True:
            query = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
            end = query.index(0, _HEADER_BYTES) + 5
            question, kind = query[_HEADER_BYTES:end], int.from_bytes(query[end - 4 : end - 2])
            # The name is the question's, by a pointer to it.
            record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01"
            records = record if kind == _A_RECORD else b""
            counts = b"".join(n.to_bytes(2) for n in (1, len(records) // len(record), 0, 0))
            answer = query[:2] + b"\x81\x80" + counts + question + records
            writer.write(len(answer).to_bytes(2) + answer)


@dataclass(frozen=True)
class Pebble:
    """A running authority: its ACME directory, the certificate of its own API, its root."""

    directory: str
    api_certificate: Path
    root: Path


def pebble_program() -> Path:
    """Return Pebble, built once."""
    return built("pebble", {path.name: path for path in sorted(_SOURCES.iterdir())}, _PACKAGE)


@asynccontextmanager
async def pebble(program: Path, folder: Path, http: int, https: int) -> AsyncIterator[Pebble]:
    """Run an authority that validates every name on these ports of 127.0.0.1."""
    certificate = _self_signed(folder)
    dns = await asyncio.start_server(_tell_addresses, "127.0.0.1", 0)
    api, management = free_port(), free_port()
    settings = {
        "listenAddress": f"127.0.0.1:{api}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(certificate),
        "privateKey": str(certificate),
        "httpPort": http,
        "tlsPort": https,
        "keyAlgorithm": "ecdsa",
        "retryAfter": {"authz": 1, "order": 1},
        "profiles": {"default": {"description": "ninety days", "validityPeriod": 7776000}},
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    words = ["-config", str(folder / "pebble.json")]
    words += ["-dnsserver", f"127.0.0.1:{dns.sockets[0].getsockname()[1]}"]
    with (folder / "pebble.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *words],
            env={**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        root = folder / "public-root.pem"
        context = ssl.create_default_context(cafile=str(certificate))
        root.write_bytes(await _fetched(f"https://127.0.0.1:{management}/roots/0", context))
        yield Pebble(f"https://127.0.0.1:{api}/dir", certificate, root)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 20)
        dns.close()


async def _fetched(url: str, context: ssl.SSLContext) -> bytes:
    connector = aiohttp.TCPConnector(ssl=context, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as client, asyncio.timeout(30):
        while True:
            try:
                async with client.get(url) as answer:
                    return await answer.read()
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)


def _self_signed(folder: Path) -> Path:
    """Return a file with a certificate for 127.0.0.1 that is its own authority, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "the authority's own API")])
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(alternative, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file = folder / "authority-api.pem"
    file.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, form, plain))
    return file


def reached_by(pebble: Pebble) -> Mapping[str, str]:
    """Return the variables by which Caddy takes this authority for the public one."""
    return {
        "LLM_ENDPOINT_ACME_DIRECTORY": pebble.directory,
        # Go's; on a machine the system's own roots are what counts.
        "SSL_CERT_FILE": str(pebble.api_certificate),
    }
