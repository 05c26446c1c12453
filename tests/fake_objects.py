"""The objects of a fake cluster, and who owns which of their fields."""

from __future__ import annotations

import copy
import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

Object = dict[str, Any]
Path = tuple[str, ...]

KINDS: Mapping[str, Mapping[str, tuple[str, bool]]] = {
    "v1": {
        "namespaces": ("Namespace", False),
        "nodes": ("Node", False),
        "services": ("Service", True),
        "endpoints": ("Endpoints", True),
        "configmaps": ("ConfigMap", True),
        "secrets": ("Secret", True),
        "serviceaccounts": ("ServiceAccount", True),
        "pods": ("Pod", True),
        "events": ("Event", True),
        "persistentvolumeclaims": ("PersistentVolumeClaim", True),
        "resourcequotas": ("ResourceQuota", True),
    },
    "apps/v1": {"statefulsets": ("StatefulSet", True), "deployments": ("Deployment", True)},
    "batch/v1": {"cronjobs": ("CronJob", True), "jobs": ("Job", True)},
    "rbac.authorization.k8s.io/v1": {
        "roles": ("Role", True),
        "rolebindings": ("RoleBinding", True),
    },
    "networking.k8s.io/v1": {"networkpolicies": ("NetworkPolicy", True)},
    "policy/v1": {"poddisruptionbudgets": ("PodDisruptionBudget", True)},
    "autoscaling/v2": {"horizontalpodautoscalers": ("HorizontalPodAutoscaler", True)},
    "discovery.k8s.io/v1": {"endpointslices": ("EndpointSlice", True)},
    "storage.k8s.io/v1": {"storageclasses": ("StorageClass", False)},
    "gateway.networking.k8s.io/v1": {
        "gateways": ("Gateway", True),
        "httproutes": ("HTTPRoute", True),
    },
    "networking.gke.io/v1": {
        "healthcheckpolicies": ("HealthCheckPolicy", True),
        "gcpbackendpolicies": ("GCPBackendPolicy", True),
    },
}
"""By version and path: the kind, and whether it is in a namespace."""

_IDENTITY: frozenset[Path] = frozenset(
    {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}
)


class Key(NamedTuple):
    """Where an object is; `name` is empty for all of its kind."""

    version: str
    plural: str
    namespace: str
    name: str


