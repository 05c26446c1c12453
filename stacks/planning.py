"""What the plans of all programs in a cloud share: names, and how much is let in."""

from __future__ import annotations

import hashlib
import re

from components.rendering.machine.plan import GatewayLimits
from components.settings import ModelRegistrySettings

_NAME_PREFIX = "llm-endpoint-"
_LONGEST_NAME = 40
"""Of a base name: Google's names have 63 characters at most, and parts are added to this one. GKE
takes 40 for a cluster's own."""
_LONGEST_BUCKET_NAME = 63
"""Cloud Storage's own limit (cloud.google.com/storage/docs/buckets, "Bucket names")."""
_LEAST_ACTIVE_REQUESTS = 16
_WAITING_FOR_A_SLOT = 4


def gateway_limits(slots: int) -> GatewayLimits:
    """Return what a gateway lets through to servers that answer `slots` requests at once."""
    return GatewayLimits(active_requests=max(_LEAST_ACTIVE_REQUESTS, _WAITING_FOR_A_SLOT * slots))


def bucket_name(project: str, stack: str, purpose: str) -> str:
    """Return the name of a bucket of `stack` in `project`: nobody else in the world has it.

    A project's id is its own; one with a domain has dots and a colon, which a name has not.
    """
    name = f"{project}-{base_name(stack)}-{purpose}"
    plain = re.sub(r"[^a-z0-9-]", "-", name)
    if plain == name and len(name) <= _LONGEST_BUCKET_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    end = f"-{digest}-{purpose}"
    return plain[: _LONGEST_BUCKET_NAME - len(end)].rstrip("-") + end


def google_bucket(settings: ModelRegistrySettings, stack: str) -> str:
    """Return the name of the bucket of Google's that a registry's `stack` has."""
    return settings.bucket_name or bucket_name(str(settings.project), stack, "models")


def base_name(stack: str) -> str:
    """Return the beginning of the names of the stack's cloud resources, as RFC 1035 has them.

    Two stacks get two names: one that can't stand as it is gets a piece of its digest.
    """
    plain = re.sub(r"-+", "-", re.sub(r"[^a-z0-9]", "-", stack.lower())).strip("-")
    if plain == stack and len(_NAME_PREFIX + plain) <= _LONGEST_NAME:
        return _NAME_PREFIX + plain
    digest = hashlib.sha256(stack.encode()).hexdigest()[:6]
    room = _LONGEST_NAME - len(_NAME_PREFIX) - len(digest) - 1
    kept = plain[:room].rstrip("-")
    return f"{_NAME_PREFIX}{kept}-{digest}" if kept else f"{_NAME_PREFIX}{digest}"
