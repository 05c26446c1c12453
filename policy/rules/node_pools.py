"""Which pools of nodes serve models."""

from __future__ import annotations

from policy.resources import Resource, at, pairs

POOL_LABEL = "llm-endpoint/pool"
"""On the nodes that serve models, and on no others."""


def serves(pool: Resource) -> bool:
    """Whether models are served on the nodes of `pool`. Raises `NotKnownError`."""
    return POOL_LABEL in pairs(pool.props, "nodeConfig", "labels")


def has_default_pool(cluster: Resource) -> bool:
    """Whether `cluster` keeps the nodes that Google makes with it. Raises `NotKnownError`."""
    return cluster.type.startswith("gcp:container/") and not (
        at(cluster.props, "removeDefaultNodePool") is True
        or at(cluster.props, "enableAutopilot") is True
    )