class Refused(Exception):
    """The API server's own refusal."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


@dataclass
class Store:
    """Objects by their key; `owned` has, for each, the fields of each manager and its operation."""

    objects: dict[Key, Object] = field(default_factory=dict)
    owned: dict[Key, dict[tuple[str, str], set[Path]]] = field(default_factory=dict)
    _versions: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def copy(self) -> Store:
        """What a dry run is tried on."""
        return Store(copy.deepcopy(self.objects), copy.deepcopy(self.owned), self._versions)

    def get(self, key: Key) -> Object:
        if key not in self.objects:
            raise Refused(404, "NotFound", f'{key.plural} "{key.name}" not found')
        return self.objects[key]

    def create(self, key: Key, made: Object, manager: str) -> Object:
        key = key._replace(name=made["metadata"]["name"])
        if key in self.objects:
            raise Refused(409, "AlreadyExists", f'{key.plural} "{key.name}" already exists')
        if key.namespace and Key("v1", "namespaces", "", key.namespace) not in self.objects:
            raise Refused(404, "NotFound", f'namespaces "{key.namespace}" not found')
        self.owned[key] = {(manager, "Update"): _leaves(made)}
        made["metadata"] |= {
            "uid": str(uuid.uuid4()),
            "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "generation": 1,
        }
        self.objects[key] = made
        return self._touched(key)

    def apply(
        self,
        key: Key,
        declared: Object,
        manager: str,
        *,
        force: bool,
        defaulted: Callable[[Object], Object],
    ) -> Object:
        if key not in self.objects:
            return self.create(key, defaulted(declared), manager)
        made, owned, ours = copy.deepcopy(self.objects[key]), self.owned[key], (manager, "Apply")
        wanted = _leaves(declared)
        for other, fields in owned.items():
            taken = {at for at in wanted & fields if _at(made, at) != _at(declared, at)}
            if other != ours and taken:
                if not force:
                    at = ".".join(min(taken))
                    raise Refused(
                        409, "Conflict", f'Apply failed: conflict with "{other[0]}": .{at}'
                    )
                fields.difference_update(taken)
        others = set[Path]().union(*(fields for who, fields in owned.items() if who != ours))
        for at in owned.get(ours, set()) - wanted - others:
            _remove(made, at)
        for at in wanted:
            _put(made, at, _at(declared, at))
        owned[ours] = wanted
        return self._changed(key, defaulted(made))

    def merge(self, key: Key, change: Object, manager: str) -> Object:
        """A merge patch: what it changes is the manager's, and nobody else's."""
        made = copy.deepcopy(self.get(key))
        for at in _leaves(change):
            if _at(made, at) == _at(change, at):
                continue
            for fields in self.owned[key].values():
                fields.discard(at)
            self.owned[key].setdefault((manager, "Update"), set()).add(at)
            _put(made, at, _at(change, at))
        return self._changed(key, made)

    def give_fields(self, key: Key, changes: list[Object]) -> Object:
        """A JSON patch of an object's managed fields: the only one that anybody sends here."""
        made = self.get(key)
        by_path = {change["path"]: change["value"] for change in changes}
        if by_path.pop("/metadata/resourceVersion") != made["metadata"]["resourceVersion"]:
            raise Refused(409, "Conflict", "the object has been modified")
        entries = by_path.pop("/metadata/managedFields")
        assert not by_path, f"no such patch is known here: {sorted(by_path)}"
        self.owned[key] = {
            (entry["manager"], entry["operation"]): set(_paths(entry["fieldsV1"]))
            for entry in entries
        }
        return self._touched(key)

    def delete(self, key: Key) -> Object:
        gone = self.get(key)
        self.objects.pop(key)
        self.owned.pop(key, None)
        return gone

    def put(self, key: Key, made: Object) -> None:
        """What a controller makes: nobody declares it."""
        if key not in self.objects:
            self.create(key, made, "controller")

    def _changed(self, key: Key, made: Object) -> Object:
        if made.get("spec") != self.objects[key].get("spec"):
            made["metadata"]["generation"] += 1
        self.objects[key] = made
        return self._touched(key)

    def _touched(self, key: Key) -> Object:
        made = self.objects[key]
        made["metadata"]["resourceVersion"] = str(next(self._versions))
        made["metadata"]["managedFields"] = [
            {
                "manager": manager,
                "operation": operation,
                "fieldsType": "FieldsV1",
                "fieldsV1": _nested(fields),
            }
            for (manager, operation), fields in self.owned[key].items()
        ]
        return made


def _leaves(value: Object, at: Path = ()) -> set[Path]:
    found: set[Path] = set()
    for name, item in value.items():
        here = (*at, name)
        inner = isinstance(item, dict) and item
        found |= _leaves(item, here) if inner else {here}
    return found - _IDENTITY


def _at(value: Object, path: Path) -> Any:
    found: Any = value
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _put(value: Object, path: Path, item: Any) -> None:
    for name in path[:-1]:
        if not isinstance(value.get(name), dict):
            value[name] = {}
        value = value[name]
    value[path[-1]] = copy.deepcopy(item)


def _remove(value: Object, path: Path) -> None:
    for name in path[:-1]:
        value = value.get(name, {})
    value.pop(path[-1], None)


def _nested(fields: set[Path]) -> Object:
    made: Object = {}
    for path in sorted(fields):
        _put(made, tuple(f"f:{name}" for name in path), {})
    return made


def _paths(nested: Object, at: Path = ()) -> Iterator[Path]:
    for name, inner in nested.items():
        here = (*at, name.removeprefix("f:"))
        if inner:
            yield from _paths(inner, here)
        else:
            yield here
