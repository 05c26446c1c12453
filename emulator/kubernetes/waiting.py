"""When an object has become what it was made for, and when one is gone.

The rules are the published plugin's (`provider/pkg/await`), short of what no stack of ours has:
Deployments, StatefulSets and DaemonSets wait for their pods, Services for endpoints and for an
address, Jobs for their end, claims for a volume, anything for the conditions of
`pulumi.com/waitFor`. `pulumi.com/skipAwait` waits for nothing.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import cast

from emulator.plugin.errors import PluginError

from .api import Api, ApiError, Kind, Object, metadata, name_of, namespace_of
from .objects import annotation

_PAUSE_SECONDS = 0.2
_DEFAULT_SECONDS = 600.0
_CLAIM_SECONDS = 300.0
_LEFT_AT_ONCE = frozenset({"Namespace", "Pod", "DaemonSet", "Deployment", "StatefulSet", "Job"})
"""Kinds that `skipAwait` also lets go without waiting, as the published plugin does."""


class NotReady(PluginError):
    """The object is there, and did not become ready in time; `live` is how it is."""

    def __init__(self, live: Object, message: str) -> None:
        super().__init__(message)
        self.live = live


def await_ready(
    api: Api, live: Object, declared: Object, limit_seconds: float, ended: threading.Event
) -> Object:
    """Return the object once it is ready. Raises `NotReady`, also when ENDED is set."""
    kind = Kind.of(live)
    end = time.monotonic() + seconds(declared, kind, limit_seconds)
    while True:
        lacks = lacking(api, live, declared)
        if lacks is None:
            return live
        if time.monotonic() > end or ended.wait(_PAUSE_SECONDS):
            raise NotReady(live, f"timeout while waiting for {kind.kind} {name_of(live)}: {lacks}")
        found = api.get(kind, namespace_of(live), name_of(live))
        if found is None:
            raise NotReady(live, f"{kind.kind} {name_of(live)} was deleted while it was waited for")
        live = found


def await_gone(
    api: Api, live: Object, declared: Object, limit_seconds: float, ended: threading.Event
) -> None:
    """Return once the object is gone. Raises `NotReady`, also when ENDED is set."""
    kind = Kind.of(live)
    end = time.monotonic() + seconds(declared, kind, limit_seconds)
    if annotation(declared, "skipAwait") == "true" and kind.kind in _LEFT_AT_ONCE:
        return
    uid = metadata(live).get("uid")
    while True:
        found = api.get(kind, namespace_of(live), name_of(live))
        if found is None or metadata(found).get("uid") != uid:
            return
        if time.monotonic() > end or ended.wait(_PAUSE_SECONDS):
            held = metadata(found).get("finalizers") or "what it owns"
            raise NotReady(
                found,
                f"timeout while waiting for {kind.kind} {name_of(live)} to be gone: held by {held}",
            )


def seconds(declared: Object, kind: Kind, limit_seconds: float) -> float:
    """How long to wait: the program's own limit, the annotation's, else the kind's."""
    annotated = annotation(declared, "timeoutSeconds")
    if limit_seconds or annotated.isdigit():
        return limit_seconds or float(annotated)
    return _CLAIM_SECONDS if kind.kind.startswith("PersistentVolume") else _DEFAULT_SECONDS


def lacking(api: Api, live: Object, declared: Object) -> str | None:
    """What the object lacks to be ready, in words; None where it lacks nothing."""
    if annotation(declared, "skipAwait") == "true":
        return None
    wanted = annotation(declared, "waitFor")
    if wanted:
        return _lacking_condition(live, wanted)
    rule = _RULES.get(Kind.of(live))
    return rule(api, live) if rule else None


def unready(api: Api, live: Object, declared: Object) -> str | None:
    """What the object lacks when it is read, as `lacking`: `waitFor` counts for nothing there."""
    kind = Kind.of(live)
    if annotation(declared, "skipAwait") == "true" or kind.kind == "PersistentVolumeClaim":
        return None
    return _RULES[kind](api, live) if kind in _RULES else None


