"""Ways to a Service that no address leads to, through a port-forward of the API server."""

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from fake_authority import make_authority
from fake_cluster import CORE, TOKEN, FakeCluster

from components.targets.kubernetes.access import ClusterAccess
from scripts.gke.api import ClusterApi
from scripts.gke.port_forward import Forward, ForwardError, ServicePort, ready_pod

AT = ServicePort("llm", "gateway", 443)


class Echo:
    """A server that answers each connection's bytes with its name before them."""

    def __init__(self, name: bytes) -> None:
        self._name = name
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(65536):
                connection.sendall(self._name + data)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Callable[[bytes], Echo]]:
    made: list[Echo] = []

    def make(name: bytes) -> Echo:
        made.append(Echo(name))
        return made[-1]

    yield make
    for one in made:
        one.close()


def ask(port: int, data: bytes, answer_bytes: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        found = b""
        # An end with bytes unread is a reset.
        with suppress(ConnectionResetError):
            connection.sendall(data)
            while len(found) < answer_bytes and (piece := connection.recv(65536)):
                found += piece
        return found


def test_connections_go_to_a_ready_pod_several_at_once(echo: Callable[[bytes], Echo]):
    said: list[str] = []
    with FakeCluster() as cluster:
        cluster.serve("gateway-1", echo(b"a:").port)
        with (
            Forward(ClusterApi(cluster.access, cluster.environment), AT, said.append) as forward,
            ThreadPoolExecutor(8) as pool,
        ):
            sent = [f"hello {number}".encode() for number in range(8)]
            got = list(pool.map(lambda one: ask(forward.port, one, len(one) + 2), sent))
    assert got == [b"a:" + one for one in sent]
    assert said == []
    assert cluster.tokens == {f"Bearer {TOKEN}"}


def test_one_connection_that_breaks_off_at_its_beginning_ends_no_others(
    echo: Callable[[bytes], Echo], monkeypatch: pytest.MonkeyPatch
):
    faults = [ConnectionAbortedError(), OSError(errno.EMFILE, "Too many open files")]
    accept = socket.socket.accept

    def accept_some(listener: socket.socket) -> tuple[socket.socket, object]:
        if threading.current_thread() is forward._thread and faults:
            raise faults.pop()
        return accept(listener)

    with FakeCluster() as cluster:
        cluster.serve("gateway-1", echo(b"a:").port)
        forward = Forward(ClusterApi(cluster.access, cluster.environment), AT, print)
        monkeypatch.setattr(socket.socket, "accept", accept_some)
        with forward:
            assert ask(forward.port, b"x", 3) == b"a:x"
    assert faults == []
    assert not forward._thread.is_alive()


def test_much_goes_through_whole(echo: Callable[[bytes], Echo]):
    data = bytes(range(256)) * 4096
    with FakeCluster() as cluster:
        cluster.serve("gateway-1", echo(b"").port)
        with Forward(ClusterApi(cluster.access, cluster.environment), AT, print) as forward:
            assert ask(forward.port, data, len(data)) == data


def test_a_pod_that_has_moved_is_found_again_by_the_next_connection(echo: Callable[[bytes], Echo]):
    said: list[str] = []
    with FakeCluster() as cluster:
        cluster.serve("gateway-1", echo(b"1").port)
        with Forward(ClusterApi(cluster.access, cluster.environment), AT, said.append) as forward:
            assert ask(forward.port, b"x", 2) == b"1x"
            cluster.put_endpoints({"gateway-1": False})
            assert ask(forward.port, b"x", 2) == b""
            assert forward.problem is not None
            assert forward.problem.passing
            assert ask(forward.port, b"x", 2) == b""
            cluster.put_endpoints({"gateway-1": False, "gateway-2": True})
            cluster.ports["gateway-2"] = echo(b"2").port
            assert ask(forward.port, b"x", 2) == b"2x"
            assert forward.problem is None
    assert said == ["no pod behind llm/gateway:443 is ready (not ready yet: gateway-1)"]


def test_what_the_kubelet_says_of_a_failure_is_told():
    said: list[str] = []
    with FakeCluster(errors={"gateway-1": "connect: connection refused"}) as cluster:
        cluster.serve("gateway-1", 1)
        with Forward(ClusterApi(cluster.access, cluster.environment), AT, said.append) as forward:
            assert ask(forward.port, b"x", 1) == b""
            assert forward.problem is not None
    assert said == ["gateway-1: connect: connection refused"]


def test_a_pod_that_is_gone_meanwhile_is_a_failure_that_passes():
    said: list[str] = []
    with FakeCluster() as cluster:
        cluster.serve("gateway-1", 1)
        cluster.ports.clear()
        with Forward(ClusterApi(cluster.access, cluster.environment), AT, said.append) as forward:
            assert ask(forward.port, b"x", 1) == b""
            assert forward.problem is not None
            assert forward.problem.passing
    missing = 'pods "gateway-1" not found'
    assert said == [f"no port-forward to gateway-1: Handshake status 404 Not Found: {missing}"]
    assert TOKEN not in said[0]


def test_port_forwards_that_are_not_allowed_do_not_pass():
    said: list[str] = []
    with FakeCluster() as cluster:
        cluster.serve("gateway-1", 1)
        cluster.refusals[f"{CORE}/pods/gateway-1/portforward"] = [403]
        with Forward(ClusterApi(cluster.access, cluster.environment), AT, said.append) as forward:
            assert ask(forward.port, b"x", 1) == b""
            assert forward.problem is not None
            assert not forward.problem.passing
    assert said == ["no port-forward to gateway-1: Handshake status 403 Forbidden: not now"]


def test_at_its_end_connections_are_cut_off(echo: Callable[[bytes], Echo]):
    with FakeCluster() as cluster:
        cluster.serve("gateway-1", echo(b"").port)
        forward = Forward(ClusterApi(cluster.access, cluster.environment), AT, print)
        with forward:
            connection = socket.create_connection(("127.0.0.1", forward.port), timeout=10)
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
            port = forward.port
        with connection:
            assert connection.recv(1) == b""
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1)


