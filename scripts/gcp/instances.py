"""What is known of a VM before this deployment touches it."""

from __future__ import annotations

from collections.abc import Mapping

from scripts.gcp import credentials, rest
from scripts.verify.bounds import Deadline, bounded
from scripts.verify.outcome import TimedOut
from scripts.verify.shape import dig_text

LOOK_SECONDS = 15.0
"""What the one look may take, finding the credentials included."""


def last_stop(project: str, zone: str, name: str, environment: Mapping[str, str]) -> str:
    """Return when the VM last stopped, as Compute writes it; "" for never, or where none is there.

    It changes when the VM stops and not when it is started: the trigger of a new verification. Also
    "" where Google can't be asked, since a preview has to do without the network.
    """
    deadline = Deadline(LOOK_SECONDS)
    try:
        return bounded(deadline, lambda: _ask(project, zone, name, environment))
    except (credentials.CredentialsError, rest.ApiError, ValueError, TimedOut):
        return ""


def _ask(project: str, zone: str, name: str, environment: Mapping[str, str]) -> str:
    api = rest.from_environment(credentials.find(environment), environment, attempts=1)
    path = f"projects/{project}/zones/{zone}/instances/{name}"
    return dig_text(api.get(rest.COMPUTE, path), "lastStopTimestamp")
