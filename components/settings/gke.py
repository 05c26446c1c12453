"""The keys of every program that serves from a cluster of Google Kubernetes Engine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from components.catalogue.gcp import CatalogueError, MachineType, find_machine_type
from components.catalogue.gke import boot_disk_types, default_storage_class
from components.models.reference import UrlFile
from components.settings import network
from components.settings.base import Check
from components.settings.gcp import GcpSettings, Zone
from components.settings.gke_cluster import CHECKS, unseen
from components.settings.served import NEVER
from components.settings.values import words

_NAME = r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?"
_CLUSTER = re.compile(
    rf"(?:projects/(?P<project>[a-z0-9.:-]+)/locations/(?P<location>[a-z0-9-]+)/clusters/)?"
    rf"(?P<name>{_NAME})"
)
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_TAKEN_NAMESPACE = re.compile(r"default|(?:kube|gke|gmp|google)-.*")
_STORAGE_CLASS = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_DISK_TYPE = re.compile(r"[a-z][a-z0-9-]{0,62}")
_NEWEST_DISK = "hyperdisk-balanced"
_MACHINE_TO_TAKE = re.compile(r": take [a-z0-9]+-[a-z0-9-]+(?: or more)?$")


def _cluster(value: str) -> str:
    if _CLUSTER.fullmatch(value) is None:
        raise ValueError(
            "it takes a cluster's name, or projects/PROJECT/locations/LOCATION/clusters/NAME"
        )
    return value


def _of_version_4(value: tuple[str, ...]) -> tuple[str, ...]:
    six = [text for text in value if ":" in text]
    if six:
        raise ValueError(
            f"{', '.join(six)} is of IPv6, and GKE lets ranges of IPv4 alone come to a control "
            "plane's address"
        )
    return value


def _node_type(value: str, instead: str) -> str:
    try:
        find_machine_type(value)
    except CatalogueError as error:
        raise ValueError(_MACHINE_TO_TAKE.sub(f": take {instead}", str(error))) from None
    return value


def _namespace(value: str) -> str:
    if _NAMESPACE.fullmatch(value) is None:
        raise ValueError(
            "that is no namespace: at most 63 lower-case letters, digits and hyphens, with a "
            "letter or digit at each end"
        )
    if _TAKEN_NAMESPACE.fullmatch(value):
        raise ValueError(
            "that one is there already and not for this: it takes a name of its own, such as llm"
        )
    return value


def _storage_class(value: str) -> str:
    if _STORAGE_CLASS.fullmatch(value) is None:
        raise ValueError("that is no storage class's name, such as standard-rwo")
    return value


def _disk_type(value: str) -> str:
    if _DISK_TYPE.fullmatch(value) is None:
        raise ValueError("that is no disk type, such as pd-balanced")
    return value


def _own_ca(value: object) -> object:
    if value == "acme":
        raise ValueError(
            "in a cluster nothing asks Let's Encrypt for certificates, and with expose gateway "
            "Google signs one for the domain: did you mean own_ca?"
        )
    return value


NamespaceName = Annotated[str, AfterValidator(_namespace)]
StorageClassName = Annotated[str, AfterValidator(_storage_class)]


class GkeSettings(GcpSettings):
    """The keys of every program that serves from a cluster of Google Kubernetes Engine."""

    zone: Zone = Field(
        alias="gcp:zone",
        description="The zone of the nodes, of their disks, and of a cluster that is made.",
        examples=["europe-west4-a"],
    )
    cluster: Annotated[str, AfterValidator(_cluster)] | None = Field(
        default=None,
        description="A cluster that is there already, in which only the models' nodes and the "
        "namespace are made: its name, in the project and `gcp:zone`, or "
        "`projects/PROJECT/locations/LOCATION/clusters/NAME`. Unset: one is made.",
    )
    control_plane_cidrs: Annotated[
        tuple[str, ...],
        BeforeValidator(words),
        AfterValidator(partial(network.cidrs, what="the control plane")),
        AfterValidator(_of_version_4),
    ] = Field(
        default=(),
        description="Who may come to the control plane's IP address: ranges as in "
        "`203.0.113.7/32`. Unset: nobody, and who may use the cluster (IAM) comes by its DNS name.",
        examples=["$(curl -s https://checkip.amazonaws.com)/32"],
    )
    release_channel: Literal["rapid", "regular", "stable"] = Field(
        default="regular",
        description="How early GKE's new versions come to a cluster that is made.",
    )
    system_machine_type: Annotated[
        str, AfterValidator(partial(_node_type, instead="e2-standard-2"))
    ] = Field(
        default="e2-standard-2",
        description="The machine type of the one node that is always there, for the gateway and "
        "the cluster's own pods.",
    )
    nat: bool | None = Field(
        default=None,
        description="Whether a Cloud NAT is made, by which the nodes, which have no addresses of "
        "their own, reach the internet. Unset: with the network that is made, not with `network`.",
    )
    node_machine_type: Annotated[
        str, AfterValidator(partial(_node_type, instead="c3-standard-22"))
    ] = Field(
        default="c3-standard-22",
        description="The machine type of the nodes that serve models.",
    )
    node_disk_type: Annotated[str, AfterValidator(_disk_type)] | None = Field(
        default=None,
        description="The type of those nodes' boot disks. Unset: one that the machine takes.",
    )
    node_disk_gb: int = Field(
        default=100,
        ge=30,
        le=2000,
        description="GB of those nodes' boot disks, which hold the system and the engines' images.",
    )
    spot: bool = Field(
        default=True,
        description="Take Spot nodes for the models: much cheaper, and taken away whenever Google "
        "needs them.",
    )
    max_nodes: int = Field(
        default=1,
        ge=1,
        le=100,
        description="The most nodes that serve models. There are as many as the pods need, and "
        "none without pods.",
    )
    max_run_hours: int | None = Field(
        default=None,
        ge=1,
        le=120 * 24,
        description="Hours after which Google itself takes such a node away; its pods then come "
        "back on a new one.",
    )
    namespace: NamespaceName | None = Field(
        default=None,
        description="The namespace that is made in the cluster, for all that serves. Unset: "
        "`llm-endpoint-` and the stack's name.",
    )
    replicas: int = Field(
        default=1,
        ge=1,
        le=100,
        description="Pods that serve the model, each with a disk and a copy of the model; the "
        "fewest, once `max_replicas` is set.",
    )
    max_replicas: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="With it the cluster chooses, between `replicas` and this many pods, by their "
        "load. Unset: always `replicas`.",
    )
    pod_cpus: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Processors of each pod that serves the model. Unset: what a node has left.",
    )
    pod_memory_gb: int | None = Field(
        default=None,
        ge=1,
        le=24_000,
        description="GB of memory of each such pod. Unset: what a node has left.",
    )
    storage_class: StorageClassName | None = Field(
        default=None,
        description="The storage class of the disks that keep models. Unset: `standard-rwo`, or on "
        "machines that take Hyperdisk alone `hyperdisk-balanced`, which has to be in the cluster.",
    )
    expose: Literal["internal", "load_balancer", "gateway"] = Field(
        default="internal",
        description="How clients reach the endpoint: `internal`: from inside the cluster alone; "
        "`load_balancer`: by a network load balancer with an address; `gateway`: by a GKE Gateway "
        "with a domain and a certificate that Google signs.",
    )
    allowed_cidrs: Annotated[
        tuple[str, ...],
        BeforeValidator(words),
        AfterValidator(partial(network.cidrs, what="the endpoint")),
    ] = Field(
        default=(),
        description="Who may come to an endpoint that is exposed: ranges of addresses as in "
        "`203.0.113.7/32`, or the word `world` for everybody. Not with `expose internal`, and "
        "needed otherwise.",
        examples=["$(curl -s https://checkip.amazonaws.com)/32"],
    )
    tls: Annotated[Literal["own_ca"], BeforeValidator(_own_ca)] = Field(
        default="own_ca",
        description="Who signs the certificate: an authority of the stack's own, which it exports. "
        "With `expose gateway` Google signs the one that clients see.",
    )
    domain: Annotated[str, AfterValidator(network.domain)] | None = Field(
        default=None,
        description="The endpoint's DNS name, where it is exposed. Unset: its address, with "
        "`load_balancer`; a `gateway` needs one.",
    )
    idle_minutes: int = Field(
        default=NEVER,
        ge=NEVER,
        le=7 * 24 * 60,
        description="Minutes without a request after which the models' pods, and with them their "
        "nodes, go; the next `up` brings them back. `0`, never, or from 5.",
    )
    cache_gb: int | None = Field(
        default=None,
        ge=10,
        le=10_000,
        description="GB of each pod's disk, which keeps its model and outlives the pod. Unset: 50, "
        "or twice what the models take and 10 more. Another size makes the disks anew; with "
        "`keep_data` those that are there stay as large as they are.",
    )
    keep_data: bool = Field(
        default=False,
        description="Refuse to delete the disks of the models, with the stack too: neither the "
        "namespace goes, nor a cluster that is made.",
    )

    def machine(self) -> MachineType | None:
        """Return the facts of the models' nodes; None where the catalogue does not know them."""
        return find_machine_type(self.node_machine_type)

    def system_machine(self) -> MachineType | None:
        """Return the facts of the system node; None where the catalogue does not know them."""
        return find_machine_type(self.system_machine_type)

    @property
    def owns_cluster(self) -> bool:
        """Whether the cluster is made, rather than there already."""
        return self.cluster is None

    @property
    def takes_a_domain(self) -> bool:
        """Whether clients may ask for the endpoint by a domain."""
        return self.expose != "internal"

    @property
    def takes_a_network(self) -> bool:
        """Whether machines are put into a network that is named: a cluster has one already."""
        return self.owns_cluster

    @property
    def owns_network(self) -> bool:
        """Whether a network is made for the cluster."""
        return self.owns_cluster and self.network is None

    @property
    def wants_nat(self) -> bool:
        """Whether a Cloud NAT is made."""
        return self.owns_network if self.nat is None else self.nat

    @property
    def node_disk(self) -> str:
        """The type of those nodes' boot disks; of an unknown series the one that new ones take."""
        machine = self.machine()
        first = _NEWEST_DISK if machine is None else boot_disk_types(machine)[0]
        return self.node_disk_type or first

    @property
    def volume_class(self) -> str:
        """The storage class of the disks that keep models."""
        return self.storage_class or default_storage_class(self.machine())

    @property
    def parks_nodes(self) -> bool:
        """Whether no node is to be there for any pod of the stack's."""
        return self.parked

    def namespace_of(self, base_name: str) -> str:
        """Return the namespace of a stack whose resources' names begin with `base_name`."""
        return self.namespace or base_name

    def cluster_path(self) -> tuple[str, str, str] | None:
        """Return project, location and name of the cluster that is there; None where it is made."""
        found = _CLUSTER.fullmatch(self.cluster or "")
        if found is None:
            return None
        return (found["project"] or self.project, found["location"] or self.zone, found["name"])

    def checks(self) -> Iterator[Check]:
        """Return what the keys must fit together for."""
        yield from super().checks()
        for reads, find in CHECKS:
            yield Check(frozenset(reads), partial(find, self))

    def warnings(self) -> tuple[str, ...]:
        """Return what has no effect or has to be there already, and what is not known."""
        said = [*super().warnings(), *unseen(self)]
        if any(isinstance(one, UrlFile) and "?" in one.url for one in self.references()):
            said.append(
                "a model's URL has a query, which stands in the pods' description: if it is a "
                "secret, whoever may look at pods in the namespace reads it"
            )
        return tuple(said)
