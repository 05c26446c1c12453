"""What to verify and how: the endpoint's address, the key, the bounds."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from components.launch import Capability
from components.models.registry import RegistryError, RegistryModel, parse_registry_model

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network


class UsageError(ValueError):
    """The command line can't be followed. The message names the fix and holds no secret."""


@dataclass(frozen=True)
class Endpoint:
    """The origin of an OpenAI-compatible endpoint, such as `https://llm.example.com:8443`.

    `host` is bare: an IPv6 address has no brackets.
    """

    url: str
    host: str

    @property
    def is_https(self) -> bool:
        """Whether the way there is encrypted."""
        return self.url.startswith("https://")

    @property
    def is_loopback(self) -> bool:
        """Whether the host names this machine's loopback interface."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        return self.address is not None and self.address.is_loopback

    @property
    def address(self) -> Address | None:
        """The address that the host is; None where it is a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None


@dataclass(frozen=True)
class Options:
    """One verification.

    `model` None takes the first that the endpoint lists. `probe_path` None asks `/health` and,
    where there is none, `/v1/models`. `wait_seconds` bounds the wait for a ready server,
    `check_seconds` each later check. `process` is a record that `scripts.serve` wrote of the
    server's process, `log` its log. `claims` holds only what the engine claims.
    `minimum_tokens_per_second` holds for the slowest of `concurrency` streams. `via` names where to
    connect to instead of the endpoint's host. `classic` are models that are no language models.

    Of a machine elsewhere: `address` is where a domain has to point, `boot` names the console that
    its boot can be read from, `key_seconds` is how long the right key may still be refused once it
    is ready, `allowed_cidrs` who may connect (`address_pages` tell who calls), `stack` the stack
    that the next steps name.
    """

    endpoint: Endpoint
    key: str | None = field(default=None, repr=False)
    model: str | None = None
    embedding_model: str | None = None
    claims: frozenset[Capability] = frozenset()
    probe_path: str | None = None
    probe_loading_status: int = 503
    concurrency: int = 3
    wait_seconds: float = 600.0
    check_seconds: float = 120.0
    ca_file: Path | None = None
    minimum_tokens_per_second: float | None = None
    engine: str | None = None
    engine_package: str | None = None
    process: Path | None = None
    log: Path | None = None
    stand_in: bool = False
    address: Address | None = None
    boot: str | None = None
    key_seconds: float = 0.0
    allowed_cidrs: tuple[Network, ...] = ()
    address_pages: tuple[str, ...] = ()
    stack: str | None = None
    via: str | None = None
    classic: tuple[RegistryModel, ...] = ()


def parse_endpoint(url: str) -> Endpoint:
    """Return the endpoint that `url` names: an origin, with `/v1` after it or not.

    Raises `UsageError`.
    """
    wanted = "give the endpoint's origin, such as https://llm.example.com or http://127.0.0.1:8080"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError(f"that is not a URL; {wanted}") from None
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"a URL with a user or a password in it is not taken; {wanted}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"the URL must begin with http:// or https:// and a host; {wanted}")
    if parts.path.rstrip("/") not in ("", "/v1") or parts.query or parts.fragment:
        raise UsageError(f"the URL has more than an origin and /v1; {wanted}")
    host = parts.hostname
    if not re.fullmatch(r"[A-Za-z0-9._:%-]+", host):
        raise UsageError(f"the URL's host {host!r} is not a host name or an address; {wanted}")
    authority = f"[{host}]" if ":" in host else host
    suffix = "" if port is None else f":{port}"
    return Endpoint(url=f"{parts.scheme}://{authority}{suffix}", host=host)


def key_from_environment(name: str, environment: Mapping[str, str]) -> str:
    """Return the key in the environment variable `name`. Raises `UsageError`.

    `name` is repeated only where it looks like a variable's: a key given by mistake is not.
    """
    shown = name if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", name) else "given by --key-env"
    key = environment.get(name, "")
    if not key.strip():
        raise UsageError(
            f"the environment variable {shown} is not set, or empty: --key-env takes the name of "
            "a variable that holds the API key, never the key"
        )
    return _usable(key, f"in the environment variable {shown}")


def key_from_file(path: Path) -> str:
    """Return the first line of the file `path`, which is the key. Raises `UsageError`."""
    try:
        with path.open(encoding="utf-8") as file:
            key = file.readline(65536)
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "not text"
        raise UsageError(f"the key file can't be read: {what}; see --key-file") from None
    if not key.strip():
        raise UsageError("the key file's first line is empty; it must hold the API key")
    return _usable(key, "in the key file")


def _usable(key: str, where: str) -> str:
    key = key.strip()
    if not re.fullmatch(r"[!-~]+", key):
        raise UsageError(
            f"the API key {where} has characters that no HTTP header takes; a key is made of "
            "ASCII letters, digits and signs, without spaces"
        )
    return key


def parse_claims(text: str) -> frozenset[Capability]:
    """Return the capabilities in a comma-separated list. Raises `UsageError`."""
    known = {capability.value: capability for capability in Capability}
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"--claims knows no {', '.join(map(repr, unknown))}; it takes {', '.join(known)}"
        )
    return frozenset(known[name] for name in names)


def parse_address(text: str) -> Address:
    """Return the IP address in `text`. Raises `UsageError`."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise UsageError("--address takes an IP address, such as 203.0.113.7") from None


def parse_cidrs(text: str) -> tuple[Network, ...]:
    """Return the networks in a comma-separated list. Raises `UsageError`."""
    try:
        return tuple(
            ipaddress.ip_network(cidr.strip(), strict=False)
            for cidr in text.split(",")
            if cidr.strip()
        )
    except ValueError:
        raise UsageError(
            "--allowed-cidrs takes networks by commas, such as 203.0.113.0/24,198.51.100.7/32"
        ) from None


def parse_classic(text: str) -> tuple[RegistryModel, ...]:
    """Return the models in a comma-separated list. Raises `UsageError`."""
    try:
        return tuple(parse_registry_model(one.strip()) for one in text.split(",") if one.strip())
    except RegistryError as error:
        raise UsageError(f"--classic: {error}") from None


def certificate_from_environment(name: str, environment: Mapping[str, str]) -> str:
    """Return the PEM text in the environment variable `name`. Raises `UsageError`."""
    text = environment.get(name, "")
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise UsageError(
            f"the environment variable {name} holds no certificate in PEM form: --ca-env takes the "
            "name of a variable that does"
        )
    return text
