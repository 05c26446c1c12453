"""What differs between an object and what is declared of it, and what of that replaces it.

Which fields replace: the published plugin's own list (`provider/pkg/provider/diff.go`), for the
kinds that a stack of ours has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from pulumi.runtime.proto import provider_pb2

from emulator.plugin.changes import Change, changed_paths
from emulator.plugin.difference import difference
from emulator.plugin.values import Properties

from .api import Kind, Object, name_of, namespace_of
from .objects import annotation

_IDENTITY = frozenset({"metadata.name", "metadata.namespace"})
_SELECTOR = frozenset({"spec.selector"})
_REPLACING = {
    Kind("apps/v1", "DaemonSet"): _SELECTOR,
    Kind("apps/v1", "Deployment"): _SELECTOR,
    Kind("apps/v1", "StatefulSet"): _SELECTOR
    | {
        "spec.podManagementPolicy",
        "spec.revisionHistoryLimit",
        "spec.serviceName",
        "spec.volumeClaimTemplates",
    },
    Kind("batch/v1", "Job"): _SELECTOR | {"spec.completions", "spec.parallelism", "spec.template"},
    Kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): frozenset({"roleRef"}),
    Kind("rbac.authorization.k8s.io/v1", "RoleBinding"): frozenset({"roleRef"}),
    Kind("storage.k8s.io/v1", "StorageClass"): frozenset({"parameters", "provisioner"}),
    Kind("v1", "PersistentVolumeClaim"): _SELECTOR
    | {"spec.accessModes", "spec.storageClassName", "spec.volumeName"},
    Kind("v1", "ResourceQuota"): frozenset({"spec.scopes"}),
    Kind("v1", "Service"): frozenset({"spec.clusterIP"}),
}
_CUSTOM = ("gateway.networking.k8s.io/", "networking.gke.io/")
_CONFIG_MAP, _SECRET = Kind("v1", "ConfigMap"), Kind("v1", "Secret")


def replacing(manifest: Object, *, config_maps: bool, secrets: bool) -> frozenset[str]:
    """The fields whose change makes another object of MANIFEST's kind.

    A ConfigMap's data, and a Secret's, are among them unless the provider was told that they may
    change (`enableConfigMapMutable`, `enableSecretMutable`) and the object is not `immutable`.
    """
    kind, immutable = Kind.of(manifest), manifest.get("immutable") is True
    if kind == _SECRET:
        frozen = immutable or not secrets
        return _IDENTITY | {"type"} | ({"data", "stringData"} if frozen else frozenset())
    if kind == _CONFIG_MAP:
        frozen = immutable or not config_maps
        return _IDENTITY | ({"data", "binaryData"} if frozen else frozenset())
    return _IDENTITY | _REPLACING.get(kind, frozenset[str]())


def compare(
    before: Object, after: Object, replaced_by: frozenset[str], ignored: Sequence[str]
) -> provider_pb2.DiffResponse:
    """The engine's answer: BEFORE is what is live of what was declared, AFTER what is declared."""

    def replaces(path: tuple[str | int, ...]) -> bool:
        names = [step for step in path if isinstance(step, str)]
        return any(".".join(names[:count]) in replaced_by for count in range(1, len(names) + 1))

    # A server keeps no empty annotations and the like; the published plugin knows that of the kinds
    # that are Kubernetes' own, and of a Secret it doesn't.
    kind = Kind.of(after)
    tidied = kind != _SECRET and not kind.api_version.startswith(_CUSTOM)
    found = {
        path: change
        for path, change in changed_paths(
            cast("Properties", before), cast("Properties", after)
        ).items()
        if not any(_within(path, name) for name in ignored)
        and not (tidied and change is Change.ADD and _at(after, path) in ({}, []))
    }
    answer = difference(found, replaces)
    # One of the same name can't stand beside it.
    same = (name_of(before), namespace_of(before)) == (name_of(after), namespace_of(after))
    answer.deleteBeforeReplace = bool(
        answer.replaces and same and annotation(after, "autonamed") != "true"
    )
    return answer


def _at(value: object, path: Sequence[str | int]) -> object:
    for step in path:
        value = cast("dict[str | int, object]", value)[step]
    return value


def _within(path: tuple[str | int, ...], ignored: str) -> bool:
    steps = ignored.split(".")
    return [str(step) for step in path[: len(steps)]] == steps