def test_a_clusters_own_authority_is_trusted_for_requests_and_streams(
    tmp_path: Path, echo: Callable[[bytes], Echo]
):
    authority = make_authority(tmp_path)
    pem = authority.path.read_text()
    with FakeCluster(tls=authority.context(), authority=pem) as cluster:
        cluster.serve("gateway-1", echo(b"").port)
        with Forward(ClusterApi(cluster.access, cluster.environment), AT, print) as forward:
            assert ask(forward.port, b"x", 1) == b"x"


def test_another_authority_is_not_trusted(tmp_path: Path):
    theirs, ours = make_authority(tmp_path), tmp_path / "ours"
    ours.mkdir()
    said: list[str] = []
    with FakeCluster(tls=theirs.context()) as cluster:
        access = ClusterAccess(cluster.access.server, make_authority(ours).path.read_text())
        with Forward(ClusterApi(access, cluster.environment), AT, said.append) as forward:
            assert ask(forward.port, b"x", 1) == b""
    assert "shows a certificate that is not trusted" in said[0]
    assert cluster.tokens == set()


@pytest.mark.parametrize(
    ("service", "message"),
    [
        (None, "there is no Service gateway in the namespace llm"),
        ({"spec": {"ports": [{"port": 80}]}}, "the Service gateway has no port 443, but 80"),
    ],
)
def test_a_service_that_is_not_as_asked_for_is_named(service: object, message: str):
    objects = {f"{CORE}/services/gateway": service} if service else {}
    with FakeCluster(objects=objects) as cluster, pytest.raises(ForwardError) as caught:
        ready_pod(ClusterApi(cluster.access, cluster.environment), AT)
    assert str(caught.value) == message
    assert caught.value.passing is (service is None)
