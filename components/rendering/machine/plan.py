"""What a machine is to become: the input of the renderer, a pure function of the settings.

Nothing in a plan is a secret, and nothing is known only after the deployment: addresses and the
cloud project are read from the metadata server when the machine boots.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from components.launch import Accelerator, Launch

GATEWAY_PORT = 8080
"""TCP port on loopback of the gateway's key checker, which Caddy passes requests to."""
FIRST_SERVER_PORT = 8081
"""TCP port on loopback of the first model server; the others follow."""
CACHE_DISK = "llm-endpoint-cache"
"""The device name of the cache disk: `/dev/disk/by-id/google-llm-endpoint-cache` on GCP."""


class Tls(StrEnum):
    """Who signs the endpoint's certificate."""

    OWN_CA = "own_ca"
    ACME = "acme"


@dataclass(frozen=True)
class GitSource:
    """A folder of a Git repository at one commit, which the commit's own hash pins."""

    url: str
    commit: str
    subdirectory: str


@dataclass(frozen=True)
class Installation:
    """How an engine's program gets onto a machine: a virtual environment of its own.

    `requirements` names the hashed lock `requirements/NAME.txt` that is installed. `packages` are
    Debian and Ubuntu packages beyond those of every machine. `program` begins the command line;
    `{venv}` in it stands for the virtual environment's folder, and `{lib}` for the folder of this
    project's own modules. `source` is installed into the environment without dependencies.
    `modules` are this project's Python modules that the program needs, as dotted names.
    """

    requirements: str
    program: tuple[str, ...]
    packages: tuple[str, ...] = ()
    source: GitSource | None = None
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class PulledImage:
    """A container image of a registry, as `docker pull` takes it, with its digest.

    `reference` is such as `ghcr.io/ggml-org/llama.cpp:server-cuda-b11459@sha256:…`: the digest
    counts, and the tag is for people.
    """

    reference: str


@dataclass(frozen=True)
class BuiltImage:
    """A container image that the machine builds.

    `source` is a Git repository at one commit, its `subdirectory` the context of the build ("" for
    the whole). `dockerfile` is a path in that context, `stage` the stage to build, `arguments` are
    its build arguments. `name` is the image's name on the machine, such as
    `llm-endpoint/llama-cpp:f498f864fbc0`.
    """

    name: str
    source: GitSource
    dockerfile: str
    stage: str
    arguments: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Container:
    """How an engine's program gets onto a machine as a container image.

    `name` tells this image from others of the plan, such as `llama-cpp`. `program` is run in it in
    the place of its entrypoint. `cuda` is the CUDA version that the image is of, such as `12.8`;
    None where it is not known or has none. `shared_memory_mb` is the size of `/dev/shm`.
    `lists_devices` is a command line in the image that prints the devices its engine computes on,
    as llama.cpp's `--list-devices` does; empty where there is none.
    """

    name: str
    image: PulledImage | BuiltImage
    program: tuple[str, ...]
    cuda: str | None = None
    shared_memory_mb: int = 64
    lists_devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelMemory:
    """What a server's memory is reckoned from on the machine, before it loads the model.

    `context_tokens_total` is over all slots; `kv_type` is as `llama-server` spells it. With a
    machine that has GPUs it is their memory that is reckoned with, as far as `gpu_layers` says:
    None is all layers of the model, a number that many. The model lies on the first `gpus` of
    them; None is on all.
    """

    context_tokens_total: int
    slots: int
    kv_type: str
    gpu_layers: int | None = None
    gpus: int | None = None


@dataclass(frozen=True)
class ModelServer:
    """One engine process or container that serves one model.

    `name` is `chat` or `embeddings`. `model` is a model reference. `installation` is how its
    program gets there, which also decides its form: a process of systemd's, or a container. `pull`
    is the engine's own command line that fetches the model (`{venv}` as in `Installation.program`);
    None leaves it to this project's downloader, and `Slot.MODEL` is then the path of the file.
    `memory` None leaves it to the engine whether the model fits. `snapshot` says that the model is
    a hub repository of safetensors, all of whose files are needed, and `Slot.MODEL` the path of
    their folder.
    """

    name: str
    launch: Launch
    model: str
    installation: Installation | Container
    pull: tuple[str, ...] | None = None
    memory: ModelMemory | None = None
    snapshot: bool = False


@dataclass(frozen=True)
class MachineGpus:
    """The GPUs that the machine has to have before it serves.

    `model` is Compute's accelerator type, such as `nvidia-l4`, or what people call it: it stands in
    messages alone. `compute_capability` is CUDA's, such as `8.9`.
    """

    model: str
    count: int
    compute_capability: str


@dataclass(frozen=True)
class GatewayLimits:
    """What the gateway lets through.

    `active_requests` are answered or wait for a slot at the same time; one more gets 429.
    `request_seconds` bounds one request from its first byte to its last.
    """

    active_requests: int
    body_bytes: int = 20 * 1024 * 1024
    request_seconds: int = 3600


@dataclass(frozen=True)
class PowerOff:
    """The machine stops by powering itself off, and nobody starts it again but `up`."""


@dataclass(frozen=True)
class ResizeGroup:
    """The machine stops by setting its managed instance group (by its name) to no machine.

    Powering off would not do: the group would start it again.
    """

    group: str


@dataclass(frozen=True)
class MachinePlan:
    """One machine that serves models behind one gateway.

    `base_name` begins the names of its cloud resources: its keys lie in the secret
    `BASE-keys`, the authority of `Tls.OWN_CA` in `BASE-ca`. `gpus` None is a machine that computes
    on its processor. `cache_disk` is a device name, or
    None where the boot disk holds the models. `idle_minutes` None never stops the machine.
    """

    base_name: str
    servers: tuple[ModelServer, ...]
    tls: Tls
    limits: GatewayLimits
    gpus: MachineGpus | None = None
    domain: str | None = None
    cache_disk: str | None = CACHE_DISK
    idle_minutes: int | None = None
    stop: PowerOff | ResizeGroup = field(default_factory=PowerOff)

    @property
    def accelerator(self) -> Accelerator:
        """What its engines compute on."""
        return Accelerator.CPU if self.gpus is None else Accelerator.CUDA

    @property
    def keys_secret(self) -> str:
        """Name of the secret that holds the API keys: a JSON object, key by its name."""
        return f"{self.base_name}-keys"

    @property
    def ca_secret(self) -> str | None:
        """Name of the secret with our authority's `certificate` and `key`, both PEM, as JSON."""
        return f"{self.base_name}-ca" if self.tls is Tls.OWN_CA else None
