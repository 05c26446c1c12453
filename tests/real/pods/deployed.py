"""The objects of `gke-ovms` as they come into a cluster: rendered, and filled with what is late."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from cluster.api import Api, Object, Objects, holds
from cluster.plane import ControlPlane

from components.rendering.kubernetes import names
from components.rendering.kubernetes.plan import PodPlan
from components.rendering.kubernetes.render import render
from components.rendering.process import Variable
from components.settings import load
from components.settings.gke_ovms import GkeOvmsSettings
from components.targets.kubernetes.access import ClusterAccess
from scripts.bootstrap.places import this_checkout
from stacks import gke_ovms

ROOT = this_checkout().root
STATEFUL_SET, DEPLOYMENT = "apps/v1/StatefulSet", "apps/v1/Deployment"
CRON_JOB, JOB = "batch/v1/CronJob", "batch/v1/Job"
POD, CLAIM, VOLUME = "v1/Pod", "v1/PersistentVolumeClaim", "v1/PersistentVolume"
ADDRESS = "203.0.113.10"
"""The address of a load balancer, in this cloud of no clouds."""

BALANCED = {"expose": "load_balancer", "allowed_cidrs": "203.0.113.0/24"}
EMBEDDINGS = {"embeddings_model": "OpenVINO/Qwen3-Embedding-0.6B-int8-ov"}
SCALED = {"replicas": "2", "max_replicas": "3", "max_nodes": "3"}
ALL = {**BALANCED, **EMBEDDINGS, **SCALED, "idle_minutes": "30"}
"""Two pods of the chat model, one of embeddings, a load balancer, an autoscaler and parking."""

_MODEL = "OpenVINO/Qwen3-8B-int4-ov@5c47abf4b8e12ebe8e99745bb0c1ec17e0c0abcc"
_SECONDS = 120


def planned(stack: str, **given: str) -> PodPlan:
    """Return the plan of the stack `stack` with the keys `given` beside those that it must have."""
    keys = {"gcp:project": "example-project", "gcp:zone": "europe-west4-a", "model": _MODEL}
    return gke_ovms.plan(load(GkeOvmsSettings, {**keys, **given}, {}), stack)


@dataclass
class Endpoint:
    """The objects of `plan` in the cluster of `plane`."""

    plane: ControlPlane
    plan: PodPlan
    key: str = field(default="sk-of-the-test", repr=False)

    @property
    def api(self) -> Api:
        return self.plane.api

    @property
    def namespace(self) -> str:
        return self.plan.namespace

    def objects(self) -> Objects:
        """Return what is applied, with keys, an authority and a host as a deployment adds them."""
        keys = {"default": hashlib.sha256(self.key.encode()).hexdigest()}
        late = {
            ("Secret", names.KEYS_SECRET): {names.KEYS_FILE: json.dumps(keys)},
            ("Secret", names.CA_SECRET): {names.CA_CERTIFICATE: "PEM", names.CA_KEY: "PEM"},
            ("Secret", names.REGISTRY_SECRET): {names.REGISTRY_KEY_FILE: "{}"},
            ("ConfigMap", names.HOST_CONFIG): {names.HOST_KEY: self.plan.host or ADDRESS},
        }
        found: Objects = []
        for manifest in cast("tuple[Object, ...]", render(self.plan).objects):
            data = late.get((manifest["kind"], manifest["metadata"]["name"]))
            word = "stringData" if manifest["kind"] == "Secret" else "data"
            found.append(manifest if data is None else {**manifest, word: data})
        return found

    def apply(self) -> Objects:
        """Apply all objects, and return them as the server has them."""
        return self.api.apply_all(self.objects())

    def remove(self, *, with_namespace: bool = True) -> None:
        """Delete what was applied in the opposite order, each in the foreground, as Pulumi does."""
        for manifest in reversed(self.objects()):
            if manifest["kind"] == "Namespace" and not with_namespace:
                continue
            kind = f"{manifest['apiVersion']}/{manifest['kind']}"
            place = manifest["metadata"]["name"], manifest["metadata"].get("namespace")
            self.api.delete(kind, *place)
            self.api.wait_until_gone(kind, *place, 60)

    def scale(self, **replicas: int) -> None:
        """Run `scripts.gke.scale` as a deployment does; unnamed servers get what the plan says."""
        wanted = {
            server.name: {
                "replicas": 0 if self.plan.parked else server.replicas,
                "most": server.most_replicas,
            }
            for server in self.plan.servers
        }
        wanted |= {name: {"replicas": count, "most": None} for name, count in replicas.items()}
        environment = {
            **os.environ,
            Variable.CLUSTER: ClusterAccess(self.plane.url, self.plane.authority).as_json(),
            Variable.NAMESPACE: self.namespace,
            Variable.SCALE: json.dumps(wanted),
            "GOOGLE_OAUTH_ACCESS_TOKEN": self.plane.token,
        }
        done = subprocess.run(
            [sys.executable, "-m", "scripts.gke.scale"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {n: one["replicas"] for n, one in wanted.items()}
        assert self.plane.token not in done.stdout + done.stderr

    def pods(self, name: str | None = None) -> dict[str, Object]:
        """Return the pods of `name`, or all, by their names."""
        chosen = "" if name is None else f"{names.NAME_LABEL}={name}"
        found = self.api.list(POD, self.namespace, chosen)
        return {pod["metadata"]["name"]: pod for pod in found}

    def claims(self) -> dict[str, str]:
        """Return the volume of each claim, by the claim's name; "" while it has none."""
        found = self.api.list(CLAIM, self.namespace)
        return {one["metadata"]["name"]: one["spec"].get("volumeName", "") for one in found}

    def refusals(self) -> list[str]:
        """Return what the cluster has said of pods that it did not let in."""
        return [told for told in self.api.events(self.namespace) if "FailedCreate" in told]


