"""Whether Caddy, in front of the gateway, can be reached as clients reach it."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from enum import StrEnum

_ASK_SECONDS = 5.0


class FrontState(StrEnum):
    """What Caddy does, as its record says it."""

    ABSENT = "Caddy does not answer yet"
    WITHOUT_CERTIFICATE = "Caddy has no certificate yet"
    READY = "Caddy answers"


class Front:
    """Caddy on `port` of this machine. Where `port` is None, nothing is in front."""

    def __init__(self, port: int | None) -> None:
        self.port = port
        # Who signed its certificate is the clients' question, so no authorities are loaded.
        self._anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._anyone.check_hostname = False
        self._anyone.verify_mode = ssl.CERT_NONE

    async def ask(self) -> FrontState:
        """Shake hands with Caddy, which no log tells of, and return what it does."""
        if self.port is None:
            return FrontState.READY
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                # Without a name in the hello, as clients of a bare address come.
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", self.port, ssl=self._anyone, server_hostname=""
                )
        except (ssl.SSLError, ConnectionResetError):
            return FrontState.WITHOUT_CERTIFICATE
        except OSError:
            return FrontState.ABSENT
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return FrontState.READY
