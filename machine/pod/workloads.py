"""What a job that parks may ask for and change: who serves in the cluster that its pod is in.

Of the standard library alone.
"""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import cast
from urllib.parse import quote

ANNOTATION = "llm-endpoint/parked-at"
"""On what is parked: when it last was, ISO 8601 in UTC. The next deployment goes by it."""
WOKEN = "llm-endpoint/woken-at"
"""On it: when it was last scaled up from none, in the same form: by a deployment, or, where a
person did it, when a job first saw it."""
STARTING_MINUTES = 180
"""How long what serves may take to get ready, beside the idle time; its node bills either way."""
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts a pod's own token, and its authority's certificate."""

_SECONDS = 10.0
_MOST_BYTES = 4 * 1024 * 1024
_MERGE = "application/merge-patch+json"


class AskError(Exception):
    """Who was asked did not answer as it should; the message says which and how."""


class Kind(StrEnum):
    """What can be scaled to none, in the words of the API's paths."""

    STATEFUL_SET = "statefulsets"
    DEPLOYMENT = "deployments"


class Cluster:
    """The cluster that this pod is in, as its service account: objects of one `kind`.

    Everything raises `AskError`.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        account: Path = ACCOUNT,
        kind: Kind = Kind.STATEFUL_SET,
    ) -> None:
        host = environment.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")
        port = environment.get("KUBERNETES_SERVICE_PORT", "443")
        self._origin = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        self._kind = kind
        try:
            self._token = (account / "token").read_text(encoding="ascii").strip()
            context = ssl.create_default_context(cafile=str(account / "ca.crt"))
        except (OSError, ValueError) as error:
            raise AskError(f"the service account's files: {type(error).__name__}") from None
        self._opener = opener(urllib.request.HTTPSHandler(context=context))

    def replicas(self, namespace: str, name: str) -> int:
        """Return how many pods it is to have."""
        return _replicas(self._ask("GET", f"{self._path(namespace, name)}/scale"), name)

    def awake_since(self, namespace: str, name: str, now: float) -> float:
        """Return when it was made or last woken, as Unix time.

        That is `now` where a person has woken it since it was parked, which is noted on it.
        """
        found = self._ask("GET", self._path(namespace, name))
        since = _awake_since(found, name)
        parked = _annotations(found).get(ANNOTATION)
        if not isinstance(parked, str) or moment(parked, name) <= since:
            return since
        note = {"metadata": {"annotations": {WOKEN: shown(now)}}}
        self._ask("PATCH", self._path(namespace, name), note)
        return now

    def unready_since(self, namespace: str, name: str) -> float | None:
        """Return since when no pod of a Deployment is ready, as Unix time; None while one is."""
        status = _object(_object(self._ask("GET", self._path(namespace, name))).get("status"))
        if status.get("availableReplicas"):
            return None
        conditions = status.get("conditions")
        for one in cast("list[object]", conditions) if isinstance(conditions, list) else []:
            condition = _object(one)
            since = condition.get("lastTransitionTime")
            if condition.get("type") == "Available" and isinstance(since, str):
                return moment(since, name)
        raise _unknown(name)

    def park(self, namespace: str, name: str, when: str) -> None:
        """Note `when` on it, and scale it to none."""
        # In this order: a note too many is harmless, and one too few would leave it asleep.
        note = {"metadata": {"annotations": {ANNOTATION: when}}}
        self._ask("PATCH", self._path(namespace, name), note)
        self._ask("PATCH", f"{self._path(namespace, name)}/scale", {"spec": {"replicas": 0}})

    def _path(self, namespace: str, name: str) -> str:
        return f"/apis/apps/v1/namespaces/{quote(namespace)}/{self._kind}/{quote(name)}"

    def _ask(self, method: str, path: str, body: object = None) -> object:
        request = urllib.request.Request(
            f"{self._origin}{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": _MERGE},
        )
        return read(self._opener, request, f"{method} {path}")


def _awake_since(workload: object, name: str) -> float:
    made = _object(_object(workload).get("metadata")).get("creationTimestamp")
    texts = [made, _annotations(workload).get(WOKEN)]
    times = [moment(text, name) for text in texts if isinstance(text, str)]
    if not times:
        raise _unknown(name)
    return max(times)


def _annotations(workload: object) -> dict[str, object]:
    return _object(_object(_object(workload).get("metadata")).get("annotations"))


def moment(text: str, name: str) -> float:
    """Return the Unix time in `text`, ISO 8601, which is of `name`. Raises `AskError`."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise _unknown(name) from None


def _unknown(name: str) -> AskError:
    return AskError(f"{name} does not say since when it is awake")


def shown(when: float) -> str:
    """Return a Unix time as annotations have it."""
    text = datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds")
    return text.replace("+00:00", "Z")


def _object(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _replicas(scale: object, name: str) -> int:
    # The API leaves out what is 0.
    found = _object(_object(scale).get("spec")).get("replicas", 0)
    if not isinstance(found, int):
        raise AskError(f"the scale of {name} has no number of replicas")
    return found


def not_idle_since(since: float, now: float, minutes: int) -> str | None:
    """Return why what nobody used since a Unix time stays; None once that is `minutes` ago."""
    idle_seconds = now - since
    if idle_seconds < 0:
        return "a clock ran backwards"
    if idle_seconds < minutes * 60:
        return f"idle for {idle_seconds // 60:.0f} of {minutes} min"
    return None


def opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """Return what opens URLs of the cluster: by no proxy, and without following a redirect."""
    made = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        *handlers,
    ):
        made.add_handler(handler)
    return made


def read(
    by: urllib.request.OpenerDirector, request: urllib.request.Request | str, what: str
) -> object:
    """Return the JSON that comes with status 200. Raises `AskError`, which quotes no answer."""
    try:
        with by.open(request, timeout=_SECONDS) as answer:
            return json.loads(answer.read(_MOST_BYTES))
    except urllib.error.HTTPError as error:
        error.close()
        raise AskError(f"{what} was answered {error.code}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise AskError(f"{what} failed: {type(reason).__name__}") from None