def _lacking_condition(live: Object, wanted: str) -> str | None:
    try:
        conditions = cast("list[str]", json.loads(wanted))
    except ValueError:
        conditions = [wanted]
    if _status(live).get("observedGeneration") is not None and not _observed(live):
        return "it was not looked at yet"
    for condition in conditions:
        way, _, expression = condition.partition("=")
        name, has_value, value = expression.partition("=")
        if way == "condition":
            met = _condition(live, name) == (value if has_value else "True")
        elif way == "jsonpath":
            found = _at(live, name.strip("{}"))
            met = str(found) == value if has_value else found is not None
        else:
            raise ApiError(
                400,
                "BadRequest",
                f'expected a "jsonpath=" or "condition=" prefix, got "{condition}"',
            )
        if not met:
            return f"{condition} has not come true"
    return None


def _at(live: Object, path: str) -> object:
    """What is at a path of plain names, such as `.status.phase`."""
    found: object = live
    for name in path.strip(".").split("."):
        found = cast("Object", found).get(name) if isinstance(found, dict) else None
    return found


def _deployment(_: Api, live: Object) -> str | None:
    status = _status(live)
    if not _observed(live):
        return "it was not looked at yet"
    wanted = _count(cast("Object", live["spec"]), "replicas", 1)
    if _count(status, "updatedReplicas") < wanted or _count(status, "availableReplicas") < wanted:
        return f"{_count(status, 'availableReplicas')} of {wanted} pods are available"
    if _condition(live, "Available") != "True":
        return "it is not available"
    return None


def _stateful_set(_: Api, live: Object) -> str | None:
    status, wanted = _status(live), _count(cast("Object", live["spec"]), "replicas", 1)
    if not _observed(live):
        return "it was not looked at yet"
    counts = [_count(status, name) for name in ("replicas", "readyReplicas")]
    if counts != [wanted, wanted]:
        return f"{counts[1]} of {wanted} pods are ready"
    if wanted and status.get("currentRevision") != status.get("updateRevision"):
        return "pods of an older revision are left"
    return None


def _daemon_set(_: Api, live: Object) -> str | None:
    status = _status(live)
    wanted = _count(status, "desiredNumberScheduled")
    if not _observed(live) or _count(status, "numberReady") < wanted:
        return f"{_count(status, 'numberReady')} of {wanted} pods are ready"
    return None


def _service(api: Api, live: Object) -> str | None:
    spec = cast("Object", live["spec"])
    if spec.get("type") == "LoadBalancer":
        balancer = cast("Mapping[str, object]", _status(live).get("loadBalancer") or {})
        if not balancer.get("ingress"):
            return "no address was given to it"
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") == "None":
        return None
    if not spec.get("selector"):
        return None
    endpoints = api.get(Kind("v1", "Endpoints"), namespace_of(live), name_of(live))
    for subset in cast("list[Object]", (endpoints or {}).get("subsets") or []):
        if subset.get("notReadyAddresses"):
            return "a pod behind it is not ready"
    return None


def _job(_: Api, live: Object) -> str | None:
    return None if _condition(live, "Complete") == "True" else "it has not ended well"


def _claim(api: Api, live: Object) -> str | None:
    phase = _status(live).get("phase")
    name = cast("Object", live["spec"]).get("storageClassName")
    stored = api.get(Kind("storage.k8s.io/v1", "StorageClass"), "", str(name)) if name else None
    if phase == "Bound":
        return None
    if phase == "Pending" and (stored or {}).get("volumeBindingMode") == "WaitForFirstConsumer":
        return None
    return f"it is {phase}, and waits for a volume"


_RULES: Mapping[Kind, Callable[[Api, Object], str | None]] = {
    Kind("apps/v1", "Deployment"): _deployment,
    Kind("apps/v1", "StatefulSet"): _stateful_set,
    Kind("apps/v1", "DaemonSet"): _daemon_set,
    Kind("batch/v1", "Job"): _job,
    Kind("v1", "PersistentVolumeClaim"): _claim,
    Kind("v1", "Service"): _service,
}


def _status(live: Object) -> Object:
    return cast("Object", live.get("status") or {})


def _observed(live: Object) -> bool:
    seen = _status(live).get("observedGeneration")
    return isinstance(seen, int) and seen >= cast("int", metadata(live).get("generation") or 0)


def _count(counted: Object, name: str, default: int = 0) -> int:
    found = counted.get(name, default)
    return int(found) if isinstance(found, int | float) else default


def _condition(live: Object, name: str) -> str | None:
    for condition in cast("list[Object]", _status(live).get("conditions") or []):
        if condition.get("type") == name:
            return str(condition.get("status"))
    return None
