"""`--via`: connecting elsewhere than the URL says, while TLS and HTTP go by the URL's name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from scripts.verify.options import UsageError
from scripts.verify.outcome import Unreachable

_NAME = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_SERVICE = re.compile(
    rf"kubernetes:(?P<namespace>{_NAME})/(?P<service>{_NAME})/(?P<port>[1-9][0-9]{{0,4}})"
)
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(?P<port>[1-9][0-9]{0,4})")
_MOST_PORT = 65535


class Route(Protocol):
    """Where to connect to: `host` and `port`."""

    @property
    def host(self) -> str:
        """The host to connect to."""
        ...

    @property
    def port(self) -> int:
        """The port to connect to."""
        ...

    def problem(self) -> Unreachable | None:
        """Return why the last connection came to nothing, where the route knows better."""
        ...


@dataclass(frozen=True)
class Fixed:
    """An address."""

    host: str
    port: int

    def problem(self) -> None:
        """Return None: an address tells nothing of itself."""


def parse_via(text: str) -> str:
    """Return `text` where it names a way. Raises `UsageError`."""
    match = _SERVICE.fullmatch(text) or _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > _MOST_PORT:
        raise UsageError(
            "--via takes kubernetes:NAMESPACE/SERVICE/PORT (a port-forward to a Service of the "
            "cluster in $LLM_ENDPOINT_CLUSTER) or HOST:PORT"
        )
    return text


def service_of(source: str) -> tuple[str, str, int] | None:
    """Return namespace, name and port of the Service that `source` names; None for an address."""
    match = _SERVICE.fullmatch(source)
    return None if match is None else (match["namespace"], match["service"], int(match["port"]))


def needs_cluster(source: str | None) -> bool:
    """Whether `source`, as `--via` or `--boot` name one, is in a Kubernetes cluster."""
    return source is not None and source.startswith("kubernetes:")


@contextmanager
def open_via(
    source: str, report: Callable[[str], None], environment: Mapping[str, str] | None = None
) -> Generator[Route]:
    """Give the way that `source`, which `parse_via` has accepted, names; close it at the end.

    Raises `UsageError` where the cluster can't be asked at all.
    """
    service = service_of(source)
    if service is None:
        host, _, port = source.rpartition(":")
        yield Fixed(host.strip("[]"), int(port))
        return
    # Only a Service of a cluster needs Kubernetes' client.
    from scripts.gke.port_forward import ServicePort
    from scripts.gke.route import open_route

    with open_route(
        ServicePort(*service), report, os.environ if environment is None else environment
    ) as route:
        yield route
