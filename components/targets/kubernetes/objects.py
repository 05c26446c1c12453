"""Rendered objects as resources of Pulumi's provider for Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import cast

import pulumi

from components.rendering.kubernetes.manifests import Manifest
from components.targets.kubernetes.access import ClusterAccess, kubeconfig
from components.targets.order import once

PACKAGE = "pulumi-kubernetes"
SECRET_FIELDS = ("data", "stringData")
STARTING_TIMEOUT = "20m"
"""How long an object may take to be there: a Service waits for its load balancer, a Deployment for
its pod."""
ENDING_TIMEOUT = "20m"
"""How long it may take to be gone: Google's load balancers go before what they belong to does."""


@cache
def _plugin_version() -> str:
    """Return the version of the plugin that goes with the package: reading it takes its time."""
    return version(PACKAGE)


class KubernetesObject(pulumi.CustomResource):
    """Any object of a cluster, as its manifest says."""

    def __init__(
        self, name: str, manifest: Mapping[str, pulumi.Input[object]], opts: pulumi.ResourceOptions
    ) -> None:
        super().__init__(type_of(manifest), name, dict(manifest), opts)

    @property
    def uid(self) -> pulumi.Output[str]:
        """What tells it from an object of the same name that was there before."""
        # Each input is an output too. Said as a type, Pulumi would look for it in what is nested.
        metadata = cast("pulumi.Output[Mapping[str, object]]", vars(self)["metadata"])
        return metadata.apply(lambda known: str(known.get("uid", "")))


@dataclass(frozen=True)
class Objects:
    """Sends manifests to one cluster. `name` begins the logical names of what is sent."""

    name: str
    provider: pulumi.ProviderResource

    def send(
        self,
        manifest: Manifest,
        parent: pulumi.Resource,
        after: Sequence[pulumi.Resource] = (),
        *,
        protect: bool = False,
        ignore_changes: Sequence[str] = (),
        starting: str = STARTING_TIMEOUT,
    ) -> KubernetesObject:
        """Register the object of `manifest`, which comes after all of `after`, and goes before.

        With `protect` Pulumi refuses to delete it. What `ignore_changes` names, such as
        `spec.storageClassName`, stays as it was made. `starting` is how long it may take to be
        there.
        """
        kind, own_name = kind_of(manifest), name_of(manifest)
        return KubernetesObject(
            f"{self.name}-{_hyphened(kind)}-{own_name}",
            manifest,
            pulumi.ResourceOptions(
                parent=parent,
                provider=self.provider,
                version=_plugin_version(),
                depends_on=list(after),
                # An object's name is its own.
                delete_before_replace=True,
                protect=protect,
                ignore_changes=list(ignore_changes) or None,
                # What Google made for a Service of one type is gone only with the Service: the
                # address that its load balancer had could not be deleted as long.
                replace_on_changes=["spec.type"] if kind == "Service" else None,
                additional_secret_outputs=list(SECRET_FIELDS) if kind == "Secret" else None,
                custom_timeouts=pulumi.CustomTimeouts(
                    create=starting, update=starting, delete=ENDING_TIMEOUT
                ),
            ),
        )


def cluster_provider(
    name: str,
    parent: pulumi.Resource,
    *,
    access: pulumi.Input[str],
    identifier: pulumi.Input[str],
    ready: Sequence[pulumi.Input[str]],
    python: Sequence[str],
) -> pulumi.ProviderResource:
    """Return the provider of one cluster, known once `access` and all of `ready` are.

    What is sent by it thus comes after the cluster's pools and its way to the internet, and goes
    before them. Its credentials are whose who runs it; what it is told is kept a secret all the
    same. ConfigMaps and Secrets are changed in place: pods that mount them go on.
    """
    config = once(access, *ready).apply(
        lambda text: kubeconfig(ClusterAccess.from_json(text), python)
    )
    return pulumi.ProviderResource(
        "kubernetes",
        f"{name}-kubernetes",
        {
            "kubeconfig": pulumi.Output.secret(config),
            "clusterIdentifier": identifier,
            "enableConfigMapMutable": "true",
            "enableSecretMutable": "true",
        },
        pulumi.ResourceOptions(parent=parent, version=_plugin_version()),
    )


def type_of(manifest: Mapping[str, object]) -> str:
    """Return Pulumi's token for the kind of `manifest`: its core group is `core`."""
    api = str(manifest["apiVersion"])
    group = api if "/" in api else f"core/{api}"
    return f"kubernetes:{group}:{manifest['kind']}"


def kind_of(manifest: Manifest) -> str:
    """Return the kind of an object."""
    return str(manifest["kind"])


def name_of(manifest: Manifest) -> str:
    """Return the name of an object in its namespace."""
    return str(cast("Mapping[str, object]", manifest["metadata"])["name"])


def labels_of(manifest: Manifest) -> Mapping[str, str]:
    """Return the labels of an object."""
    metadata = cast("Mapping[str, object]", manifest["metadata"])
    return cast("Mapping[str, str]", metadata.get("labels", {}))


def _hyphened(kind: str) -> str:
    """Return `ConfigMap` as `config-map`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind).lower()
