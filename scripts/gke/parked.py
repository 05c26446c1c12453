"""When what serves in a namespace was last parked, since nobody used it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scripts.gcp import credentials, rest
from scripts.gke import clusters
from scripts.gke.api import ClusterApi, ClusterError
from scripts.gke.workloads import STATEFUL_SET, path_of
from scripts.verify.bounds import Deadline, bounded
from scripts.verify.outcome import TimedOut
from scripts.verify.shape import dig_text

ANNOTATION = "llm-endpoint/parked-at"
"""What a CronJob leaves on what it parks: the moment, as ISO 8601 in UTC."""
LOOK_SECONDS = 15.0
"""What the one look may take, finding the credentials included."""


def last_parked(  # noqa: PLR0917 - a cluster's path, then what is asked of it
    project: str,
    location: str,
    cluster: str,
    namespace: str,
    names: Sequence[str],
    environment: Mapping[str, str],
    kind: str = STATEFUL_SET,
) -> str:
    """Return when one of `names`, which are all of one `kind`, was last parked; "" for never.

    It changes when they are parked and not when they are woken: the trigger of the command that
    wakes them. Also "" where the cluster is not there or can't be asked, since a preview has to do
    without the network.
    """
    path = clusters.path_of(project, location, cluster)
    deadline = Deadline(LOOK_SECONDS)
    try:
        return bounded(deadline, lambda: _ask(path, namespace, kind, names, environment))
    except (credentials.CredentialsError, rest.ApiError, ClusterError, ValueError, TimedOut):
        return ""


def _ask(
    path: str, namespace: str, kind: str, names: Sequence[str], environment: Mapping[str, str]
) -> str:
    google = rest.from_environment(credentials.find(environment), environment, attempts=1)
    access = clusters.access_of(clusters.describe(google, path))
    if access is None:
        return ""
    api = ClusterApi(access, environment)
    moments: list[str] = []
    for name in names:
        try:
            found = api.get(path_of(kind, namespace, name))
        except ClusterError as error:
            if error.status != 404:
                raise
            continue
        moments.append(dig_text(found, "metadata", "annotations", ANNOTATION))
    return max(moments, default="")
