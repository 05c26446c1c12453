"""The settings of a deployed machine, which hold no secret: machine.json, read and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from machine.errors import Permanent
from machine.table import Table, WrongError


@dataclass(frozen=True)
class CaddyProgram:
    """Which Caddy. `version` is as it names itself, `v2.11.9`.

    Without a `url` it is built from its Go module; with one, that archive is downloaded and has to
    have `sha512` (128 hex digits).
    """

    version: str
    url: str
    sha512: str


@dataclass(frozen=True)
class Source:
    """A folder of a Git repository at one commit."""

    url: str
    commit: str
    subdirectory: str


@dataclass(frozen=True)
class Environment:
    """An engine's program in a virtual environment: its hashed lock, and its own source."""

    requirements: str
    source: Source | None


@dataclass(frozen=True)
class PulledImage:
    """A container image of a registry: `reference` has its digest."""

    reference: str

    @property
    def name(self) -> str:
        """What Docker on this machine calls it."""
        return self.reference


@dataclass(frozen=True)
class BuiltImage:
    """A container image that is built here and called `name`.

    The context of the build is the subdirectory of `source`, `dockerfile` a path in it, `stage` the
    stage to build, `arguments` its build arguments.
    """

    name: str
    source: Source
    dockerfile: str
    stage: str
    arguments: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Container:
    """An engine's program in a container image. `cuda` is such as 12.8, None where not known.

    `lists_devices` is a command line in the image that prints the devices its engine computes on;
    empty where there is none.
    """

    image: PulledImage | BuiltImage
    cuda: str | None
    lists_devices: tuple[str, ...]


Engine = Environment | Container


@dataclass(frozen=True)
class MachineGpus:
    """The GPUs that the machine has to have: `model` for messages, `compute_capability` CUDA's."""

    model: str
    count: int
    compute_capability: str


@dataclass(frozen=True)
class Probe:
    """`path` answers `loading_status` while the model loads, and 200 afterwards."""

    path: str
    loading_status: int


@dataclass(frozen=True)
class Server:
    """One engine process or container on loopback, and the model that it serves.

    `pull` is the engine's own command that fetches the model, with `{venv}` for its virtual
    environment; None leaves it to our downloader, which fetches a whole repository where `snapshot`
    says so. `context_tokens_total` is over all slots; where it, `slots` or `kv_type` is None,
    memory is not reckoned before loading. On a machine with GPUs it is theirs that is reckoned
    with, for `gpu_layers` of the model's layers on the first `gpus` of them; None is all.
    """

    name: str
    model: str
    engine: str
    port: int
    pull: tuple[str, ...] | None
    probe: Probe
    api_path: str
    context_tokens_total: int | None
    slots: int | None
    kv_type: str | None
    gpu_layers: int | None
    gpus: int | None
    snapshot: bool


@dataclass(frozen=True)
class Gateway:
    """What the key checker listens on, and what it lets through."""

    port: int
    active_requests: int
    body_bytes: int
    request_seconds: int


@dataclass(frozen=True)
class PowerOff:
    """The machine stops by powering itself off."""


@dataclass(frozen=True)
class ResizeGroup:
    """The machine stops by setting its managed instance group to no machine."""

    group: str


@dataclass(frozen=True)
class Watchdog:
    """When an idle machine stops, and how; `idle_minutes` None never stops it."""

    idle_minutes: int | None
    stop: PowerOff | ResizeGroup


