"""A stack in a cluster of an emulated cloud, whose clusters are one fake API server."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import emulated_cloud
from emulated_cloud import EmulatedCloud
from fake_authority import make_authority
from fake_gateway import FakeGateway
from fake_google_apis import TOKEN, Asked, FakeApis, Reply
from fake_kubernetes import FakeKubernetes

STACK = "gke-ovms"
BASE = "llm-endpoint-gke-ovms"
CLUSTER = f"projects/a-project/locations/europe-west4-a/clusters/{BASE}"
SHARED = "projects/a-project/locations/europe-west4-a/clusters/shared"
URL = f"https://gateway.{BASE}.svc.cluster.local"


@dataclass(frozen=True)
class Stack:
    """The stack, its cloud, and the cluster that the cloud's clusters are."""

    cloud: EmulatedCloud
    cluster: FakeKubernetes
    beside: dict[str, set[str]] = field(default_factory=dict)
    """What the cloud had when something was last deleted in the cluster, by that."""

    def configure(self, **values: str) -> None:
        self.cloud.configure(STACK, **values)

    def forget(self, *keys: str) -> None:
        for key in keys:
            self.cloud.good("config", "rm", f"llm-endpoint:{key}", "--stack", STACK)

    def up(self) -> str:
        return self.cloud.up(STACK).stdout

    def destroy(self) -> None:
        self.beside.clear()
        self.cloud.good("destroy", "--yes", "--skip-preview", "--stack", STACK)

    def outputs(self) -> dict[str, Any]:
        return self.cloud.outputs(STACK)

    def secret_outputs(self) -> set[str]:
        """Names of the outputs that are shown to nobody who does not ask for secrets."""
        shown = json.loads(self.cloud.good("stack", "output", "--json", "--stack", STACK).stdout)
        return {name for name, value in shown.items() if value == "[secret]"}

    def no_changes(self) -> None:
        self.cloud.good("preview", "--expect-no-changes", "--stack", STACK)

    def replicas(self, kind: str = "StatefulSet", name: str = "chat") -> int:
        return self.cluster.objects(kind)[name]["spec"]["replicas"]

    def pool(self) -> dict[str, Any]:
        (made,) = [
            made
            for identity, made in self.cloud.resources().items()
            if identity.endswith(f"/nodePools/{BASE}")
        ]
        return dict(made["inputs"])

    def note(self, change: str) -> None:
        if change.startswith("DELETE"):
            self.beside[change] = set(self.cloud.resources())


def told(cloud: EmulatedCloud, asked: Asked) -> Reply:
    """What GKE's API says of a cluster of the cloud."""
    made = cloud.resources().get(asked.path.partition("/v1/")[2])
    if made is None:
        return 404, {"error": {"code": 404, "message": "Not found", "status": "NOT_FOUND"}}
    return 200, {**made["inputs"], **made["added"]}


@contextmanager
def opened(folder: Path) -> Iterator[Stack]:
    """Make a checkout with the stack, and all that it meets, in `folder`."""
    authority = make_authority(folder)
    made = emulated_cloud.make(folder, "203.0.113.7")
    with (
        FakeKubernetes(authority.context(), authority.path, TOKEN) as cluster,
        FakeGateway(cluster, folder) as gateway,
        FakeApis() as google,
    ):
        cluster.reach = gateway.reach
        # The cluster's DNS name has a certificate that the system trusts.
        extra = {**google.environment, "SSL_CERT_FILE": str(authority.path)}
        cloud = dataclasses.replace(made, extra=extra)
        for path in (CLUSTER, SHARED):
            google.on(f"container/v1/{path}", lambda asked: told(cloud, asked))
        (folder / "cloud" / "kubernetes.json").write_text(cluster.settings(), encoding="utf-8")
        cloud.good("stack", "init", STACK)
        stack = Stack(cloud, cluster)
        cluster.looks_on = stack.note
        yield stack
