"""What a namespace of a cluster is to hold: the input of the renderer, pure as the settings are.

Nothing in a plan is a secret, and nothing is known only after the deployment: what is (keys, the
authority, an address) goes into the objects that `late` names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from components.launch import Launch
from components.models.registry import RegistryModel, RegistryUrl
from components.rendering.machine.plan import GatewayLimits

POOL_LABEL = "llm-endpoint/pool"
"""The label of the nodes that serve models; its value is the plan's `base_name`."""
SPOT_LABEL = "cloud.google.com/gke-spot"
"""The label that GKE gives its Spot nodes, `true`; we taint them by the same name."""


class Expose(StrEnum):
    """How clients reach the gateway."""

    INTERNAL = "internal"
    """From inside the cluster alone, as a ClusterIP Service."""
    LOAD_BALANCER = "load_balancer"
    """By a network load balancer of its own, for `allowed_cidrs`."""
    GATEWAY = "gateway"
    """By a GKE Gateway with a domain and a certificate that Google manages."""


class ModelForm(StrEnum):
    """In which form a model lies on a volume, and so what is pulled of it."""

    GGUF = "gguf"
    """One file, or the parts of one."""
    OPENVINO = "openvino"
    """A folder: OpenVINO's intermediate representation, tokenizer and configuration."""
    CLASSIC = "classic"
    """Models of a registry that are no language models: a folder a model, in it one a version."""


class Deploy(StrEnum):
    """What makes the pods of the servers, by the key `deploy`."""

    DEPLOYMENT = "deployment"
    """A StatefulSet of ours."""
    OPERATOR = "operator"
    """OpenVINO's operator, by a `ModelServer`."""
    KSERVE = "kserve"
    """KServe, by an `InferenceService`."""


class RegistryAccess(StrEnum):
    """By what a pod may read its registry."""

    WORKLOAD_IDENTITY = "workload_identity"
    """By its own identity in Google's cloud: there is no key."""
    KEY = "key"
    """By the key of a service account of Google's, in `names.REGISTRY_SECRET`."""
    SECRET = "secret"  # noqa: S105 - a name
    """By an access key of storage that speaks S3, in `names.REGISTRY_SECRET`."""


@dataclass(frozen=True)
class Registry:
    """The registry that servers have models from."""

    url: RegistryUrl
    access: RegistryAccess


@dataclass(frozen=True)
class Taint:
    """A taint of the pool's nodes, whose effect is NoSchedule."""

    key: str
    value: str


@dataclass(frozen=True)
class PodResources:
    """What a server's container asks of its node, and may take: whole processors, and bytes."""

    cpus: int
    memory_bytes: int


@dataclass(frozen=True)
class PodServer:
    """One model server, a StatefulSet of pods with a volume each.

    `name` is `chat`, `embeddings`, or `models` for classic ones. `model` is a model reference,
    `form` what it is pulled as. For `ModelForm.CLASSIC` `models` are what is served, and `model` is
    their names in a row.
    `image` is a reference with its digest, `program` what is run in it. `disk_gb` is the size of
    each volume. `replicas` is how many pods serve; with `most_replicas` the cluster chooses between
    the two by their load. `graph` says what the launch's flags do, where a server is started
    without them, and `Slot.MODEL` stands in it for the model's path.
    """

    name: str
    launch: Launch
    model: str
    form: ModelForm
    image: str
    program: tuple[str, ...]
    resources: PodResources
    disk_gb: int
    replicas: int = 1
    most_replicas: int | None = None
    models: tuple[RegistryModel, ...] = ()
    graph: str | None = None


@dataclass(frozen=True)
class SupportImages:
    """The images of what is not an engine, each with its digest: Python, and Caddy."""

    python: str
    caddy: str


@dataclass(frozen=True)
class PodPlan:
    """One namespace that serves models behind one gateway.

    `base_name` begins the names of the stack's resources in the cloud. The servers' pods go to
    nodes that have `POOL_LABEL` and, with `spot`, `SPOT_LABEL`, and tolerate `taint`, where they
    have one.
    `storage_class` is the class of their volumes. `allowed_cidrs` is empty for
    `Expose.INTERNAL`. `drain_seconds` is how long a pod that has to go may finish its answers.
    `idle_minutes` None never parks the servers. With `parked` nothing runs, and volumes stay.
    `operator_subscription` has OpenVINO's operator be installed, by the Operator Lifecycle Manager.
    """

    base_name: str
    namespace: str
    servers: tuple[PodServer, ...]
    expose: Expose
    limits: GatewayLimits
    images: SupportImages
    taint: Taint | None
    storage_class: str
    spot: bool = True
    domain: str | None = None
    allowed_cidrs: tuple[str, ...] = ()
    idle_minutes: int | None = None
    drain_seconds: int = 15
    keep_data: bool = False
    parked: bool = False
    registry: Registry | None = None
    deploy: Deploy = Deploy.DEPLOYMENT
    operator_subscription: bool = False

    @property
    def host(self) -> str | None:
        """The name that clients ask for; None is an address that is known once it is reserved."""
        if self.expose is Expose.INTERNAL:
            return self.domain or f"gateway.{self.namespace}.svc.cluster.local"
        return self.domain
