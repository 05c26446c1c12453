"""Whether Caddy, in front of the gateway, can be reached as clients reach it."""

from __future__ import annotations

import ssl
from enum import StrEnum
from pathlib import Path

import aiohttp

_ASK_SECONDS = 5.0
_HOST = "LLM_ENDPOINT_HOST="


class FrontState(StrEnum):
    """What Caddy does, as the status tells it."""

    UNNAMED = "Caddy waits for the address and the keys"
    ABSENT = "Caddy does not answer yet"
    UNCERTIFIED = "Caddy has no certificate yet"
    READY = "Caddy answers"


class Front:
    """Asks Caddy on `port` of this machine, by the host name in the file `host`."""

    def __init__(self, host: Path, port: int, session: aiohttp.ClientSession) -> None:
        self._host = host
        self._url = f"https://127.0.0.1:{port}/"
        self._session = session
        # Whether something answers is the question: who it is, each client sees for itself.
        self._anyone = ssl.create_default_context()
        self._anyone.check_hostname = False
        self._anyone.verify_mode = ssl.CERT_NONE

    async def ask(self) -> FrontState:
        """Return what Caddy does now.

        The path asked for is one that Caddy itself refuses: the access log has no line of it.
        """
        host = self._name()
        if host is None:
            return FrontState.UNNAMED
        try:
            async with self._session.get(
                self._url,
                ssl=self._anyone,
                server_hostname=host,
                headers={"Host": host},
                timeout=aiohttp.ClientTimeout(total=_ASK_SECONDS),
                allow_redirects=False,
            ):
                return FrontState.READY
        except aiohttp.ClientSSLError:
            return FrontState.UNCERTIFIED
        except (aiohttp.ClientError, OSError):
            return FrontState.ABSENT

    def _name(self) -> str | None:
        try:
            lines = self._host.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return None
        names = (line.removeprefix(_HOST).strip('"') for line in lines if line.startswith(_HOST))
        return next((name for name in names if name), None)
