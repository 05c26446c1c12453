"""What lets the pods of a cluster read a model registry in Google Cloud Storage."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TypedDict

import pulumi
import pulumi_gcp as gcp

from components.rendering.kubernetes.names import REGISTRY_KEY_FILE
from components.rendering.kubernetes.plan import Registry, RegistryAccess
from components.targets.gcp.site import Site
from components.targets.gke.identity import grant, workload_principal
from components.targets.order import once

ROLE = "roles/storage.objectViewer"
"""To read and list objects, and nothing else (cloud.google.com/storage/docs/access-control/
iam-roles)."""
_PURPOSE = "models"


class RegistryReaderArgs(TypedDict):
    """What `RegistryReader` takes."""

    registry: Registry
    """In Google Cloud Storage. Its bucket is there, in whatever project."""
    base_name: str
    """Begins the names of what is made."""
    project: str
    """Id of the cluster's project."""
    region: str
    zone: str
    cluster: Sequence[pulumi.Input[str]]
    """Known once the cluster is there, and the APIs of its project are on."""
    namespace: str
    account: str
    """The service account of Kubernetes in `namespace` that the pods have."""


class RegistryReader(pulumi.ComponentResource):
    """The right to read one bucket, of the pods' own identity, or of an account with a key.

    It refuses a registry that is not in Google Cloud Storage, where it can grant nothing.
    """

    resources: Sequence[pulumi.Resource]
    """What pods need before they read, and so gone after them."""
    secret: pulumi.Output[Mapping[str, str]] | None
    """The data of the Secret by which pods read; None where they need none."""

    def __init__(
        self, name: str, args: RegistryReaderArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        registry = args["registry"]
        if registry.url.scheme != "gs" or registry.access is RegistryAccess.SECRET:
            raise ValueError(
                f"the registry {registry.url} is not in Google Cloud Storage, by whose access "
                "rights pods could be let in"
            )
        shown = {"registry": str(registry.url), "access": registry.access.value}
        super().__init__("llm-endpoint:gcp:RegistryReader", name, shown, opts)
        if registry.access is RegistryAccess.KEY:
            member, self.secret = self._account_with_key(name, args)
        else:
            member, self.secret = self._own_identity(args), None
        child = pulumi.ResourceOptions(parent=self)
        right = grant(f"{name}-registry", registry.url.bucket, ROLE, member, child)
        self.resources = [right]
        self.register_outputs({"member": right.member})

    def _own_identity(self, args: RegistryReaderArgs) -> pulumi.Output[str]:
        project = once(args["project"], *args["cluster"])
        number = gcp.organizations.get_project_output(
            project_id=project, opts=pulumi.InvokeOutputOptions(parent=self)
        ).number
        return workload_principal(number, args["project"], args["namespace"], args["account"])

    def _account_with_key(
        self, name: str, args: RegistryReaderArgs
    ) -> tuple[pulumi.Output[str], pulumi.Output[Mapping[str, str]]]:
        site = Site(
            parent=self,
            name=f"{name}-registry",
            base_name=f"{args['base_name']}-{_PURPOSE}",
            project=args["project"],
            region=args["region"],
            zone=args["zone"],
            labels={},
        )
        account = gcp.serviceaccount.Account(
            f"{site.name}-account",
            project=site.api("iam"),
            account_id=site.account_id(),
            display_name=f"Reads the models of {args['base_name']}",
            opts=site.named(),
        )
        key = gcp.serviceaccount.Key(
            f"{site.name}-key",
            service_account_id=account.name,
            opts=site.child(),
        )
        return account.member, pulumi.Output.secret(key.private_key.apply(_as_file))


def _as_file(private_key: str) -> Mapping[str, str]:
    """Return the Secret's data of a key, which Google hands out as Base64 of a file."""
    return {REGISTRY_KEY_FILE: base64.b64decode(private_key).decode()}
