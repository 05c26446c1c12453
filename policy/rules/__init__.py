"""The rules, each a plain function over resources."""

from __future__ import annotations

from policy.rule import AnyRule
from policy.rules import (
    buckets,
    deletion,
    grants,
    identities,
    images,
    labels,
    listeners,
    open_ports,
    spending,
    spot,
    told,
)

RULES: tuple[AnyRule, ...] = (
    *open_ports.RULES,
    *listeners.RULES,
    *spending.RULES,
    *labels.RULES,
    *images.RULES,
    *buckets.RULES,
    *grants.RULES,
    *identities.RULES,
    *deletion.RULES,
    *spot.RULES,
    *told.RULES,
)
