"""One model server as pods of a StatefulSet."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from components.targets.kubernetes.args import OvmsServerArgs
from components.targets.kubernetes.objects import KubernetesObject, kind_of, name_of


class OvmsServer(pulumi.ComponentResource):
    """OpenVINO Model Server, or another engine in its place: pods with a volume each.

    It refuses objects without exactly one StatefulSet. How many pods there are is nobody's here:
    the deployment, the parking job and the cluster's autoscaler scale it.
    """

    uid: pulumi.Output[str]
    """Changes when the StatefulSet is another one."""
    sent: Sequence[KubernetesObject]

    def __init__(
        self, name: str, args: OvmsServerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        server, objects = args["server"], args["objects"]
        sets = [manifest for manifest in args["manifests"] if kind_of(manifest) == "StatefulSet"]
        if [name_of(manifest) for manifest in sets] != [server.name]:
            raise ValueError(
                f"the server {server.name!r} takes one StatefulSet of that name, and its objects "
                f"have {[name_of(manifest) for manifest in sets]}"
            )
        shown = {"engine": server.launch.engine, "model": server.model, "image": server.image}
        super().__init__("llm-endpoint:kubernetes:OvmsServer", name, shown, opts)
        others = [manifest for manifest in args["manifests"] if manifest not in sets]
        around = [objects.send(manifest, self, args["first"]) for manifest in others]
        pods = objects.send(sets[0], self, [*args["first"], *around])
        self.uid = pods.uid
        self.sent = (*around, pods)
        self.register_outputs({"uid": self.uid})
