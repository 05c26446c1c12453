"""What of a stack's outputs leads to its notebook runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit, urlunsplit

from components.targets.kubernetes.access import ClusterAccess
from scripts.gke.access import AccessError, parse
from scripts.gke.forward import NoWayError
from scripts.gke.port_forward import ServicePort
from scripts.verify.shape import Json, dig_text
from scripts.verify.via import service_of

PARKED = "parked"


@dataclass(frozen=True)
class Runtime:
    """A runtime that can be reached: `at` is its Service, `url` has its token in it."""

    access: ClusterAccess
    at: ServicePort
    url: str = field(repr=False)

    @property
    def token(self) -> str:
        """The token in the URL."""
        return next(iter(parse_qs(urlsplit(self.url).query).get("token", [])), "")

    def url_at(self, port: int) -> str:
        """Return the URL for another port of this machine."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=f"{parts.hostname}:{port}"))


def read(outputs: Mapping[str, Json], stack: str) -> Runtime:
    """Return the runtime of `stack` by its outputs, secret ones included. Raises `NoWayError`."""
    receipt, cluster = outputs.get("runtime"), outputs.get("cluster")
    if receipt is None:
        raise NoWayError(
            f"{stack} has no notebook runtime",
            "name a stack of the program gke-colab: scripts/pulumi stack ls",
        )
    if dig_text(receipt, "status") == PARKED:
        raise NoWayError(
            f"the runtime of {stack} is parked, and its disks are kept",
            f"scripts/pulumi config set runtime_replicas 1 --stack {stack}, then "
            f"scripts/up {stack}",
        )
    service = service_of(dig_text(receipt, "via"))
    url = outputs.get("colab_url")
    if service is None or not isinstance(url, str) or not isinstance(cluster, str):
        raise NoWayError(
            f"the outputs of {stack} lead to no runtime: its last up did not get that far",
            f"scripts/up {stack}",
        )
    try:
        return Runtime(parse(cluster), ServicePort(*service), url)
    except AccessError as error:
        raise NoWayError(str(error), f"scripts/up {stack}") from None
