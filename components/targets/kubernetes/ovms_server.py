"""One model server as pods of a StatefulSet, or of another controller's."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from components.targets.kubernetes.args import OvmsServerArgs
from components.targets.kubernetes.objects import KubernetesObject, kind_of, name_of

_CLAIM = "PersistentVolumeClaim"
_JOB = "Job"
_FILLING_TIMEOUT = "2h"
"""How long a Job may take, its node included: 200 GB at 30 MB/s."""


class OvmsServer(pulumi.ComponentResource):
    """OpenVINO Model Server, or another engine in its place: pods with a volume each.

    It refuses objects without exactly one of the workload's kind. How many pods a StatefulSet has
    is nobody's here: the deployment, the parking job and the cluster's autoscaler scale it.
    """

    uid: pulumi.Output[str]
    """Changes when the workload is another one."""
    sent: Sequence[KubernetesObject]

    def __init__(
        self, name: str, args: OvmsServerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        server, objects, kind = args["server"], args["objects"], args["workload"]
        found = [manifest for manifest in args["manifests"] if kind_of(manifest) == kind]
        if [name_of(manifest) for manifest in found] != [server.name]:
            raise ValueError(
                f"the server {server.name!r} takes one {kind} of that name, and its objects "
                f"have {[name_of(manifest) for manifest in found]}"
            )
        shown = {"engine": server.launch.engine, "model": server.model, "image": server.image}
        super().__init__("llm-endpoint:kubernetes:OvmsServer", name, shown, opts)
        jobs = [manifest for manifest in args["manifests"] if kind_of(manifest) == _JOB]
        others = [one for one in args["manifests"] if one not in found and one not in jobs]
        around = [
            objects.send(
                manifest,
                self,
                args["first"],
                protect=args["keep_data"] and kind_of(manifest) == _CLAIM,
            )
            for manifest in others
        ]
        first = [*args["first"], *around]
        around += [objects.send(job, self, first, starting=_FILLING_TIMEOUT) for job in jobs]
        pods = objects.send(found[0], self, [*args["first"], *around])
        self.uid = pods.uid
        self.sent = (*around, pods)
        self.register_outputs({"uid": self.uid})