@dataclass(frozen=True)
class Config:
    """All settings.

    `ca_secret` and `domain` may be None, `cache_disk` and `gpus` on a machine without them.
    `optional_packages` are installed where the distribution has them.
    """

    keys_secret: str
    ca_secret: str | None
    tls: Literal["own_ca", "acme"]
    domain: str | None
    packages: tuple[str, ...]
    optional_packages: tuple[str, ...]
    cache_disk: str | None
    caddy: CaddyProgram
    engines: dict[str, Engine]
    servers: tuple[Server, ...]
    gpus: MachineGpus | None
    gateway: Gateway
    watchdog: Watchdog

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read the settings at `path`; raises `Permanent` with the key that is wrong."""
        try:
            content: object = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise Permanent(
                f"{path} can't be read: {error.strerror}\n"
                "next: run up again, which places the machine anew"
            ) from None
        except ValueError as error:
            raise Permanent(f"{path} is not JSON: {error}") from None
        try:
            return _config(Table(content, ""))
        except WrongError as error:
            raise Permanent(
                f"{path}: {error}\nnext: render the stack anew with the same version of this "
                "project as the machine has"
            ) from None


def _config(top: Table) -> Config:
    tls = top.text("tls")
    if tls not in {"own_ca", "acme"}:
        raise top.refuse("tls", "own_ca or acme")
    caddy, gateway, engines = top.table("caddy"), top.table("gateway"), top.table("engines")
    config = Config(
        keys_secret=top.text("keys_secret"),
        ca_secret=top.maybe(top.text, "ca_secret"),
        tls=cast("Literal['own_ca', 'acme']", tls),
        domain=top.maybe(top.text, "domain"),
        packages=top.texts("packages"),
        optional_packages=top.texts("optional_packages"),
        cache_disk=top.maybe(top.text, "cache_disk"),
        caddy=CaddyProgram(caddy.text("version"), caddy.text("url"), caddy.text("sha512")),
        engines={name: _engine(engines.table(name)) for name in engines.keys()},  # noqa: SIM118
        servers=tuple(_server(each) for each in top.tables("servers")),
        gpus=_gpus(top.maybe(top.table, "gpus")),
        gateway=Gateway(
            port=gateway.number("port"),
            active_requests=gateway.number("active_requests"),
            body_bytes=gateway.number("body_bytes"),
            request_seconds=gateway.number("request_seconds"),
        ),
        watchdog=_watchdog(top.table("watchdog")),
    )
    for table, server in zip(top.tables("servers"), config.servers, strict=True):
        if server.engine not in config.engines:
            raise table.refuse("engine", f"one of engines: {', '.join(config.engines)}")
    if config.caddy.url and not config.caddy.sha512:
        raise caddy.refuse("sha512", "the sha512 of what lies at caddy.url")
    return config


def _engine(table: Table) -> Engine:
    match table.text("kind"):
        case "environment":
            source = table.maybe(table.table, "source")
            return Environment(table.text("requirements"), source and _source(source))
        case "container":
            image, cuda = table.table("image"), table.maybe(table.text, "cuda")
            return Container(_image(image), cuda, table.texts("lists_devices"))
        case _:
            raise table.refuse("kind", "environment or container")


def _image(table: Table) -> PulledImage | BuiltImage:
    match table.text("kind"):
        case "pulled":
            return PulledImage(table.text("reference"))
        case "built":
            arguments = table.table("arguments")
            return BuiltImage(
                name=table.text("name"),
                source=_source(table.table("source")),
                dockerfile=table.text("dockerfile"),
                stage=table.text("stage"),
                arguments=tuple((key, arguments.text(key)) for key in arguments.keys()),  # noqa: SIM118
            )
        case _:
            raise table.refuse("kind", "pulled or built")


def _source(table: Table) -> Source:
    return Source(table.text("url"), table.text("commit"), table.text("subdirectory"))


def _gpus(table: Table | None) -> MachineGpus | None:
    if table is None:
        return None
    return MachineGpus(table.text("model"), table.number("count"), table.text("compute_capability"))


def _server(table: Table) -> Server:
    probe = table.table("probe")
    return Server(
        name=table.text("name"),
        model=table.text("model"),
        engine=table.text("engine"),
        port=table.number("port"),
        pull=table.maybe(table.texts, "pull"),
        probe=Probe(probe.text("path"), probe.number("loading_status")),
        api_path=table.text("api_path"),
        context_tokens_total=table.maybe(table.number, "context_tokens_total"),
        slots=table.maybe(table.number, "slots"),
        kv_type=table.maybe(table.text, "kv_type"),
        gpu_layers=table.maybe(table.number, "gpu_layers"),
        gpus=table.maybe(table.number, "gpus"),
        snapshot=table.flag("snapshot"),
    )


def _watchdog(table: Table) -> Watchdog:
    stop = table.table("stop")
    match stop.text("kind"):
        case "power_off":
            return Watchdog(table.maybe(table.number, "idle_minutes"), PowerOff())
        case "resize_group":
            group = ResizeGroup(stop.text("group"))
            return Watchdog(table.maybe(table.number, "idle_minutes"), group)
        case _:
            raise stop.refuse("kind", "power_off or resize_group")
