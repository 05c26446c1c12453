"""machine.json: what the machine's own programs have to know, as `machine.config` reads it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence

from components.rendering.machine.engines import (
    containers,
    installations,
    optional_packages,
    packages,
)
from components.rendering.machine.places import CHECKOUT
from components.rendering.machine.plan import (
    FIRST_SERVER_PORT,
    GATEWAY_PORT,
    BuiltImage,
    Container,
    GitSource,
    Installation,
    MachineGpus,
    MachinePlan,
    ModelServer,
    PowerOff,
    PulledImage,
    ResizeGroup,
)


def machine_json(plan: MachinePlan) -> str:
    """Return the settings of a machine, which hold no secret."""
    return json.dumps(_content(plan), indent=2) + "\n"


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
        "optional_packages": optional_packages(plan),
        "gpus": plan.gpus and _gpus(plan.gpus),
        "cache_disk": plan.cache_disk,
        "caddy": _caddy(),
        "engines": {
            **{each.requirements: _environment(each) for each in installations(plan)},
            **{each.name: _container(each) for each in containers(plan)},
        },
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


def _gpus(gpus: MachineGpus) -> dict[str, object]:
    return {
        "model": gpus.model,
        "count": gpus.count,
        "compute_capability": gpus.compute_capability,
    }


def _environment(installation: Installation) -> dict[str, object]:
    source = installation.source
    return {
        "kind": "environment",
        "requirements": installation.requirements,
        "source": source and _source(source),
    }


def _container(container: Container) -> dict[str, object]:
    return {
        "kind": "container",
        "image": _image(container.image),
        "cuda": container.cuda,
        "lists_devices": list(container.lists_devices),
    }


def _image(image: PulledImage | BuiltImage) -> dict[str, object]:
    match image:
        case PulledImage():
            return {"kind": "pulled", "reference": image.reference}
        case BuiltImage():
            return {
                "kind": "built",
                "name": image.name,
                "source": _source(image.source),
                "dockerfile": image.dockerfile,
                "stage": image.stage,
                "arguments": dict(image.arguments),
            }


def _source(source: GitSource) -> dict[str, object]:
    return {"url": source.url, "commit": source.commit, "subdirectory": source.subdirectory}


def _server(server: ModelServer, port: int) -> dict[str, object]:
    memory = server.memory
    return {
        "name": server.name,
        "model": server.model,
        "engine": _engine_name(server.installation),
        "port": port,
        "pull": server.pull and list(server.pull),
        "probe": {
            "path": server.launch.probe.path,
            "loading_status": server.launch.probe.loading_status,
        },
        "api_path": server.launch.api_path,
        "context_tokens_total": memory and memory.context_tokens_total,
        "slots": memory and memory.slots,
        "kv_type": memory and memory.kv_type,
        "gpu_layers": memory and memory.gpu_layers,
        "gpus": memory and memory.gpus,
        "snapshot": server.snapshot,
    }


def _engine_name(installation: Installation | Container) -> str:
    match installation:
        case Installation():
            return installation.requirements
        case Container():
            return installation.name


def _stop(stop: PowerOff | ResizeGroup) -> dict[str, str]:
    match stop:
        case PowerOff():
            return {"kind": "power_off"}
        case ResizeGroup(group):
            return {"kind": "resize_group", "group": group}
