"""The settings of a deployed machine, which hold no secret: machine.json, read and checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, cast

from machine.errors import Permanent

_T = TypeVar("_T")


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
class Engine:
    """A program that serves models: the hashed lock it is installed from, and its own source."""

    requirements: str
    source: Source | None


@dataclass(frozen=True)
class Probe:
    """`path` answers `loading_status` while the model loads, and 200 afterwards."""

    path: str
    loading_status: int


@dataclass(frozen=True)
class Server:
    """One engine process on loopback, and the model that it serves.

    `pull` is the engine's own command that fetches the model, with `{venv}` for its virtual
    environment; None leaves it to our downloader. `context_tokens_total` is over all slots; where
    it, `slots` or `kv_type` is None, memory is not reckoned before loading.
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
    """All settings. `ca_secret` and `domain` may be None, `cache_disk` on a machine without one."""

    keys_secret: str
    ca_secret: str | None
    tls: Literal["own_ca", "acme"]
    domain: str | None
    packages: tuple[str, ...]
    cache_disk: str | None
    caddy: CaddyProgram
    engines: dict[str, Engine]
    servers: tuple[Server, ...]
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
            return _config(_Table(content, ""))
        except _WrongError as error:
            raise Permanent(
                f"{path}: {error}\nnext: render the stack anew with the same version of this "
                "project as the machine has"
            ) from None


class _WrongError(ValueError):
    """A setting that is missing or of another kind than it has to be."""


class _Table:
    """A JSON object whose entries are asked for by kind."""

    def __init__(self, content: object, place: str) -> None:
        self._place = place
        if not isinstance(content, dict):
            raise _WrongError(f"{place or 'it'} has to be an object, and is {_kind(content)}")
        self._content = cast("dict[str, object]", content)

    def keys(self) -> list[str]:
        """The names of the entries."""
        return list(self._content)

    def text(self, key: str) -> str:
        """The text at `key`."""
        return self._typed(key, str, "a text")

    def number(self, key: str) -> int:
        """The whole number at `key`."""
        if isinstance(self._content.get(key), bool):
            raise self._wrong(key, "a whole number")
        return self._typed(key, int, "a whole number")

    def texts(self, key: str) -> tuple[str, ...]:
        """The list of texts at `key`."""
        entries = cast("list[object]", self._typed(key, list, "a list of texts"))
        if not all(isinstance(entry, str) for entry in entries):
            raise self._wrong(key, "a list of texts")
        return tuple(map(str, entries))

    def table(self, key: str) -> _Table:
        """The object at `key`."""
        return _Table(self._content.get(key), self._named(key))

    def tables(self, key: str) -> list[_Table]:
        """The list of objects at `key`."""
        entries = cast("list[object]", self._typed(key, list, "a list of objects"))
        return [
            _Table(entry, f"{self._named(key)}[{index}]") for index, entry in enumerate(entries)
        ]

    def maybe(self, read: Callable[[str], _T], key: str) -> _T | None:
        """What `read` gives for `key`; None where it is null. It has to be there."""
        if key in self._content and self._content[key] is None:
            return None
        return read(key)

    def refuse(self, key: str, values: str) -> _WrongError:
        """Return the error of a value at `key` that is none of `values`."""
        return _WrongError(
            f"{self._named(key)} is {self._content.get(key)!r}, and has to be {values}"
        )

    def _typed(self, key: str, kind: type[_T], words: str) -> _T:
        value = self._content.get(key)
        if not isinstance(value, kind):
            raise self._wrong(key, words)
        return value

    def _wrong(self, key: str, words: str) -> _WrongError:
        if key not in self._content:
            return _WrongError(f"{self._named(key)} is missing: {words}")
        return _WrongError(
            f"{self._named(key)} has to be {words}, and is {_kind(self._content[key])}"
        )

    def _named(self, key: str) -> str:
        return f"{self._place}.{key}" if self._place else key


def _kind(value: object) -> str:
    if value is None:
        return "missing"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return repr(value)


def _config(top: _Table) -> Config:
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
        cache_disk=top.maybe(top.text, "cache_disk"),
        caddy=CaddyProgram(caddy.text("version"), caddy.text("url"), caddy.text("sha512")),
        engines={name: _engine(engines.table(name)) for name in engines.keys()},  # noqa: SIM118
        servers=tuple(_server(each) for each in top.tables("servers")),
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


def _engine(table: _Table) -> Engine:
    source = table.maybe(table.table, "source")
    return Engine(
        requirements=table.text("requirements"),
        source=source
        and Source(source.text("url"), source.text("commit"), source.text("subdirectory")),
    )


def _server(table: _Table) -> Server:
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
    )


def _watchdog(table: _Table) -> Watchdog:
    stop = table.table("stop")
    match stop.text("kind"):
        case "power_off":
            return Watchdog(table.maybe(table.number, "idle_minutes"), PowerOff())
        case "resize_group":
            group = ResizeGroup(stop.text("group"))
            return Watchdog(table.maybe(table.number, "idle_minutes"), group)
        case _:
            raise stop.refuse("kind", "power_off or resize_group")
