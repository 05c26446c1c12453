"""The keys of `gke-colab`: all of `gke-ovms`, and those of a Colab runtime on the same nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from components.models.reference import shown
from components.models.registry import RegistryError, RegistryUrl, parse_registry_url
from components.settings.base import Check
from components.settings.containers import IMAGE
from components.settings.gke import NamespaceName, StorageClassName
from components.settings.gke_colab_checks import CHECKS, unsure_of_runtime
from components.settings.gke_ovms import GkeOvmsSettings
from components.settings.secrets import HiddenText, SecretText
from components.settings.served import NEVER
from components.sizing.colab_fit import RuntimeWanted, neighbour, runtime_room, runtime_shortfall
from components.sizing.pod_tuning import PodsWanted

NO_BACKUP = "none"
"""The value of `runtime_backup` with which the disks are all there is."""
_SHORTEST_IDLE = 5


def _backup(value: str) -> str:
    if value == NO_BACKUP:
        return value
    try:
        return str(parse_registry_url(value))
    except RegistryError as error:
        # An endpoint may come with a password by mistake.
        said = str(error).replace(repr(value), repr(shown(value)))
        said = said.replace("names no registry", "names no bucket")
        raise ValueError(f"{said}, or {NO_BACKUP}") from None


def _image(value: str) -> str:
    if IMAGE.fullmatch(value) is None:
        raise ValueError(
            "it takes an image with its tag, and best its digest, as in "
            "us-docker.pkg.dev/colab-images/public/cpu-runtime:TAG@sha256:HEX (64 hex digits)"
        )
    return value


class GkeColabSettings(GkeOvmsSettings):
    """The keys of `gke-colab`, a Colab runtime beside an endpoint on the same Spot nodes."""

    runtime_replicas: int = Field(
        default=1,
        ge=0,
        le=1,
        description="`1` runs the Colab runtime, `0` parks it and keeps its disks. The endpoint is "
        "parked by `parked`, each by itself.",
    )
    runtime_cpus: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Processors of the runtime's pod. Unset: 20, or what a node has left.",
    )
    runtime_memory_gb: int | None = Field(
        default=None,
        ge=1,
        le=24_000,
        description="GB of memory of the runtime's pod. Unset: 64, or what a node has left.",
    )
    runtime_namespace: NamespaceName = Field(
        default="colab-llm-cpu",
        description="The namespace that is made in the cluster for the runtime alone.",
    )
    runtime_data_gb: int = Field(
        default=100,
        ge=10,
        le=10_000,
        description="GB of the disk for notebooks and their files, `/content`. It grows in place, "
        "and can't shrink.",
    )
    runtime_libraries_gb: int = Field(
        default=30,
        ge=10,
        le=10_000,
        description="GB of the disk for what `pip install` adds. It grows in place, and can't "
        "shrink.",
    )
    runtime_storage_class: StorageClassName | None = Field(
        default=None,
        description="The storage class of both disks. Unset: `premium-rwo`, or that of the models' "
        "disks on machines that take Hyperdisk alone. Another one takes effect while "
        "`runtime_replicas` is 0 and there is a backup: the disks are made anew, and their files "
        "come back from it.",
    )
    runtime_image: Annotated[str, AfterValidator(_image)] | None = Field(
        default=None,
        description="The runtime's image: `repository:tag@sha256:…`. Unset: Google's own for "
        "processors, as it is pinned. `scripts/up` looks up a digest that is not there.",
    )
    runtime_backup: Annotated[str, AfterValidator(_backup)] | None = Field(
        default=None,
        description="Where the runtime's files are kept besides its disks: `gs://BUCKET` or "
        "`s3://BUCKET?endpoint=https://HOST&region=REGION`, a folder too, of a bucket that is "
        "there, for this stack alone; `none`: nowhere. Unset: in a private bucket that is made, "
        "which goes, with all backups, once another value is set, unless `keep_data` is.",
    )
    runtime_backup_minutes: int = Field(
        default=15,
        ge=5,
        le=24 * 60,
        description="Minutes between two backups; a runtime that has to go makes one besides.",
    )
    runtime_backup_key_id: HiddenText | None = Field(
        default=None,
        description="Id of the access key to a bucket in storage that speaks S3.",
    )
    runtime_backup_secret_key: SecretText | None = Field(
        default=None,
        description="That access key itself, set with `--secret`.",
    )
    runtime_idle_minutes: int = Field(
        default=NEVER,
        ge=NEVER,
        le=7 * 24 * 60,
        description="Minutes without a running cell or an open notebook after which the runtime is "
        "parked; the next `up` brings it back. `0`, never, or from 5.",
    )
    runtime_token_generation: int = Field(
        default=1,
        ge=1,
        le=1_000_000_000,
        description="Another number makes another token, and starts the runtime anew.",
    )

    @field_validator("runtime_idle_minutes")
    @classmethod
    def _idle_long_enough(cls, value: int) -> int:
        if NEVER < value < _SHORTEST_IDLE:
            raise ValueError(f"it is {NEVER} for never, or at least {_SHORTEST_IDLE}")
        return value

    @property
    def runs_runtime(self) -> bool:
        """Whether the runtime is there, rather than parked."""
        return bool(self.runtime_replicas)

    @property
    def parks_nodes(self) -> bool:
        """Whether no node is to be there: neither for the endpoint nor for the runtime."""
        return self.parked and not self.runs_runtime

    def backup_url(self) -> RegistryUrl | None:
        """Return the bucket that is named for backups; None for one that is made, or for none."""
        if self.runtime_backup in {None, NO_BACKUP}:
            return None
        return parse_registry_url(str(self.runtime_backup))

    def wanted_runtime(self) -> RuntimeWanted:
        """Return what the keys say about the runtime's size."""
        return RuntimeWanted(self.runtime_cpus, self.runtime_memory_gb)

    def wanted_pods(self) -> PodsWanted:
        """Return what the keys say about the pods that serve models, and the runtime beside them.

        While one of the two is parked, or the runtime finds no node by itself, it is not beside.
        """
        wanted, machine, runtime = super().wanted_pods(), self.machine(), self.wanted_runtime()
        if self.parked or not self.runs_runtime:
            return wanted
        if runtime_shortfall(machine, runtime, self.node_machine_type) is not None:
            return wanted
        return replace(wanted, neighbours=(neighbour(runtime_room(machine, runtime)),))

    def checks(self) -> Iterator[Check]:
        """Return what the keys must fit together for."""
        yield from super().checks()
        for reads, find in CHECKS:
            yield Check(frozenset(reads), partial(find, self))

    def warnings(self) -> tuple[str, ...]:
        """Return what has no effect or has to be there already, and what can't be checked."""
        return (*super().warnings(), *unsure_of_runtime(self))
