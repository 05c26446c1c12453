"""What the plans of all programs in a cloud share: names, and how much is let in."""

from __future__ import annotations

import hashlib
import re

from components.rendering.machine.plan import GatewayLimits

_NAME_PREFIX = "llm-endpoint-"
_LONGEST_NAME = 40
"""Of a base name: Google's names have 63 characters at most, and parts are added to this one. GKE
takes 40 for a cluster's own."""
_LEAST_ACTIVE_REQUESTS = 16
_WAITING_FOR_A_SLOT = 4


def gateway_limits(slots: int) -> GatewayLimits:
    """Return what a gateway lets through to servers that answer `slots` requests at once."""
    return GatewayLimits(active_requests=max(_LEAST_ACTIVE_REQUESTS, _WAITING_FOR_A_SLOT * slots))


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
