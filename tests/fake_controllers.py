"""What a cluster makes of its objects: defaults, pods, claims, addresses, and what ends with what.

Everything comes to pass at once, as soon as something has changed.
"""

from __future__ import annotations

import base64
import copy
from typing import Any

from fake_objects import Key, Object, Store

ADDRESS = "203.0.113.7"
"""What every load balancer gets."""


def defaulted(declared: Object) -> Object:
    """An object as the API server keeps it: what is not said gets its default."""
    made = copy.deepcopy(declared)
    spec = made.get("spec")
    match made["kind"]:
        case "Secret":
            text = made.pop("stringData", None) or {}
            encoded = {name: base64.b64encode(v.encode()).decode() for name, v in text.items()}
            made["data"] = {**made.get("data", {}), **encoded}
            made.setdefault("type", "Opaque")
        case "StatefulSet" | "Deployment" if spec is not None:
            spec.setdefault("replicas", 1)
            spec.setdefault("revisionHistoryLimit", 10)
            spec["template"]["spec"].setdefault("restartPolicy", "Always")
        case "Service" if spec is not None:
            spec.setdefault("type", "ClusterIP")
            spec.setdefault("clusterIP", "10.0.0.10")
            for port in spec.get("ports", []):
                port.setdefault("protocol", "TCP")
        case "CronJob" if spec is not None:
            spec.setdefault("suspend", False)
    return made


def settle(store: Store, starts: bool) -> None:
    """Let the controllers do what there is to do; new pods are ready where `starts`."""
    for key, made in list(store.objects.items()):
        kind, status = made["kind"], made.setdefault("status", {})
        if kind in ("StatefulSet", "Deployment"):
            _run_pods(store, key, made, starts)
        elif kind == "Service" and made["spec"]["type"] == "LoadBalancer":
            status["loadBalancer"] = {"ingress": [{"ip": ADDRESS}]}
        elif kind == "Gateway":
            status["conditions"] = [{"type": "Programmed", "status": "True"}]
            status["addresses"] = [{"type": "IPAddress", "value": ADDRESS}]
        elif kind == "Namespace":
            status["phase"] = "Active"
        if not made["status"]:
            del made["status"]


def dependents(store: Store, key: Key) -> list[Key]:
    """What ends with an object: the namespace's all, and a controller's pods and claims."""
    if key.plural == "namespaces":
        return [other for other in store.objects if other.namespace == key.name]
    made = store.objects.get(key)
    if made is None or made["kind"] not in ("StatefulSet", "Deployment"):
        return []
    kept = made["spec"].get("persistentVolumeClaimRetentionPolicy", {}).get("whenDeleted")
    ended = ["pods", *(["persistentvolumeclaims"] if kept == "Delete" else [])]
    return [
        other
        for other in store.objects
        if other.plural in ended and _belongs(store.objects[other], made)
    ]


def endpoint_slices(store: Store, key: Key, service: str) -> list[Object]:
    """The one slice of a Service: the pods that it selects."""
    made = store.objects.get(Key("v1", "services", key.namespace, service))
    if made is None:
        return []
    selected = made["spec"].get("selector", {}).items()
    pods = [
        pod
        for other, pod in store.objects.items()
        if other[1:3] == ("pods", key.namespace)
        and selected <= pod["metadata"].get("labels", {}).items()
    ]
    ports = [
        {"name": port.get("name", ""), "port": _pod_port(pods, port)}
        for port in made["spec"]["ports"]
    ]
    endpoints = [
        {
            "targetRef": {"kind": "Pod", "name": pod["metadata"]["name"]},
            "conditions": {"ready": is_ready(pod)},
        }
        for pod in pods
    ]
    return [{"kind": "EndpointSlice", "ports": ports, "endpoints": endpoints}]


def is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return {"type": "Ready", "status": "True"} in conditions


def _pod_port(pods: list[Object], port: Object) -> int | None:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    for pod in pods:
        for container in pod["spec"]["containers"]:
            for named in container.get("ports", []):
                if named.get("name") == target:
                    return named["containerPort"]
    return None


def _run_pods(store: Store, key: Key, made: Object, starts: bool) -> None:
    spec, name = made["spec"], made["metadata"]["name"]
    wanted = [f"{name}-{number}" for number in range(spec["replicas"])]
    pods = {
        other.name: other
        for other in list(store.objects)
        if other[1:3] == ("pods", key.namespace) and _belongs(store.objects[other], made)
    }
    for old in pods.keys() - set(wanted):
        store.delete(pods[old])
    for pod in wanted:
        _start(store, key, made, pod, starts)
    ready = sum(is_ready(store.objects[Key("v1", "pods", key.namespace, pod)]) for pod in wanted)
    counted = {"replicas": len(wanted), "readyReplicas": ready, "availableReplicas": ready}
    available = "True" if ready == len(wanted) else "False"
    made["status"] = {
        **counted,
        "updatedReplicas": len(wanted),
        "observedGeneration": made["metadata"]["generation"],
        "currentRevision": "one",
        "updateRevision": "one",
        "conditions": [{"type": "Available", "status": available}],
    }


def _start(store: Store, key: Key, made: Object, pod: str, starts: bool) -> None:
    template = made["spec"]["template"]
    state: dict[str, Any] = {"type": "Ready", "status": "True" if starts else "False"}
    at = Key("v1", "pods", key.namespace, pod)
    owner = {"kind": made["kind"], "name": made["metadata"]["name"]}
    store.put(
        at,
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": pod,
                "namespace": key.namespace,
                "labels": dict(template["metadata"].get("labels", {})),
                "ownerReferences": [owner],
            },
            "spec": copy.deepcopy(template["spec"]),
        },
    )
    running = store.objects[at].setdefault("status", {"phase": "Running", "conditions": [state]})
    if starts:
        running["conditions"] = [state]
    for claim in made["spec"].get("volumeClaimTemplates", []):
        name = f"{claim['metadata']['name']}-{pod}"
        metadata = {"name": name, "namespace": key.namespace, "ownerReferences": [owner]}
        store.put(
            Key("v1", "persistentvolumeclaims", key.namespace, name),
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": metadata,
                "spec": copy.deepcopy(claim["spec"]),
                "status": {"phase": "Bound"},
            },
        )


def _belongs(made: Object, owner: Object) -> bool:
    wanted = {"kind": owner["kind"], "name": owner["metadata"]["name"]}
    return wanted in made["metadata"].get("ownerReferences", [])
