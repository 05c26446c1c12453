"""What computes and what keeps: machines, node pools, pods, disks, and the images of all."""

from __future__ import annotations

import re
from collections.abc import Iterable

from emulator.mocks.recording import Registration
from scripts.inventory.values import at, each, pairs, text, truth

_IN_A_MACHINE = re.compile(r'"image": \{[^{}]*"reference": "([^"]+)"')
"""The images in the settings that a machine's user-data has (`machine.json`)."""
_POD_SPECS = (
    ("spec", "template", "spec"),
    ("spec", "jobTemplate", "spec", "template", "spec"),
    ("spec", "containers"),
)


def machines(one: Registration) -> Iterable[str]:
    """Yield what `one` computes or keeps with: type, Spot, limits, sizes."""
    inputs = one.without_secrets()
    kind = one.token.rpartition(":")[2]
    told: list[str] = []
    if kind in ("Instance", "InstanceTemplate"):
        told = [*_machine(inputs)]
    elif kind == "NodePool":
        told = [*_pool(inputs)]
    elif kind == "Disk":
        told = [f"{text(inputs, 'size')} GB {text(inputs, 'type')}"]
    elif kind == "PersistentVolumeClaim":
        told = [_claim(inputs)]
    elif kind in ("Deployment", "StatefulSet", "CronJob", "Job"):
        told = [*_pods(inputs)]
    if told:
        yield f"{kind} {one.name}: {', '.join(told)}"


def _machine(machine: object) -> Iterable[str]:
    yield text(machine, "machineType")
    for gpu in each(machine, "guestAccelerators"):
        yield f"{text(gpu, 'count')} x {text(gpu, 'type')}"
    limits = at(machine, "scheduling")
    yield "Spot" if text(limits, "provisioningModel") == "SPOT" else "standard"
    if action := text(limits, "instanceTerminationAction"):
        yield f"is ended by {action}"
    if seconds := text(limits, "maxRunDuration", "seconds"):
        yield f"after {seconds} s at most"
    boot = at(machine, "bootDisk", "initializeParams")
    boots = [boot] if boot is not None else []
    boots += [disk for disk in each(machine, "disks") if truth(disk, "boot")]
    for disk in boots:
        size = text(disk, "size") or text(disk, "diskSizeGb")
        yield f"boot disk of {size} GB {text(disk, 'type') or text(disk, 'diskType')}"


def _pool(pool: object) -> Iterable[str]:
    node = at(pool, "nodeConfig")
    yield text(node, "machineType")
    yield "Spot" if truth(node, "spot") else "standard"
    if count := text(pool, "nodeCount"):
        yield f"{count} nodes"
    if most := text(pool, "autoscaling", "totalMaxNodeCount"):
        yield f"{text(pool, 'autoscaling', 'totalMinNodeCount')} to {most} nodes"
    if limit := text(node, "maxRunDuration"):
        yield f"after {limit} at most"


def _claim(claim: object) -> str:
    size = text(claim, "spec", "resources", "requests", "storage")
    return f"{size} of {text(claim, 'spec', 'storageClassName')}"


def _pods(workload: object) -> Iterable[str]:
    if replicas := text(workload, "spec", "replicas"):
        yield f"{replicas} pods"
    for container in _containers(workload):
        needs = pairs(container, "resources", "requests")
        asked = " ".join(f"{name} {text(need)}" for name, need in sorted(needs.items()))
        yield f"{text(container, 'name')} ({asked or 'no requests'})"
    for claim in each(workload, "spec", "volumeClaimTemplates"):
        yield f"disk {text(claim, 'metadata', 'name')} of {_claim(claim)}"


def _containers(workload: object) -> Iterable[object]:
    for path in _POD_SPECS:
        spec = at(workload, *path)
        yield from each(spec, "initContainers")
        yield from each(spec, "containers")


def images(one: Registration) -> Iterable[str]:
    """Yield what `one` runs of others' making; of an image how it is pinned, not to what."""
    inputs = one.without_secrets()
    boot = text(inputs, "bootDisk", "initializeParams", "image")
    boots = [boot, *(text(disk, "sourceImage") for disk in each(inputs, "disks"))]
    yield from (f"{one.name}: boots {image}" for image in boots if image)
    told = [text(container, "image") for container in _containers(inputs)]
    told += _IN_A_MACHINE.findall(text(inputs, "metadata", "user-data"))
    yield from (f"{one.name}: {_how(image)}" for image in dict.fromkeys(told) if image)


def _how(image: str) -> str:
    name, by_digest, _ = image.partition("@")
    repository, colon, _ = name.rpartition(":")
    plain = repository if colon and "/" not in name[len(repository) :] else name
    return f"{plain}, {'by digest' if by_digest else 'by tag'}"
