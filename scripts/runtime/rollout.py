"""Whether the pod of a runtime is the one that was deployed last, and no other is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from components.rendering.kubernetes.colab.names import RUNTIME
from scripts.gcp.credentials import CredentialsError
from scripts.gke.api import ClusterApi, ClusterError
from scripts.gke.parked import ANNOTATION
from scripts.gke.workloads import DEPLOYMENT, path_of
from scripts.verify.outcome import Failure
from scripts.verify.shape import Json, dig, dig_count, dig_text
from scripts.verify.wait import Pending

_LOOK = "look at the pod: kubectl describe pods --namespace {0}"


@dataclass(frozen=True)
class Rollout:
    """The Deployment of the runtime in `namespace`. `again` is what deploys it, and wakes it."""

    api: Callable[[], ClusterApi]
    namespace: str
    again: str

    def look(self) -> str | Pending:
        """Return that its pod is there and ready, or what is missing. Raises `Failure`."""
        try:
            found = self.api().get(path_of(DEPLOYMENT, self.namespace, RUNTIME))
        except ClusterError as error:
            if not error.passing and error.status != 404:
                raise _unasked(error) from None
            return Pending(str(error), "look at that message")
        except CredentialsError as error:
            raise _unasked(error) from None
        return self._told(found)

    def _told(self, found: Json) -> str | Pending:
        since = parked_since(found)
        if since is not None:
            raise Failure(
                f"the Deployment {RUNTIME} to have a pod",
                f"it is parked{since and f' since {since}'}",
                f"{self.again} wakes it",
                never_ready=True,
            )
        status = dig(found, "status")
        seen = dig_count(status, "observedGeneration") or 0
        pods, new = dig_count(status, "replicas") or 0, dig_count(status, "updatedReplicas") or 0
        look = _LOOK.format(self.namespace)
        if seen < (dig_count(found, "metadata", "generation") or 0):
            return Pending("the cluster has not looked at the Deployment yet", look)
        if pods > new:
            return Pending("the pod from before is still there", look)
        if not dig_count(status, "availableReplicas"):
            return Pending("its pod is not ready", look)
        return "the pod is ready"


def parked_since(deployment: Json) -> str | None:
    """Return since when a Deployment is parked, "" where it is not said; None where it is not."""
    if dig_count(deployment, "spec", "replicas") != 0:
        return None
    return dig_text(deployment, "metadata", "annotations", ANNOTATION)


def _unasked(error: Exception) -> Failure:
    return Failure(
        "the cluster to tell of the runtime",
        str(error),
        "see that message, then the same command again",
        never_ready=True,
    )
