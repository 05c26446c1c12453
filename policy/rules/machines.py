"""What a machine of ours is told at its boot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from policy.resources import Resource, each, text

SETTINGS = "/etc/llm-endpoint/machine.json"
_KINDS = (
    *("Instance", "InstanceTemplate", "RegionInstanceTemplate"),
    *("InstanceFromTemplate", "InstanceFromMachineImage"),
)


def is_machine(resource: Resource) -> bool:
    """Whether it is a machine of Compute Engine, or what machines are made of."""
    return resource.type.startswith("gcp:compute/") and resource.kind in _KINDS


def machine_settings(resource: Resource) -> Mapping[str, object] | None:
    """Return what the user-data of a machine says in `SETTINGS`, None where it places none.

    Raises `NotKnownError`.
    """
    written = text(resource.props, "metadata", "user-data")
    if SETTINGS not in written:
        return None
    # Only where a machine is judged.
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content: object = yaml.load(written, Loader=loader)  # noqa: S506
    for file in each(content, "write_files"):
        if text(file, "path") == SETTINGS:
            settings: object = json.loads(text(file, "content"))
            return cast("Mapping[str, object]", settings)
    return None
