"""A port-forward as the way on which an endpoint is verified."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from scripts.gcp.credentials import CredentialsError
from scripts.gke.access import AccessError, from_environment
from scripts.gke.api import ClusterApi
from scripts.gke.port_forward import Forward, ServicePort
from scripts.verify.options import UsageError
from scripts.verify.outcome import Unreachable

HOST = "127.0.0.1"


@dataclass(frozen=True)
class ForwardRoute:
    """A `scripts.verify.via.Route` through `forward`."""

    forward: Forward

    @property
    def host(self) -> str:
        """The loopback address."""
        return HOST

    @property
    def port(self) -> int:
        """The port that the forward listens on."""
        return self.forward.port

    def problem(self) -> Unreachable | None:
        """Return why the last connection came to nothing."""
        found = self.forward.problem
        if found is None:
            return None
        return Unreachable(
            f"no way into the cluster: {found}",
            "look at the pods (kubectl get pods), and whether these credentials may open "
            "port-forwards (roles/container.developer)",
            passing=found.passing,
        )


@contextmanager
def open_route(
    at: ServicePort, report: Callable[[str], None], environment: Mapping[str, str]
) -> Generator[ForwardRoute]:
    """Give a port-forward to `at` in the cluster of `environment`. Raises `UsageError`."""
    try:
        api = ClusterApi(from_environment(environment), environment)
    except AccessError as error:
        raise UsageError(str(error)) from None
    except CredentialsError as error:
        raise UsageError(f"the cluster can't be asked: {error}") from None

    def say(problem: str) -> None:
        report(f"port-forward to {at}: {problem}")

    with Forward(api, at, say) as forward:
        yield ForwardRoute(forward)
