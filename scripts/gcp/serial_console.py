"""The serial console of a Google Cloud VM, and whether the VM runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from scripts.gcp import credentials, rest
from scripts.verify.console import ConsoleError, Machine, Piece
from scripts.verify.shape import Json, dig, dig_text

PORT = 1
_STOPPED = ("TERMINATED", "STOPPED", "SUSPENDED")
_REPLACED_BY_GROUP = "created-by"
"""The metadata key by which a managed instance group marks its machines: it restarts them."""


@dataclass(frozen=True)
class Instance:
    """One VM, by its names."""

    project: str
    zone: str
    name: str

    @property
    def path(self) -> str:
        """Its path in the compute API."""
        return f"projects/{self.project}/zones/{self.zone}/instances/{self.name}"


class SerialConsole:
    """A `scripts.verify.console.Console`. The newest MiB is kept by Google, from the VM's start."""

    def __init__(self, instance: Instance, environment: Mapping[str, str] | None = None) -> None:
        self._instance = instance
        self._environment = os.environ if environment is None else environment
        self._api: rest.GoogleApi | None = None
        self._next = 0
        self._identity: str | None = None
        self._afresh = False

    @property
    def command(self) -> str:
        """The shell command that shows all of it."""
        at = self._instance
        return (
            f"gcloud compute instances get-serial-port-output {at.name} "
            f"--zone {at.zone} --project {at.project}"
        )

    def machine(self) -> Machine:
        """Return whether the VM runs; raises `ConsoleError`."""
        found = self._ask(self._instance.path)
        identity = dig_text(found, "id")
        if self._identity not in (None, identity):
            # Another VM under the same name: its console begins anew.
            self._next, self._afresh = 0, True
        self._identity = identity
        status = dig_text(found, "status")
        return Machine(
            name=self._instance.name,
            status=status or "in an unknown state",
            is_stopped=status in _STOPPED and not _is_of_group(found),
            started=_moment(dig_text(found, "lastStartTimestamp")),
        )

    def read(self) -> Piece:
        """Return what came since; raises `ConsoleError`.

        `start` in the answer is later than was asked for where older text is gone, and `next` is
        earlier where the console has begun anew.
        """
        found = self._ask(
            f"{self._instance.path}/serialPort", port=str(PORT), start=str(self._next)
        )
        following = _count(dig(found, "next"))
        if following is not None and following < self._next:
            self._next, self._afresh = 0, True
            return self.read()
        if following is not None:
            self._next = following
        afresh, self._afresh = self._afresh, False
        return Piece(dig_text(found, "contents"), afresh)

    def _ask(self, path: str, **query: str) -> Json:
        try:
            if self._api is None:
                found = credentials.find(self._environment)
                # Polled anyway: what fails is asked again at the next look.
                self._api = rest.from_environment(found, self._environment, attempts=1)
            return self._api.get(rest.COMPUTE, path, **query)
        except (credentials.CredentialsError, ValueError) as error:
            raise ConsoleError(str(error), passing=False) from None
        except rest.ApiError as error:
            # A VM that is being replaced is not there for a while.
            passing = error.passing or error.status == 404
            step = (
                "; it takes compute.instances.get and compute.instances.getSerialPortOutput "
                f"(roles/compute.viewer) on {self._instance.project}"
                if error.status == 403
                else ""
            )
            raise ConsoleError(f"{error}{step}", passing=passing) from None


def _is_of_group(instance: Json) -> bool:
    items = dig(instance, "metadata", "items")
    return any(
        dig_text(item, "key") == _REPLACED_BY_GROUP
        and "/instanceGroupManagers/" in dig_text(item, "value")
        for item in (items if isinstance(items, list) else [])
    )


def _count(value: Json) -> int | None:
    """Return a 64-bit number, which JSON carries as text."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() else None


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
