"""The engine that started the plugin: where log lines go, and what the plugin lives by."""

from __future__ import annotations

import contextlib
import threading
import time

import grpc
from pulumi.runtime.proto.engine_pb2 import LogRequest, LogSeverity
from pulumi.runtime.proto.engine_pb2_grpc import EngineStub

_HEALTH = "/grpc.health.v1.Health/Check"
_CHECK_SECONDS = 1.0
_MISSES = 2


class Engine:
    """A connection to the engine at ADDRESS; without an address, log lines go nowhere."""

    def __init__(self, address: str | None) -> None:
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        if address:
            self.attach(address)

    def attach(self, address: str) -> None:
        """Takes the engine at ADDRESS from now on."""
        with self._lock:
            self._channel = grpc.insecure_channel(address)

    def log(self, urn: str, line: str) -> None:
        """Shows LINE beside the resource URN for as long as it is being worked on."""
        request = LogRequest(severity=LogSeverity.INFO, message=line, urn=urn, ephemeral=True)
        with self._lock:
            channel = self._channel
        # A line that can't be shown must not fail a command; a lost engine ends the plugin.
        if channel is not None:
            with contextlib.suppress(grpc.RpcError):
                EngineStub(channel).Log(request)  # pyright: ignore[reportUnknownMemberType]

    def wait_until_lost(self) -> None:
        """Returns once the engine no longer answers; at once where there is none.

        A health check that the engine doesn't implement is an answer.
        """
        misses = 0
        while misses < _MISSES:
            time.sleep(_CHECK_SECONDS)
            misses = 0 if self._answers() else misses + 1

    def _answers(self) -> bool:
        with self._lock:
            channel = self._channel
        if channel is None:
            return False
        try:
            channel.unary_unary(_HEALTH)(b"")
        except grpc.RpcError as error:
            return error.code() is not grpc.StatusCode.UNAVAILABLE
        return True
