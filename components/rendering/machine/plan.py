"""What a machine is to become: the input of the renderer, a pure function of the settings.

Nothing in a plan is a secret, and nothing is known only after the deployment: addresses and the
cloud project are read from the metadata server when the machine boots.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from components.launch import Launch

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
class ModelMemory:
    """What a server's memory is reckoned from on the machine, before it loads the model.

    `context_tokens_total` is over all slots; `kv_type` is as `llama-server` spells it.
    """

    context_tokens_total: int
    slots: int
    kv_type: str


@dataclass(frozen=True)
class ModelServer:
    """One engine process that serves one model.

    `name` is `chat` or `embeddings`. `model` is a model reference. `pull` is the engine's own
    command line that fetches the model (`{venv}` as in `Installation.program`); None leaves it to
    this project's downloader, and `Slot.MODEL` is then the path of the file. `memory` None leaves
    it to the engine whether the model fits.
    """

    name: str
    launch: Launch
    model: str
    installation: Installation
    pull: tuple[str, ...] | None = None
    memory: ModelMemory | None = None


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
    `BASE-keys`, the authority of `Tls.OWN_CA` in `BASE-ca`. `cache_disk` is a device name, or
    None where the boot disk holds the models. `idle_minutes` None never stops the machine.
    """

    base_name: str
    servers: tuple[ModelServer, ...]
    tls: Tls
    limits: GatewayLimits
    domain: str | None = None
    cache_disk: str | None = CACHE_DISK
    idle_minutes: int | None = None
    stop: PowerOff | ResizeGroup = field(default_factory=PowerOff)

    @property
    def keys_secret(self) -> str:
        """Name of the secret that holds the API keys: a JSON object, key by its name."""
        return f"{self.base_name}-keys"

    @property
    def ca_secret(self) -> str | None:
        """Name of the secret with our authority's `certificate` and `key`, both PEM, as JSON."""
        return f"{self.base_name}-ca" if self.tls is Tls.OWN_CA else None
