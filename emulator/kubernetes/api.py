"""A cluster's API: objects by kind, namespace and name, as JSON over HTTPS."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlencode, urlsplit

from emulator.plugin.errors import PluginError

from .kubeconfig import Connection

_SECONDS = 32
"""For one request: the published plugin's own limit."""

Object = dict[str, object]

APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"


class ApiError(PluginError):
    """The API server refuses; `code` is its HTTP status, `reason` its own word for why."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class Unreachable(PluginError):
    """The API server does not answer, or not to these credentials."""


class NoSuchKind(PluginError):
    """The API server has no resource of the kind."""


@dataclass(frozen=True)
class Kind:
    """A kind of objects, as an object's `apiVersion` and `kind` name it."""

    api_version: str
    kind: str

    @classmethod
    def of(cls, manifest: Mapping[str, object]) -> Kind:
        """The kind of an object."""
        return cls(str(manifest.get("apiVersion")), str(manifest.get("kind")))


@dataclass(frozen=True)
class _Resource:
    plural: str
    namespaced: bool


class Api:
    """The API server of a connection. Every call is bounded; see `ApiError`, `Unreachable`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        parts = urlsplit(connection.server)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._prefix = parts.path
        try:
            self._tls = ssl.create_default_context(cadata=connection.authority)
        except ssl.SSLError as error:
            raise Unreachable(f"the kubeconfig's certificate authority is none: {error}") from None
        # From Python 3.13 on, "strict" refuses authorities of clusters for their form.
        self._tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self._known: dict[Kind, _Resource] = {}
        self._lock = threading.Lock()

    def reach(self) -> None:
        """Raise `Unreachable` where the server does not answer to these credentials."""
        self.call("GET", "/api/v1")

    def has(self, kind: Kind) -> bool:
        """Whether the server has objects of a kind."""
        try:
            self._resource(kind)
        except NoSuchKind:
            return False
        return True

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object; None where there is none."""
        try:
            return self.call("GET", self.path(kind, namespace, name))
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def create(self, manifest: Object, *, manager: str, dry_run: bool) -> Object:
        """Make the object; one that is there is an error."""
        kind, namespace = Kind.of(manifest), namespace_of(manifest)
        query = {"fieldManager": manager, "fieldValidation": "Strict", **_dry(dry_run)}
        return self.call("POST", self.path(kind, namespace), query, manifest)

    def apply(self, manifest: Object, *, manager: str, force: bool, dry_run: bool) -> Object:
        """Apply what is declared, for `manager`; a field of another's is a conflict."""
        path = self.path(Kind.of(manifest), namespace_of(manifest), name_of(manifest))
        query = {
            "fieldManager": manager,
            "force": json.dumps(force),
            "fieldValidation": "Strict",
            **_dry(dry_run),
        }
        return self.call("PATCH", path, query, manifest, APPLY)

    def patch(self, kind: Kind, namespace: str, name: str, changes: list[Object]) -> Object:
        """Change an object by a JSON patch."""
        return self.call("PATCH", self.path(kind, namespace, name), {}, changes, JSON_PATCH)

    def delete(self, kind: Kind, namespace: str, name: str, propagation: str) -> None:
        """Begin to delete the object; one that is gone is gone."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        try:
            self.call("DELETE", self.path(kind, namespace, name), {}, options)
        except ApiError as error:
            if error.code != 404:
                raise

    def list(self, kind: Kind, namespace: str) -> list[Object]:
        """Every object of a kind in a namespace."""
        return cast("list[Object]", self.call("GET", self.path(kind, namespace))["items"])

    def path(self, kind: Kind, namespace: str, name: str = "") -> str:
        """Where objects of a kind are. Raises `NoSuchKind`."""
        resource = self._resource(kind)
        steps = [_group_path(kind.api_version)]
        if resource.namespaced:
            steps += ["namespaces", namespace or "default"]
        return "/".join([*steps, resource.plural, *([name] if name else [])])

    def _resource(self, kind: Kind) -> _Resource:
        with self._lock:
            found = self._known.get(kind)
        if found is None:
            try:
                listed = self.call("GET", _group_path(kind.api_version)).get("resources")
            except ApiError as error:
                if error.code != 404:
                    raise
                listed = []
            for entry in cast("list[Object]", listed or []):
                # A subresource, such as deployments/scale, has its own kind.
                if entry["kind"] == kind.kind and "/" not in str(entry["name"]):
                    found = _Resource(str(entry["name"]), bool(entry["namespaced"]))
            if found is None:
                raise NoSuchKind(
                    f'no matches for kind "{kind.kind}" in version "{kind.api_version}"'
                )
            with self._lock:
                self._known[kind] = found
        return found

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content: str = "application/json",
    ) -> Object:
        """Return the server's JSON answer. Raises `ApiError`, `Unreachable`, `KubeconfigError`."""
        headers = {"Accept": "application/json", "Content-Type": content}
        token = self._connection.token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        target = f"{self._prefix}{path}" + (f"?{urlencode(query)}" if query else "")
        wire = http.client.HTTPSConnection(
            self._host, self._port, timeout=_SECONDS, context=self._tls
        )
        try:
            wire.request(
                method, target, None if body is None else json.dumps(_integral(body)), headers
            )
            answer = wire.getresponse()
            status, text = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{method} {self._connection.server}{path}: {error}") from None
        finally:
            wire.close()
        return _answered(status, text, f"{method} {path}")


def name_of(manifest: Mapping[str, object]) -> str:
    """An object's name."""
    return str(metadata(manifest).get("name") or "")


def namespace_of(manifest: Mapping[str, object]) -> str:
    """An object's namespace; empty where it is in none, or in the default one."""
    return str(metadata(manifest).get("namespace") or "")


def metadata(manifest: Mapping[str, object]) -> Mapping[str, object]:
    """An object's metadata."""
    found = manifest.get("metadata")
    return cast("Mapping[str, object]", found) if isinstance(found, dict) else {}


def _dry(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


def _group_path(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _answered(status: int, text: bytes, asked: str) -> Object:
    try:
        parsed: object = json.loads(text) if text else {}
    except ValueError:
        parsed = {}
    answer = cast("Object", parsed) if isinstance(parsed, dict) else {}
    if status < 300:
        return answer
    message = str(answer.get("message") or f"{asked} was answered with HTTP {status}")
    if status == 401:
        raise Unreachable(f"the server has asked for the client to provide credentials ({asked})")
    raise ApiError(status, str(answer.get("reason") or ""), message)


def _integral(value: object) -> object:
    """VALUE with whole numbers as such: the engine sends every number as a float."""
    match value:
        case dict():
            entries = cast("Mapping[str, object]", value)
            return {name: _integral(item) for name, item in entries.items()}
        case list():
            return [_integral(item) for item in cast("list[object]", value)]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value
