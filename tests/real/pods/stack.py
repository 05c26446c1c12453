"""The stack `gke-ovms` on the real Pulumi engine: its cloud is emulated, its cluster a real control
plane, and what its pods run are processes of this machine.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import emulated_cloud
from cluster.api import Api, ApiError, Object
from cluster.plane import ControlPlane
from emulated_cloud import EmulatedCloud
from fake_google_apis import TOKEN, Asked, FakeApis, Reply
from fake_hub import FakeHub

from components.rendering.kubernetes import parking
from components.rendering.kubernetes.names import COMPONENT_LABEL
from pods.deployed import planned
from pods.images import images
from pods.kubelet import Kubelets
from pods.nodes import gke_daemon, pool_node, system_node
from pods.relay import Relay
from pods.runner import Runner

STACK = "gke-ovms"
NAMESPACE = f"llm-endpoint-{STACK}"
CLUSTER = f"projects/example-project/locations/europe-west4-a/clusters/{NAMESPACE}"
ADDRESS = "127.0.0.4"
"""The load balancer's address."""
CLIENT, OTHER_CLIENT = "203.0.113.9", "198.51.100.9"
"""Who asks the load balancer: an address in `allowed_cidrs`, and one that is not."""

CHAT, EMBEDDER = "example-org/Qwen3-0.6B-int4-ov", "example-org/Qwen3-Embedding-0.6B-int8-ov"
_REPOSITORY = {
    "config.json": b'{"model_type": "qwen3"}',
    "openvino_model.bin": b"w" * 200_000,
    "openvino_model.xml": b"<net/>",
    "openvino_tokenizer.bin": b"t" * 1000,
    "openvino_tokenizer.xml": b"<net/>",
}
SETTINGS = {
    "model": CHAT,
    "embeddings_model": EMBEDDER,
    "idle_minutes": "5",
    "ready_minutes": "5",
}
_UP_SECONDS = 120
_PASSED = ("PIP_", "SSL_CERT_", "REQUESTS_CA_", "CURL_CA_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass
class Stack:
    """The stack, what it is deployed to, and the hub that its models come from.

    `client` is who asks the load balancer.
    """

    cloud: EmulatedCloud
    plane: ControlPlane
    runner: Runner
    hub: FakeHub
    client: str = CLIENT

    @property
    def api(self) -> Api:
        return self.plane.api

    def configure(self, **values: str) -> None:
        self.cloud.configure(STACK, **values)

    def up(self) -> str:
        """Run `pulumi up`, which has to end well, and return what it says."""
        words = ("up", "--yes", "--skip-preview", "--stack", STACK)
        try:
            done = self.cloud.run(*words, seconds=_UP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"{error.stdout!r}\n{self._how_it_is()}") from None
        assert done.status == 0, f"{done.text}\n{self._how_it_is()}"
        return done.text

    def _how_it_is(self) -> str:
        events = "\n".join(self.api.events(NAMESPACE)[-15:])
        return f"{self.runner.problems}\n{self.runner.logs()[-6000:]}\n{events}"

    def outputs(self) -> dict[str, Any]:
        return self.cloud.outputs(STACK)

    def no_changes(self) -> None:
        self.cloud.good("preview", "--expect-no-changes", "--stack", STACK)

    def pods(self) -> dict[str, str]:
        """Return the uid of each pod by its name, without the pods of the job."""
        found = self.api.list("v1/Pod", NAMESPACE, f"{COMPONENT_LABEL}!={parking.COMPONENT}")
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in found}

    def claims(self) -> dict[str, str]:
        """Return the volume of each claim by the claim's name."""
        found = self.api.list("v1/PersistentVolumeClaim", NAMESPACE)
        return {one["metadata"]["name"]: one["spec"]["volumeName"] for one in found}

    def replicas(self) -> dict[str, int]:
        found = self.api.list("apps/v1/StatefulSet", NAMESPACE)
        return {one["metadata"]["name"]: one["spec"]["replicas"] for one in found}


