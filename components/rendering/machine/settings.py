"""machine.json: what the machine's own programs have to know, as `machine.config` reads it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence

from components.rendering.machine.places import CHECKOUT
from components.rendering.machine.plan import (
    FIRST_SERVER_PORT,
    GATEWAY_PORT,
    Installation,
    MachinePlan,
    ModelServer,
    PowerOff,
    ResizeGroup,
)

BASE_PACKAGES = ("ca-certificates", "e2fsprogs", "python3-venv", "util-linux")
"""Debian and Ubuntu packages that every machine needs; most have them."""

API_PATH = "/v1"
"""Under which path the engines answer OpenAI's requests."""


def machine_json(plan: MachinePlan) -> str:
    """Return the settings of a machine, which hold no secret."""
    return json.dumps(_content(plan), indent=2) + "\n"


def packages(plan: MachinePlan) -> list[str]:
    """Return the Debian and Ubuntu packages of a machine, sorted."""
    names = set(BASE_PACKAGES)
    for installation in installations(plan):
        names |= {*installation.packages, *(("git",) if installation.source else ())}
    return sorted(names)


def installations(plan: MachinePlan) -> list[Installation]:
    """Return the installations of `plan`, each once, by the name of its lock.

    Raises ValueError where two of them share that name.
    """
    by_name: dict[str, Installation] = {}
    for server in plan.servers:
        installation = server.installation
        if by_name.setdefault(installation.requirements, installation) != installation:
            raise ValueError(
                f"two servers install {installation.requirements!r} in different ways into one "
                "virtual environment: give one of them a lock of its own"
            )
    return [by_name[name] for name in sorted(by_name)]


def server_ports(servers: Sequence[ModelServer]) -> dict[str, int]:
    """Return each server's TCP port on loopback by its name."""
    return {server.name: FIRST_SERVER_PORT + index for index, server in enumerate(servers)}


def _content(plan: MachinePlan) -> dict[str, object]:
    return {
        "keys_secret": plan.keys_secret,
        "ca_secret": plan.ca_secret,
        "tls": plan.tls.value,
        "domain": plan.domain,
        "packages": packages(plan),
        "cache_disk": plan.cache_disk,
        "caddy": _caddy(),
        "engines": {each.requirements: _engine(each) for each in installations(plan)},
        "servers": [
            _server(server, server_ports(plan.servers)[server.name]) for server in plan.servers
        ],
        "gateway": {
            "port": GATEWAY_PORT,
            "active_requests": plan.limits.active_requests,
            "body_bytes": plan.limits.body_bytes,
            "request_seconds": plan.limits.request_seconds,
        },
        "watchdog": {"idle_minutes": plan.idle_minutes, "stop": _stop(plan.stop)},
    }


def _caddy() -> dict[str, str]:
    """Return which Caddy: the published one only where its sha512 is pinned, else built there."""
    pin = tomllib.loads((CHECKOUT / "pins.toml").read_text(encoding="utf-8"))["caddy"]
    return {
        "version": pin["version"],
        "url": pin["url"] if pin["sha512"] else "",
        "sha512": pin["sha512"],
    }


def _engine(installation: Installation) -> dict[str, object]:
    source = installation.source
    return {
        "requirements": installation.requirements,
        "source": source
        and {"url": source.url, "commit": source.commit, "subdirectory": source.subdirectory},
    }


def _server(server: ModelServer, port: int) -> dict[str, object]:
    memory = server.memory
    return {
        "name": server.name,
        "model": server.model,
        "engine": server.installation.requirements,
        "port": port,
        "pull": server.pull and list(server.pull),
        "probe": {
            "path": server.launch.probe.path,
            "loading_status": server.launch.probe.loading_status,
        },
        "api_path": API_PATH,
        "context_tokens_total": memory and memory.context_tokens_total,
        "slots": memory and memory.slots,
        "kv_type": memory and memory.kv_type,
    }


def _stop(stop: PowerOff | ResizeGroup) -> dict[str, str]:
    match stop:
        case PowerOff():
            return {"kind": "power_off"}
        case ResizeGroup(group):
            return {"kind": "resize_group", "group": group}
