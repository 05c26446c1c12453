"""Ways to a Service of a cluster that no address outside of it leads to.

`Forward` listens on this machine and takes each connection to a ready pod of the Service by
Kubernetes' port-forward.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, Self, cast
from urllib.parse import quote

from scripts.gcp.credentials import CredentialsError
from scripts.gke.api import CONNECT_SECONDS, READ_SECONDS, ApiClient, ClusterApi, ClusterError
from scripts.verify.bounds import Deadline, Task
from scripts.verify.outcome import TimedOut
from scripts.verify.shape import Json, dig, dig_count, dig_text, excerpt, parse_json

MOST_CONNECTIONS = 64
OPEN_SECONDS = CONNECT_SECONDS + READ_SECONDS
"""What finding a pod and opening a stream to it may take."""
_PIECE_BYTES = 64 * 1024
_OF_PODS_THAT_COME = (400, 404, 409)
_HANDSHAKE = re.compile(r"Handshake status (\d{3})")
_DATA, _ERROR = 0, 1
_PORT_BYTES = 2
_LOOK_SECONDS = 0.2
"""How often a connection looks whether all of them are to end."""


class ForwardError(Exception):
    """No way could be opened. `passing`: it may go by itself while pods start."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True)
class ServicePort:
    """A port of a Service."""

    namespace: str
    service: str
    port: int

    def __str__(self) -> str:
        return f"{self.namespace}/{self.service}:{self.port}"


class Channels(Protocol):
    """The part of `kubernetes.stream.ws_client.WSClient` that is used here."""

    sock: _WebSocket

    def is_open(self) -> bool:
        """Whether more may come."""
        ...

    def read_channel(self, channel: int) -> bytes:
        """Return what has come on a channel, without waiting."""
        ...

    def write_channel(self, channel: int, data: bytes) -> None:
        """Send all of `data` on a channel."""
        ...

    def close(self) -> None:
        """Say good-bye and close the connection."""
        ...


class _WebSocket(Protocol):
    """The part of `websocket.WebSocket` that is used here: the TCP or TLS socket below it."""

    sock: socket.socket


class PodStream:
    """A port-forward to `pod`: bytes to and from its port, and what the kubelet says of a failure.

    Each channel begins with the port's number, as Kubernetes' documentation of the WebSocket
    subprotocol `v4.channel.k8s.io` has it: 0 carries the bytes, 1 an error.
    """

    def __init__(self, pod: str, channels: Channels) -> None:
        self.pod = pod
        self._channels = channels
        self._skip = {_DATA: _PORT_BYTES, _ERROR: _PORT_BYTES}
        self._said = b""

    @property
    def socket(self) -> socket.socket:
        """The socket to wait for."""
        return self._channels.sock.sock

    @property
    def has_more(self) -> bool:
        """Whether something has come that no waiting for the socket tells."""
        below = self.socket
        return isinstance(below, ssl.SSLSocket) and below.pending() > 0

    @property
    def is_open(self) -> bool:
        """Whether more may come: not after an error, and not after the end."""
        return self._channels.is_open() and not self._said

    @property
    def error(self) -> str:
        """What the kubelet says of a failure; "" for none."""
        return excerpt(self._said.decode(errors="replace"), 200)

    def read(self) -> bytes:
        """Return what has come. Raises what a socket does, or the WebSocket library."""
        # In this order: reading one channel takes in what has come on all.
        self._said += self._take(_ERROR)
        return self._take(_DATA)

    def write(self, data: bytes) -> None:
        """Send all of `data`. Raises likewise."""
        self._channels.write_channel(_DATA, data)

    def close(self) -> None:
        """End the port-forward."""
        with suppress(Exception):  # it may be gone already, in whichever way
            self._channels.close()

    def _take(self, channel: int) -> bytes:
        data = self._channels.read_channel(channel)
        skipped = min(self._skip[channel], len(data))
        self._skip[channel] -= skipped
        return data[skipped:]


def ready_pod(api: ClusterApi, at: ServicePort) -> tuple[str, int]:
    """Return a ready pod behind a Service, and the pod's own port.

    Raises `ForwardError`, `ClusterError`, `CredentialsError`.
    """
    space = f"namespaces/{quote(at.namespace)}"
    try:
        service = api.get(f"/api/v1/{space}/services/{quote(at.service)}")
    except ClusterError as error:
        if error.status == 404:
            raise ForwardError(
                f"there is no Service {at.service} in the namespace {at.namespace}", passing=True
            ) from None
        raise
    named = _port_name(service, at)
    slices = api.get(
        f"/apis/discovery.k8s.io/v1/{space}/endpointslices",
        labelSelector=f"kubernetes.io/service-name={at.service}",
    )
    waiting: list[str] = []
    for one in _list(dig(slices, "items")):
        port = next(
            (
                dig_count(entry, "port")
                for entry in _list(dig(one, "ports"))
                if dig_text(entry, "name") == named
            ),
            None,
        )
        for endpoint in _list(dig(one, "endpoints")):
            pod = dig_text(endpoint, "targetRef", "name")
            if not pod or not port:
                continue
            if dig(endpoint, "conditions", "ready") is True:
                return pod, port
            waiting.append(pod)
    pods = f"not ready yet: {', '.join(sorted(set(waiting)))}" if waiting else "there is none"
    raise ForwardError(f"no pod behind {at} is ready ({pods})", passing=True)


