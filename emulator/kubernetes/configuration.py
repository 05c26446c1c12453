"""The provider's own settings: which cluster, and what may change in place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from pulumi.runtime.proto import provider_pb2

from emulator.plugin.changes import changed_paths
from emulator.plugin.values import Properties, is_unknown, reveal

from .kubeconfig import KubeconfigError, active_cluster, parse
from .objects import opened

_ACTIVE = ("kubeconfig", "context", "cluster")
_IDENTIFIER = "clusterIdentifier"


@dataclass(frozen=True)
class Settings:
    """What a provider was configured with; see the published plugin's documentation."""

    kubeconfig: str = ""
    context: str | None = None
    config_maps: bool = False
    secrets: bool = False
    forced: bool = False
    delete_unreachable: bool = False

    @classmethod
    def of(cls, given: Properties, environment: Mapping[str, str]) -> Settings:
        """The settings that GIVEN holds."""
        values = opened(given)

        def flag(name: str, variable: str = "") -> bool:
            value = values.get(name, environment.get(variable))
            return value is True or value == "true"

        return cls(
            kubeconfig=text_of(values.get("kubeconfig")),
            context=cast("str | None", values.get("context")),
            config_maps=flag("enableConfigMapMutable", "PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE"),
            secrets=flag("enableSecretMutable", "PULUMI_K8S_ENABLE_SECRET_MUTABLE"),
            forced=flag("enablePatchForce", "PULUMI_K8S_ENABLE_PATCH_FORCE"),
            delete_unreachable=flag("deleteUnreachable", "PULUMI_K8S_DELETE_UNREACHABLE"),
        )


def text_of(kubeconfig: object) -> str:
    """A kubeconfig's text: it may be given as text or as an object."""
    return kubeconfig if isinstance(kubeconfig, str) else json.dumps(kubeconfig or {})


def compare(old: Properties, new: Properties) -> provider_pb2.DiffResponse:
    """What differs between two configurations, and whether the objects are of another cluster.

    That is the case where `clusterIdentifier` changes; where one is given and stays, it never is;
    without one, where the active cluster of the kubeconfig changes or is not known yet.
    """
    # What of it is secret depends on who sends it; the version is the engine's own.
    old, new = (
        {
            name: value
            for name, value in cast("Properties", opened(given)).items()
            if name != "version"
        }
        for given in (old, new)
    )
    changed = sorted({str(path[0]) for path in changed_paths(old, new)})
    if not changed:
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)
    replaces: list[str] = []
    named, before = reveal(new.get(_IDENTIFIER)), reveal(old.get(_IDENTIFIER))
    if named and before and named != before:
        replaces = [_IDENTIFIER]
    elif not (named and named == before):
        replaces = _other_cluster(old, new, changed)
    return provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME, diffs=changed, replaces=replaces
    )


def _other_cluster(old: Properties, new: Properties, changed: list[str]) -> list[str]:
    for name in _ACTIVE:
        if name in new and is_unknown(new[name]):
            return [name]
    clusters: list[object] = []
    for given in (old, new):
        values = opened(given)
        try:
            config = parse(text_of(values.get("kubeconfig")))
        except KubeconfigError:
            return []
        clusters.append(active_cluster(config, cast("str | None", values.get("context"))))
    if None in clusters or clusters[0] == clusters[1]:
        return []
    return [name for name in _ACTIVE if name in changed]
