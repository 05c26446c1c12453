"""What becomes of a runtime while a way to it is open: said once each time that it changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scripts.gcp.credentials import CredentialsError
from scripts.gke.api import ClusterApi, ClusterError
from scripts.gke.port_forward import ForwardError, ServicePort, ready_pod
from scripts.gke.workloads import DEPLOYMENT, path_of
from scripts.runtime.rollout import parked_since
from scripts.verify.boot import Boot

LOOK_SECONDS = 5.0
"""How often it is looked."""


@dataclass
class Watch:
    """The runtime at `at`. `boot` tells how its pod starts, `report` gets each change."""

    api: ClusterApi
    at: ServicePort
    stack: str
    boot: Boot
    report: Callable[[str], None]
    _pod: str | None = None
    _said: set[str] = field(default_factory=set[str])

    def look(self) -> None:
        """Look once. Raises nothing that the next look may not mend."""
        try:
            pod, _ = ready_pod(self.api, self.at)
        except ForwardError as error:
            self._look_closer(error)
        except (ClusterError, CredentialsError) as error:
            self._say(f"the cluster can't be asked: {error}")
        else:
            self._ready(pod)

    def _ready(self, pod: str) -> None:
        if self._pod not in (None, pod):
            self.report(
                f"the runtime has moved to the pod {pod}: its files are there again, and its "
                "kernels begin anew (in Colab: Reconnect)"
            )
        elif self._said:
            self.report(f"the runtime is ready, in the pod {pod}")
        self._pod = pod
        self._said.clear()

    def _look_closer(self, error: ForwardError) -> None:
        path = path_of(DEPLOYMENT, self.at.namespace, self.at.service)
        try:
            since = parked_since(self.api.get(path))
        except (ClusterError, CredentialsError):
            since = None
        if since is not None:
            self._say(
                f"the runtime is parked{since and f' since {since}, because nobody used it'}: "
                f"scripts/up {self.stack} wakes it, and this goes on"
            )
            return
        self._say(f"the runtime can't be reached for now: {error}")
        failure = self.boot.failure()
        if failure is not None:
            self._say(f"{failure.seen}; {failure.next_step}")

    def _say(self, line: str) -> None:
        """Report what is wrong, once until the runtime is ready again."""
        if line not in self._said:
            self._said.add(line)
            self.report(line)
