"""Hollow nodes: real kubelets whose containers don't run.

Pods that land on one get an address, their init containers end at once and well, the containers of
a Job too, and the others are ready as soon as they are started, unless
`ControlPlane.probes_fail` says otherwise. Images are never pulled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType

from cluster.api import holds
from cluster.plane import ControlPlane

START_SECONDS = 30.0


class HollowNode:
    """A node of `plane` from `with` to the block's end.

    `taints` are written `KEY=VALUE:EFFECT`. `cpu`, `memory` and `ephemeral_storage` are what pods
    may ask for in all, as quantities (`21875m`, `81478Mi`): a node's allocatable, and here its
    capacity too.
    """

    def __init__(
        self,
        plane: ControlPlane,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        taints: Sequence[str] = (),
        cpu: str = "4",
        memory: str = "16Gi",
        ephemeral_storage: str = "100Gi",
    ) -> None:
        self.name = name
        self._plane = plane
        self._words = [
            f"--kubeconfig={plane.kubeconfig}",
            f"--name={name}",
            f"--unready={plane.unready}",
            f"--folder={plane.folder / name}",
            f"--resources=cpu={cpu},memory={memory},ephemeral-storage={ephemeral_storage}",
        ]
        if labels:
            self._words.append("--labels=" + ",".join(f"{k}={v}" for k, v in labels.items()))
        if taints:
            self._words.append("--taints=" + ",".join(taints))
        self._stack = ExitStack()

    def __enter__(self) -> HollowNode:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        if self._plane.api.get("v1/Node", self.name) is not None:
            self._plane.api.delete("v1/Node", self.name)

    def start(self) -> None:
        """Start the node, or start it again; ends when it is ready for pods."""
        kubelet = self._plane.program(self._stack, self.name, "hollow-node", *self._words)
        self._kubelet = kubelet
        kubelet.wait_until("readiness", self._ready, START_SECONDS)

    def lose(self) -> None:
        """End the kubelet at once, as Spot's end of a machine does; the Node object stays.

        The cluster notices after `LOST_NODE_SECONDS`; or delete the Node, as GKE does.
        """
        self._kubelet.kill()

    def _ready(self) -> bool:
        found = self._plane.api.get("v1/Node", self.name)
        return found is not None and holds(found, "Ready")
