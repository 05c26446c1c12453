"""A small client of the Kubernetes API: what a test asks, applies and waits for.

Objects are the API's own JSON. A kind is named with its version, as `v1/Pod` or
`apps/v1/StatefulSet`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import requests
import yaml

Object = dict[str, Any]
Objects = list[Object]
Lines = list[str]
T = TypeVar("T")

_SECONDS = 30.0
_PAUSE = 0.1


class ApiError(Exception):
    """What the API server refused: its HTTP `status`, its `reason` (a word) and its message."""

    def __init__(self, doing: str, status: int, reason: str, message: str) -> None:
        super().__init__(f"{doing}: {status} {reason}: {message}")
        self.status = status
        self.reason = reason


class Api:
    """The API server at `url`, as whoever has `token`; `authority` is a file."""

    def __init__(self, url: str, token: str, authority: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._session.verify = authority
        # No proxy lies between this machine and itself.
        self._session.trust_env = False
        self._kinds: dict[str, dict[str, tuple[str, bool]]] = {}
        self.warnings: Lines = []
        """What the server has warned of, such as a pod template that Pod Security would refuse."""

    def close(self) -> None:
        self._session.close()

    def alive(self) -> bool:
        """Whether the server says that it is ready."""
        try:
            answer = self._session.get(f"{self._url}/readyz", timeout=_SECONDS)
        except requests.ConnectionError:
            return False
        return answer.status_code == 200

    def version(self) -> str:
        return self._ask("GET", "/version")["gitVersion"]

    def apply(
        self, manifest: Mapping[str, Any], *, manager: str = "test", dry_run: bool = False
    ) -> Object:
        """Apply on the server by force, with strict validation of fields. Raises `ApiError`."""
        metadata = manifest["metadata"]
        kind = f"{manifest['apiVersion']}/{manifest['kind']}"
        path = self._path(kind, metadata["name"], metadata.get("namespace"))
        return self._apply(path, yaml.safe_dump(dict(manifest)), manager, dry_run=dry_run)

    def apply_all(self, manifests: Iterable[Mapping[str, Any]]) -> Objects:
        """Apply `manifests` one after the other."""
        return [self.apply(manifest) for manifest in manifests]

    def apply_definition(self, name: str, text: str) -> None:
        """Apply the CustomResourceDefinition `name`, whose YAML is `text`; ends once it serves."""
        kind = "apiextensions.k8s.io/v1/CustomResourceDefinition"
        made = self._apply(self._path(kind, name, None), text, "test", dry_run=False)["spec"]
        root = f"/apis/{made['group']}/{made['versions'][0]['name']}"

        def served() -> bool:
            if not holds(self.need(kind, name), "Established"):
                return False
            try:
                self._kinds[root] = self._served(root)
            except ApiError:
                return False
            return made["names"]["kind"] in self._kinds[root]

        self.wait_for(f"{name} to be served", served)

    def _apply(self, path: str, text: str, manager: str, *, dry_run: bool) -> Object:
        options = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        if dry_run:
            options["dryRun"] = "All"
        return self._ask("PATCH", path, "application/apply-patch+yaml", text, options)

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Return the object, or None where there is none."""
        try:
            return self.need(kind, name, namespace)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def need(self, kind: str, name: str, namespace: str | None = None) -> Object:
        """Return the object. Raises `ApiError` where there is none."""
        return self._ask("GET", self._path(kind, name, namespace))

    def list(self, kind: str, namespace: str | None = None, labels: str = "") -> Objects:
        """Return the objects of the kind, in one namespace or all, that have `labels`."""
        options = {"labelSelector": labels} if labels else None
        return self._ask("GET", self._path(kind, None, namespace), options=options)["items"]

    def names(self, kind: str, namespace: str | None = None, labels: str = "") -> set[str]:
        return {found["metadata"]["name"] for found in self.list(kind, namespace, labels)}

    def post(self, kind: str, body: Mapping[str, Any], namespace: str | None = None) -> Object:
        """Make an object that needs no name, such as a review, and return what became of it."""
        word = kind.rpartition("/")
        whole = {"apiVersion": word[0], "kind": word[2], **body}
        path = self._path(kind, None, namespace)
        return self._ask("POST", path, "application/json", json.dumps(whole))

    def create(
        self, kind: str, namespace: str, name: str, subresource: str, body: Mapping[str, Any]
    ) -> Object:
        """Post `body` to an object's subresource, such as a Pod's `binding`."""
        path = f"{self._path(kind, name, namespace)}/{subresource}"
        return self._ask("POST", path, "application/json", json.dumps(body))

    def patch(
        self,
        kind: str,
        name: str,
        changes: Mapping[str, Any],
        namespace: str | None = None,
        subresource: str = "",
    ) -> Object:
        """Merge `changes` into the object (RFC 7396), or into its `status` or `scale`."""
        path = self._path(kind, name, namespace) + (f"/{subresource}" if subresource else "")
        return self._ask("PATCH", path, "application/merge-patch+json", json.dumps(changes))

    def scale(self, kind: str, name: str, replicas: int, namespace: str) -> None:
        """Set the replicas of a StatefulSet or Deployment by its scale, as an autoscaler does."""
        self.patch(kind, name, {"spec": {"replicas": replicas}}, namespace, "scale")

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        propagation: str = "Foreground",
        grace_seconds: int | None = None,
    ) -> None:
        """Begin to delete the object; it is gone when `get` no longer finds it."""
        body: Object = {"propagationPolicy": propagation}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        path = self._path(kind, name, namespace)
        self._ask("DELETE", path, "application/json", json.dumps(body))

    def evict(self, pod: str, namespace: str) -> None:
        """Evict the pod as a drain does. Raises `ApiError` 429 where a disruption budget holds."""
        metadata = {"name": pod, "namespace": namespace}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        self.create("v1/Pod", namespace, pod, "eviction", body)

    def wait_for(self, what: str, found: Callable[[], T | None], seconds: float = _SECONDS) -> T:
        """Return what `found` returns once that is true.

        Raises an `AssertionError` after `seconds`, with what `found` returned last and the newest
        events.
        """
        deadline = time.monotonic() + seconds
        while True:
            last = found()
            if last:
                return last
            if time.monotonic() > deadline:
                events = "\n".join(self.events()[-12:])
                raise AssertionError(f"waited {seconds:.0f} s for {what}: {last!r}\n{events}")
            time.sleep(_PAUSE)

    def wait_until_gone(
        self, kind: str, name: str, namespace: str | None = None, seconds: float = _SECONDS
    ) -> None:
        self.wait_for(
            f"{kind} {name} to be gone", lambda: self.get(kind, name, namespace) is None, seconds
        )

    def events(self, namespace: str | None = None) -> Lines:
        """Return what was told of objects, the newest last."""
        told = self.list("v1/Event", namespace)
        told.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
        return [
            f"{event['involvedObject'].get('kind')} {event['involvedObject'].get('name')}: "
            f"{event.get('reason')}: {event.get('message')}"
            for event in told
        ]

    def _path(self, kind: str, name: str | None, namespace: str | None) -> str:
        version, _, word = kind.rpartition("/")
        root = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        if word not in self._kinds.get(root, {}):
            self._kinds[root] = self._served(root)
        try:
            plural, in_namespace = self._kinds[root][word]
        except KeyError:
            known = ", ".join(sorted(self._kinds[root]))
            raise ApiError(kind, 404, "NoKind", f"{version} has {known}") from None
        if name is not None and in_namespace and namespace is None:
            raise ValueError(f"{kind} {name}: it is in a namespace, and none is given")
        middle = f"/namespaces/{namespace}" if in_namespace and namespace is not None else ""
        return f"{root}{middle}/{plural}" + ("" if name is None else f"/{name}")

    def _served(self, root: str) -> dict[str, tuple[str, bool]]:
        """Return for each kind under `root` its plural, and whether it is in a namespace."""
        return {
            served["kind"]: (served["name"], served["namespaced"])
            for served in self._ask("GET", root)["resources"]
            if "/" not in served["name"]
        }

    def _ask(
        self,
        method: str,
        path: str,
        content: str | None = None,
        body: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Any:
        answer = self._session.request(
            method,
            self._url + path,
            params=options,
            data=None if body is None else body.encode(),
            headers={} if content is None else {"Content-Type": content},
            timeout=_SECONDS,
        )
        if "Warning" in answer.headers:
            self.warnings.append(f"{method} {path}: {answer.headers['Warning']}")
        if answer.ok:
            return answer.json()
        try:
            told = answer.json()
        except ValueError:
            told = {"message": answer.text.strip()}
        raise ApiError(
            f"{method} {path}", answer.status_code, told.get("reason", ""), told.get("message", "")
        )


def holds(found: Mapping[str, Any], condition: str) -> bool:
    """Whether the object's status has `condition` as true."""
    conditions = found.get("status", {}).get("conditions") or []
    return any(one["type"] == condition and one["status"] == "True" for one in conditions)