def asked_for(pods: Mapping[str, Object]) -> dict[str, int]:
    """Return what a quota counts of `pods`: thousandths of processors, and bytes of memory.

    Of a pod that is the greatest of its init containers, or all others together.
    """
    total = {"milli_cpus": 0, "bytes": 0}
    for pod in pods.values():
        for resource, unit in (("cpu", "milli_cpus"), ("memory", "bytes")):
            first = [_amount(each, resource) for each in pod["spec"].get("initContainers", ())]
            others = sum(_amount(each, resource) for each in pod["spec"]["containers"])
            total[unit] += max([*first, others])
    return total


def _amount(container: Mapping[str, Any], resource: str) -> int:
    text = container["resources"]["requests"][resource]
    if resource == "cpu":
        return int(text[:-1]) if text.endswith("m") else 1000 * int(text)
    for unit, size in (("Ki", 2**10), ("Mi", 2**20), ("Gi", 2**30)):
        if text.endswith(unit):
            return int(text[:-2]) * size
    return int(text)


def ready(endpoint: Endpoint) -> set[str]:
    """Return the names of the servers' pods that are ready and stay."""
    return {
        name
        for server in endpoint.plan.servers
        for name, pod in endpoint.pods(server.name).items()
        if "deletionTimestamp" not in pod["metadata"] and holds(pod, "Ready")
    }


def wait_until_ready(endpoint: Endpoint, pods: set[str]) -> None:
    """Wait until these servers' pods are there and ready, and no others are there."""
    endpoint.api.wait_for(f"the pods {pods}", lambda: ready(endpoint) == pods, 60)
    servers = {server.name for server in endpoint.plan.servers}

    def there() -> set[str]:
        return {name for server in servers for name in endpoint.pods(server)}

    endpoint.api.wait_for("no other pods", lambda: there() == pods, 60)


def wait_for_gateway(endpoint: Endpoint) -> Object:
    """Return the gateway's one pod, once it is ready."""

    def found() -> Object | None:
        pods = [pod for pod in endpoint.pods(names.GATEWAY).values() if holds(pod, "Ready")]
        return pods[0] if len(pods) == 1 else None

    return endpoint.api.wait_for("the gateway", found)


def node_of(pod: Object) -> str:
    return pod["spec"].get("nodeName", "")


def addresses(endpoint: Endpoint, service: str, port: int) -> set[str]:
    """Return the addresses behind `service`, which all have that port."""
    found: set[str] = set()
    labels = f"kubernetes.io/service-name={service}"
    for piece in endpoint.api.list("discovery.k8s.io/v1/EndpointSlice", endpoint.namespace, labels):
        assert {one["port"] for one in piece["ports"] or ()} <= {port}
        for one in piece["endpoints"] or ():
            if one["conditions"]["ready"]:
                found.update(one["addresses"])
    return found


def token_of(endpoint: Endpoint, account: str) -> str:
    """Return a token of that service account, as the kubelet gets one for a pod."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    kind = "v1/ServiceAccount"
    made = endpoint.api.create(kind, endpoint.namespace, account, "token", body)
    return made["status"]["token"]