def _port_name(service: Json, at: ServicePort) -> str:
    """Return the name of the Service's port, "" where it has none."""
    ports = _list(dig(service, "spec", "ports"))
    for entry in ports:
        if dig(entry, "port") == at.port:
            return dig_text(entry, "name")
    shown = ", ".join(str(dig(entry, "port")) for entry in ports) or "none"
    raise ForwardError(
        f"the Service {at.service} has no port {at.port}, but {shown}", passing=False
    )


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def open_stream(api: ClusterApi, at: ServicePort) -> PodStream:
    """Open a port-forward to a ready pod behind a Service. Raises as `ready_pod` does."""
    pod, port = ready_pod(api, at)
    return PodStream(pod, _connect(api.another_client(), at.namespace, pod, port))


def _connect(client: ApiClient, namespace: str, pod: str, port: int) -> Channels:
    connect = cast("Callable[..., Channels]", import_module("kubernetes.stream").stream)
    core = import_module("kubernetes.client.api.core_v1_api").CoreV1Api(client)
    failed: type[Exception] = import_module("kubernetes.client.exceptions").ApiException
    method = core.connect_get_namespaced_pod_portforward
    try:
        return connect(method, pod, namespace, ports=str(port), binary=True, _preload_content=False)
    except failed as error:
        raise _refused(pod, str(getattr(error, "reason", ""))) from None


def _refused(pod: str, reason: str) -> ClusterError:
    """Return what a web socket that was not opened means; its whole answer stands in `reason`."""
    said, _, answer = reason.partition(" -+-+- ")
    status = _HANDSHAKE.match(reason)
    try:
        message = dig_text(parse_json(answer.rpartition(" -+-+- ")[2]), "message")
    except ValueError:
        message = ""
    if message:
        said += f": {message}"
    text = f"no port-forward to {pod}: {excerpt(said, 300)}"
    return ClusterError(text, int(status[1]) if status else 0)


class Forward:
    """Takes connections to a port of 127.0.0.1 on to a Service, for a `with` statement.

    Each connection finds a ready pod by itself, so that one that has moved is found again. `port`
    0 is a free one. `report` gets what goes wrong, each thing once. At its end every connection is
    cut off.
    """

    def __init__(
        self,
        api: ClusterApi,
        at: ServicePort,
        report: Callable[[str], None],
        *,
        port: int = 0,
        open_stream: Callable[[ClusterApi, ServicePort], PodStream] = open_stream,
    ) -> None:
        self._api = api
        self._at = at
        self._report = report
        self._open = open_stream
        self._ending = threading.Event()
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._lock = threading.Lock()
        self._problem: ForwardError | None = None
        self._said: str | None = None
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(_LOOK_SECONDS)
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        with suppress(OSError):
            # Wakes who waits for a connection; closing alone would not.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(2 * _LOOK_SECONDS)

    @property
    def port(self) -> int:
        """The port of 127.0.0.1 to connect to."""
        return self._listener.getsockname()[1]

    @property
    def problem(self) -> ForwardError | None:
        """Why the last connection came to nothing; None once one has gone through."""
        with self._lock:
            return self._problem

    def _accept(self) -> None:
        while not self._ending.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                # One connection that broke off, too many files for now, or the end.
                self._ending.wait(_LOOK_SECONDS)
                continue
            if not self._room.acquire(blocking=False):
                self._fail(
                    ForwardError(f"more than {MOST_CONNECTIONS} connections at once", passing=True)
                )
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                stream = self._opened()
                if stream is not None:
                    try:
                        self._pump(connection, stream)
                    finally:
                        stream.close()
        finally:
            self._room.release()

    def _opened(self) -> PodStream | None:
        """Open a stream within its time; None where that failed, which has been said."""
        deadline = Deadline(OPEN_SECONDS)
        given_up = threading.Event()

        def work() -> PodStream | None:
            stream = self._open(self._api, self._at)
            if given_up.is_set():
                stream.close()
                return None
            return stream

        try:
            return Task(deadline, work).result()
        except ForwardError as error:
            self._fail(error)
        except ClusterError as error:
            passing = error.passing or error.status in _OF_PODS_THAT_COME
            self._fail(ForwardError(str(error), passing=passing))
        except CredentialsError as error:
            self._fail(ForwardError(str(error), passing=False))
        except TimedOut:
            given_up.set()
            text = f"no port-forward to {self._at} within {OPEN_SECONDS:g} s"
            self._fail(ForwardError(text, passing=True))
        except Exception as error:  # a listener must outlive whatever one connection meets
            self._fail(ForwardError(f"{self._at}: {type(error).__name__}", passing=True))
        return None

    def _pump(self, connection: socket.socket, stream: PodStream) -> None:
        """Copy bytes both ways until one side ends."""
        received = False
        try:
            while not self._ending.is_set() and stream.is_open:
                wait = 0 if stream.has_more else _LOOK_SECONDS
                readable, _, _ = select.select([connection, stream.socket], [], [], wait)
                if connection in readable:
                    data = connection.recv(_PIECE_BYTES)
                    if not data:
                        return
                    stream.write(data)
                if stream.socket in readable or wait == 0:
                    data = stream.read()
                    if data:
                        received = received or self._succeed()
                        connection.sendall(data)
        except Exception as error:  # a socket's, or the WebSocket library's own
            if not received:
                text = f"{stream.pod}: the connection broke off ({type(error).__name__})"
                self._fail(ForwardError(text, passing=True))
        else:
            if stream.error:
                self._fail(ForwardError(f"{stream.pod}: {stream.error}", passing=True))

    def _succeed(self) -> bool:
        with self._lock:
            self._problem = None
            self._said = None
        return True

    def _fail(self, error: ForwardError) -> None:
        with self._lock:
            self._problem = error
            known, self._said = self._said == str(error), str(error)
        if not known:
            self._report(str(error))
