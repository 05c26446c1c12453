"""What Pulumi's event log says of a machine that could not be made.

The log is the engine's own (`--event-log`, which takes `PULUMI_DEBUG_COMMANDS`): one JSON object a
line. What failed is a diagnostic event of severity `error` with the resource's URN.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from scripts.bootstrap.exported import GROUP, GROUP_MEMBER, INSTANCE

VARIABLES: Mapping[str, str] = {"PULUMI_DEBUG_COMMANDS": "true"}
"""What the CLI needs in its environment to take `--event-log`."""

_MACHINE = (INSTANCE, GROUP_MEMBER, GROUP)
# The provider passes Compute Engine's words on and most often not its code
# (cloud.google.com/compute/docs/resource-error; hashicorp/terraform-provider-google,
# google/services/compute/compute_operation.go).
_STOCK_OUT = re.compile(
    r"does not have enough resources available to fulfill the request"
    r"|state:STOCKOUT"
    r"|ZONE_RESOURCE_POOL_EXHAUSTED"
    r"|is currently unavailable in the \S+ zone"
)
_QUOTA = re.compile(r"Quota '?([A-Z0-9_]+)'? exceeded")


@dataclass(frozen=True)
class Failure:
    """One resource that failed: its URN, and the provider's words with single spaces."""

    urn: str
    said: str

    @property
    def of_a_machine(self) -> bool:
        """Whether the resource is a machine, or what holds one."""
        return kind_of(self.urn) in _MACHINE

    @property
    def stock_out(self) -> bool:
        """Whether the zone has no room for the machine; a quota that is used up is another thing.

        No quota is raised by going to another zone of its region.
        """
        return self.of_a_machine and _STOCK_OUT.search(self.said) is not None and self.quota is None

    @property
    def quota(self) -> str | None:
        """The quota that is used up, such as `NVIDIA_L4_GPUS`; None where that is not the cause."""
        found = _QUOTA.search(self.said)
        return found[1] if found else None


def kind_of(urn: str) -> str:
    """Return the type in a URN, without those of its parents."""
    parts = urn.split("::")
    return parts[2].rpartition("$")[2] if len(parts) > 3 else ""


def failures(log: Path) -> tuple[Failure, ...]:
    """Return what failed by the event log in the file `log`; none where there is no log.

    A line that a killed pulumi has not finished is left out.
    """
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    found = (_failure(line) for line in lines if '"diagnosticEvent"' in line)
    return tuple(dict.fromkeys(failure for failure in found if failure is not None))


def no_room(found: Sequence[Failure]) -> bool:
    """Whether a zone's lack of room is all that failed: then another zone may do."""
    return bool(found) and all(failure.stock_out for failure in found)


def quotas(found: Sequence[Failure]) -> tuple[str, ...]:
    """Return the quotas that kept a machine from being made."""
    named = (failure.quota for failure in found if failure.of_a_machine)
    return tuple(dict.fromkeys(name for name in named if name is not None))


def _failure(line: str) -> Failure | None:
    try:
        event: object = json.loads(line)
    except ValueError:
        return None
    said = _object(_object(event).get("diagnosticEvent"))
    urn, message = said.get("urn"), said.get("message")
    if said.get("severity") != "error" or not isinstance(urn, str) or not urn:
        return None
    return Failure(urn, " ".join(str(message).split()))


def _object(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}