@contextmanager
def deployed_stack(folder: Path) -> Iterator[Stack]:
    """Yield the stack, configured and not up yet."""
    # Who is not root has to get at what the pods mount, and a Unix socket's path is short.
    with tempfile.TemporaryDirectory(prefix="pods-") as name:
        short = Path(name)
        short.chmod(0o711)
        kubelets = Kubelets(short / "kubelets")
        hub = FakeHub()
        for repository in (CHAT, EMBEDDER):
            hub.put(repository, _REPOSITORY)
        (short / "pods").mkdir()
        try:
            with kubelets, ControlPlane(token=TOKEN, kubelets=kubelets.place) as plane:
                made = images(short)
                internet = _internet(hub)
                with Runner(plane, NAMESPACE, short / "pods", made, internet) as runner:
                    kubelets.logs, kubelets.connect = runner.log, runner.connect
                    with _deployed(folder, plane, runner, hub) as stack:
                        yield stack
        finally:
            hub.close()


@contextmanager
def _deployed(folder: Path, plane: ControlPlane, runner: Runner, hub: FakeHub) -> Iterator[Stack]:
    made = emulated_cloud.make(folder, ADDRESS)
    plan = planned(STACK, **SETTINGS)
    assert plan.namespace == NAMESPACE
    plane.install_definitions()
    plane.api.apply(gke_daemon())
    settings = {"server": plane.url, "certificate_authority": plane.authority}
    (folder / "cloud" / "kubernetes.json").write_text(json.dumps(settings))
    with system_node(plane), pool_node(plane, "spot-1", plan), FakeApis() as google:
        # What the cluster's DNS name shows is a certificate that the system trusts.
        authority = str(plane.folder / "ca.pem")
        extra = {**google.environment, "SSL_CERT_FILE": authority}
        cloud = dataclasses.replace(made, extra=extra)
        google.on(f"container/v1/{CLUSTER}", lambda asked: _told(cloud, asked))
        cloud.good("stack", "init", STACK)
        cloud.configure(STACK, gcp__project="example-project", gcp__zone="europe-west4-a")
        cloud.configure(STACK, **SETTINGS)
        stack = Stack(cloud, plane, runner, hub)
        with _load_balancer(stack):
            yield stack


def _told(cloud: EmulatedCloud, asked: Asked) -> Reply:
    """Return what GKE's API says of a cluster of the cloud."""
    made: Mapping[str, Any] | None = cloud.resources().get(asked.path.partition("/v1/")[2])
    if made is None:
        return 404, {"error": {"code": 404, "message": "Not found", "status": "NOT_FOUND"}}
    return 200, {**made["inputs"], **made["added"]}


def _internet(hub: FakeHub) -> dict[str, str]:
    """Return the variables that lead to this machine's package index, and to the hub."""
    passed = {n: v for n, v in os.environ.items() if n.upper().startswith(_PASSED)}
    return {**passed, "HF_ENDPOINT": hub.url}


@contextmanager
def _load_balancer(stack: Stack) -> Iterator[None]:
    """Do what a cloud does for Services of type LoadBalancer: an address, and what it leads to."""
    ending = threading.Event()

    def connect() -> socket.socket:
        if not _balanced(stack.api):
            raise ConnectionRefusedError("no Service is a load balancer's")
        return stack.runner.serve("gateway", 443, stack.client)

    def give_addresses() -> None:
        api = Api(stack.plane.url, stack.plane.token, str(stack.plane.folder / "ca.pem"))
        given = {"status": {"loadBalancer": {"ingress": [{"ip": ADDRESS, "ipMode": "VIP"}]}}}
        while not ending.wait(0.3):
            with suppress(ApiError):
                service = _balanced(api)
                if service and not service["status"]["loadBalancer"]:
                    api.patch("v1/Service", "gateway", given, NAMESPACE, "status")
        api.close()

    relay = Relay(socket.create_server((ADDRESS, 443), backlog=64), connect)
    thread = threading.Thread(target=give_addresses, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
        relay.close()


def _balanced(api: Api) -> Object | None:
    service = api.get("v1/Service", "gateway", NAMESPACE)
    return service if service and service["spec"]["type"] == "LoadBalancer" else None
