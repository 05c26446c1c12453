"""Order among resources by data: what is made from a value comes after what that waited for."""

from __future__ import annotations

from typing import TypeVar

import pulumi

T = TypeVar("T")


def once(value: pulumi.Input[T], *ready: pulumi.Input[str]) -> pulumi.Output[T]:
    """Return `value`, known once `ready` is there: what uses it comes after, and goes before."""
    return pulumi.Output.all(value, *ready).apply(lambda values: values[0])
