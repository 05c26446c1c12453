"""The cloud: a folder with a file for each resource, and a program that runs machines.

`LLM_ENDPOINT_EMULATED_CLOUD` names the folder. `resources/` holds what was deployed,
`payloads/SECRET` the newest version of each secret, for whoever plays the secret store, and
`taken/` the ids that deleted resources keep. A VM is run by the program in
`LLM_ENDPOINT_EMULATED_MACHINE`, called with `create`, `start`, `stop`, `delete` or `status` and the
instance as JSON on stdin; `status` prints `RUNNING` or `TERMINATED`. Every address that is reserved
is `LLM_ENDPOINT_EMULATED_ADDRESS`: there is one machine. The file `full-zones` in the folder names
zones, one a line, that have no room for a machine, and `kubernetes.json` the API server that every
cluster has; see `gke.endpoints`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from emulator.plugin.errors import PluginError

from . import gke, storage
from .kind import Fields, Plain, Where, number
from .resources import ADDRESS, DISK, GLOBAL_ADDRESS, INSTANCE, SECRET_VERSION, TYPES

_MACHINE_SECONDS = 300


class CloudError(PluginError):
    """The cloud refuses, or a machine could not be run."""


@dataclass(frozen=True)
class Made:
    """A resource as the cloud has it."""

    identity: str
    inputs: Fields
    added: Fields


@dataclass(frozen=True)
class Cloud:
    """The cloud in `folder`; `machine` is the program that runs machines, in words."""

    folder: Path
    machine: tuple[str, ...]
    address: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Cloud:
        """The cloud that the plugin's environment names. Raises `CloudError`."""
        try:
            folder = Path(environment["LLM_ENDPOINT_EMULATED_CLOUD"])
            address = environment["LLM_ENDPOINT_EMULATED_ADDRESS"]
        except KeyError as missing:
            raise CloudError(
                f"{missing.args[0]} is not set: this plugin pretends to be a cloud, for tests. "
                "To deploy, use the published one: pulumi plugin install resource gcp"
            ) from None
        machine = shlex.split(environment.get("LLM_ENDPOINT_EMULATED_MACHINE", ""))
        return cls(folder, tuple(machine), address)

    def create(self, token: str, inputs: Fields, where: Where) -> Made:
        """Make a resource; of most kinds one of the same id must not be there.

        Raises `CloudError`.
        """
        if token == INSTANCE and inputs.get("desiredStatus", "RUNNING") != "RUNNING":
            # The provider's own refusal (desiredStatusDiff).
            raise CloudError(
                "When creating an instance, desired_status can only accept RUNNING value"
            )
        self._take(token, inputs)
        filled = self._filled(token, inputs, where)
        if token == INSTANCE:
            self._find_room(str(filled["zone"]), str(filled["project"]))
        identity = TYPES[token].id.format_map(filled)
        taken = self._file(token, identity).exists() or self._grave(token, identity).exists()
        if not TYPES[token].may_be_there and taken:
            raise CloudError(f"Error 409: The resource '{identity}' already exists, alreadyExists")
        made = Made(identity, inputs, self._added(token, filled, identity))
        self._write(token, made)
        if token == INSTANCE:
            self._start_new(token, made)
        if token == SECRET_VERSION:
            payload = self._payload(str(filled["secret"]))
            payload.touch(mode=0o600)
            payload.write_text(str(filled["secretData"]), encoding="utf-8")
        return self._seen(token, made)

    def _start_new(self, token: str, made: Made) -> None:
        """Run a new machine; one that can't be run is not there."""
        try:
            self._run("create", made)
        except PluginError:
            self._file(token, made.identity).unlink()
            raise
        self._note_attached(made)

    def _find_room(self, zone: str, project: str) -> None:
        """Raise `CloudError` for a zone that is full, in the words that people see."""
        full = self.folder / "full-zones"
        if full.exists() and zone in full.read_text(encoding="utf-8").split():
            raise CloudError(
                f"Error waiting for instance to create: The zone 'projects/{project}/zones/{zone}' "
                "does not have enough resources available to fulfill the request.  Try a different "
                "zone, or try again later. (ZONE_RESOURCE_POOL_EXHAUSTED)"
            )

    def _note_attached(self, made: Made) -> None:
        """Write down on each disk of a machine that it was attached, as Compute Engine does."""
        attached = made.inputs.get("attachedDisks")
        for entry in attached if isinstance(attached, list) else []:
            source = entry.get("source") if isinstance(entry, dict) else None
            identity = str(source).partition("/compute/v1/")[2]
            disk = self.read(DISK, identity)
            if disk is not None:
                when = datetime.now(UTC).isoformat(timespec="milliseconds")
                added = {**disk.added, "lastAttachTimestamp": when}
                self._write(DISK, Made(disk.identity, disk.inputs, added))

    def read(self, token: str, identity: str) -> Made | None:
        """Return the resource as it is now, or None where it is gone."""
        file = self._file(token, storage.normal(token, identity))
        if not file.exists():
            return None
        return self._seen(token, Made(**json.loads(file.read_text(encoding="utf-8"))))

    def update(self, token: str, identity: str, inputs: Fields, where: Where) -> Made:
        """Change a resource in place. Raises `CloudError`."""
        before = self.read(token, identity)
        if before is None:
            raise CloudError(f"Error 404: The resource '{identity}' was not found, notFound")
        self._take(token, inputs)
        added = before.added
        if token in gke.GKE_TYPES:
            added = self._added(token, self._filled(token, inputs, where), identity)
        made = Made(identity, inputs, added)
        self._write(token, made)
        if token == INSTANCE:
            wanted = str(inputs.get("desiredStatus") or "")
            if wanted and wanted != self._run("status", made):
                if wanted == "RUNNING":
                    self._find_room(str(made.added["zone"]), str(made.added["project"]))
                self._run("start" if wanted == "RUNNING" else "stop", made)
        return self._seen(token, made)

    def delete(self, token: str, identity: str) -> None:
        """Remove a resource; one that is gone is gone."""
        made = self.read(token, identity)
        if made is None:
            return
        if token == gke.CLUSTER:
            self._end_cluster(made)
        if token == storage.BUCKET:
            storage.end_bucket(made.inputs)
        self._refuse_held(token, identity)
        if token == INSTANCE:
            self._run("delete", made)
        self._file(token, identity).unlink()
        if TYPES[token].stays:
            grave = self._grave(token, identity)
            grave.parent.mkdir(exist_ok=True)
            grave.touch()

    def _take(self, token: str, inputs: Fields) -> None:
        refused = gke.refusal(token, inputs)
        if refused is not None:
            raise CloudError(refused)

    def _refuse_held(self, token: str, identity: str) -> None:
        """Raise `CloudError` for what another resource stands on."""
        if not TYPES[token].is_held:
            return
        for holder in self._all():
            if holder.identity != identity and _names(holder.inputs, identity):
                raise CloudError(
                    f"Error 400: The resource '{identity}' is already being used by "
                    f"'{holder.identity}', resourceInUseByAnotherResource"
                )

    def _end_cluster(self, made: Made) -> None:
        """A cluster takes its pools with it, unless it is protected."""
        if gke.is_protected(made.inputs):
            raise CloudError(
                "Cannot destroy cluster because deletion_protection is set to true. Set it to "
                "false to proceed with cluster deletion."
            )
        for pool in self._all():
            if pool.identity.startswith(f"{made.identity}/"):
                self._file(gke.NODE_POOL, pool.identity).unlink(missing_ok=True)

    def _filled(self, token: str, inputs: Fields, where: Where) -> Fields:
        filled: Fields = {"project": where.project, "region": where.region, "zone": where.zone}
        filled["unique"] = str(time.time_ns())
        filled |= {name: value for name, value in inputs.items() if value is not None}
        filled.setdefault("location", "global")
        # What names a cluster or a map may be its name or its id.
        for named in ("cluster", "map"):
            filled[f"{named}_name"] = str(filled.get(named, "")).rpartition("/")[2]
        if token == SECRET_VERSION:
            filled["version"] = str(self._next_version(str(inputs["secret"])))
        return filled | storage.filled(token, inputs)

    def _next_version(self, secret: str) -> int:
        """Count up for good: a version that was destroyed keeps its number."""
        counter = self._payload(secret).with_suffix(".versions")
        counter.parent.mkdir(parents=True, exist_ok=True)
        number = int(counter.read_text(encoding="utf-8")) + 1 if counter.exists() else 1
        counter.write_text(str(number), encoding="utf-8")
        return number

    def _added(self, token: str, filled: Fields, identity: str) -> Fields:
        named: Fields = {
            name: filled[name] for name in ("project", "region", "zone") if name in filled
        }
        added = named | TYPES[token].adds(filled, identity)
        if token == gke.CLUSTER:
            added |= gke.endpoints(self.folder, filled)
        if token in (ADDRESS, GLOBAL_ADDRESS):
            added["address"] = self.address
        if token == DISK:
            added["lastAttachTimestamp"] = ""
            added["diskId"] = number(f"{identity} {time.time_ns()}")
        if token == SECRET_VERSION:
            added |= {"name": identity, "version": filled["version"], "enabled": True}
        return added

    def _seen(self, token: str, made: Made) -> Made:
        if token != INSTANCE:
            return made
        status = self._run("status", made)
        return Made(made.identity, made.inputs, {**made.added, "currentStatus": status})

    def _run(self, action: str, made: Made) -> str:
        if not self.machine:
            return str(made.inputs.get("desiredStatus") or "RUNNING")
        done = subprocess.run(
            [*self.machine, action],
            input=json.dumps({"id": made.identity, **made.inputs, **made.added}),
            capture_output=True,
            text=True,
            timeout=_MACHINE_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise CloudError(f"{action} of {made.identity}: {done.stderr.strip()[-2000:]}")
        return done.stdout.strip()

    def _file(self, token: str, identity: str) -> Path:
        return self.folder / "resources" / f"{_safe(token)}-{number(identity)}.json"

    def _grave(self, token: str, identity: str) -> Path:
        """What is left of a deleted resource whose id stays taken."""
        return self.folder / "taken" / self._file(token, identity).name

    def _payload(self, secret: str) -> Path:
        return self.folder / "payloads" / secret.rsplit("/", maxsplit=1)[-1]

    def _write(self, token: str, made: Made) -> None:
        file = self._file(token, made.identity)
        file.parent.mkdir(parents=True, exist_ok=True)
        # At once: other calls, and tests, read what there is.
        written = file.with_suffix(f".{time.monotonic_ns()}")
        written.touch(mode=0o600)
        written.write_text(json.dumps(vars(made)), encoding="utf-8")
        written.replace(file)

    def _all(self) -> Iterator[Made]:
        """Every resource; one that goes meanwhile is left out."""
        for file in (self.folder / "resources").glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                yield Made(**json.loads(file.read_text(encoding="utf-8")))


def cloud() -> Cloud:
    """The cloud of this process's environment."""
    return Cloud.of(os.environ)


def _names(value: Plain, identity: str) -> bool:
    """Whether VALUE names the resource IDENTITY, by its id or a link, at any depth."""
    match value:
        case str():
            return value.endswith(identity)
        case list():
            return any(_names(item, identity) for item in value)
        case dict():
            return any(_names(item, identity) for item in value.values())
        case _:
            return False


def _safe(token: str) -> str:
    return token.replace(":", "-").replace("/", "-")
