"""The keys of `model-registry`, the bucket that models are served from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from components.models.registry import (
    RegistryError,
    RegistryModel,
    RegistryUrl,
    parse_registry_model,
    parse_registry_url,
)
from components.settings import network
from components.settings.base import Check, Problem, Settings
from components.settings.gcp import ProjectId
from components.settings.place import BucketName, Region, region_warning
from components.settings.registry import RegistryText, credential_problems
from components.settings.secrets import HiddenText, SecretText
from components.settings.values import words


def _uploads(value: tuple[str, ...]) -> tuple[str, ...]:
    models: list[RegistryModel] = []
    for entry in value:
        model, equals, folder = entry.partition("=")
        if not equals or not folder or not folder.isprintable():
            raise ValueError(
                f"{entry!r} names no model and folder: write NAME@VERSION=FOLDER, as in "
                "resnet50@1=models/resnet50"
            )
        try:
            models.append(parse_registry_model(model))
        except RegistryError as error:
            raise ValueError(str(error)) from None
    twice = sorted({str(model) for model in models if models.count(model) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands there twice")
    return value


class ModelRegistrySettings(Settings):
    """The keys of `model-registry`, the bucket that models are served from."""

    project: ProjectId | None = Field(
        default=None,
        alias="gcp:project",
        description="The project's id, for a bucket of Google's.",
        examples=["PROJECT_ID"],
    )
    region: Region | None = Field(
        default=None,
        alias="gcp:region",
        description="The region of a bucket of Google's: the one in which models are served.",
        examples=["europe-west4"],
    )
    bucket_name: BucketName | None = Field(
        default=None,
        description="Name of a bucket of Google's, which nobody else in the world may have. Unset: "
        "of the project's id and the stack's name.",
    )
    registry: RegistryText | None = Field(
        default=None,
        description="Storage that speaks S3: `s3://BUCKET`, with `?endpoint=https://HOST&region="
        "REGION` where it is not AWS's. Unset: a bucket of Google's is made.",
    )
    registry_key_id: HiddenText | None = Field(
        default=None,
        description="Id of an access key to storage that speaks S3. Unset: whatever AWS's own "
        "tools find on the deployer's machine.",
    )
    registry_secret_key: SecretText | None = Field(
        default=None,
        description="The access key itself, set with `--secret`.",
    )
    uploads: Annotated[tuple[str, ...], BeforeValidator(words), AfterValidator(_uploads)] = Field(
        default=(),
        description="What is uploaded: `NAME@VERSION=FOLDER`, each the folder of one model. A "
        "version that is there never changes; one that is taken out of this list stays.",
    )
    keep_data: bool = Field(
        default=False,
        description="Refuse to delete the bucket, with the stack too. Otherwise it goes with all "
        "that is in it.",
    )
    labels: Annotated[
        dict[str, str], BeforeValidator(network.label_pairs), AfterValidator(network.labels)
    ] = Field(
        default={},
        description="Labels of a bucket of Google's, as in `team=research cost-centre=42`.",
    )

    def url(self) -> RegistryUrl | None:
        """Return where the registry lies, if that is not a bucket of Google's."""
        return None if self.registry is None else parse_registry_url(self.registry)

    def wanted(self) -> dict[RegistryModel, str]:
        """Return the folder of each version that is uploaded, as it was written."""
        pairs = (entry.partition("=") for entry in self.uploads)
        return {parse_registry_model(model): folder for model, _, folder in pairs}

    def checks(self) -> Iterator[Check]:
        """Return what the keys must fit together for."""
        yield from super().checks()
        for reads, find in _CHECKS:
            yield Check(frozenset(reads), partial(find, self))

    def warnings(self) -> tuple[str, ...]:
        """Return what nobody here can judge, and what is said in the clear."""
        found = [] if self.region is None else [*region_warning(self.region)]
        url = self.url()
        if url is not None and (url.endpoint or "").startswith("http://"):
            found.append(
                f"the models go to {url.endpoint} in the clear: anybody on the way can read them"
            )
        return (*super().warnings(), *found)


def _bucket_has_a_place(settings: ModelRegistrySettings) -> Iterator[Problem]:
    given = {"gcp:project": settings.project, "gcp:region": settings.region}
    examples = {"gcp:project": "PROJECT_ID", "gcp:region": "europe-west4"}
    for key, value in given.items():
        if settings.registry is None and value is None:
            yield Problem(
                key,
                "a bucket of Google's is made there, unless registry names other storage",
                f"scripts/pulumi config set {key} {examples[key]}",
            )


def _googles_bucket_is_made(settings: ModelRegistrySettings) -> Iterator[Problem]:
    url = settings.url()
    if url is not None and url.scheme == "gs":
        yield Problem(
            "registry",
            "a bucket of Google's is made by this program: leave this unset, and name the bucket "
            "by bucket_name",
            "scripts/pulumi config rm registry",
        )


def _only_googles_bucket_is_named(settings: ModelRegistrySettings) -> Iterator[Problem]:
    given: dict[str, object] = {"bucket_name": settings.bucket_name, "labels": settings.labels}
    for key, value in given.items():
        if settings.registry is not None and value:
            said = "it is for a bucket of Google's, and registry names other storage"
            yield Problem(key, said, f"scripts/pulumi config rm {key}")


def _credentials_fit(settings: ModelRegistrySettings) -> Iterator[Problem]:
    yield from credential_problems(
        settings.url(), settings.registry_key_id, settings.registry_secret_key, needed=False
    )


_Find = Callable[[ModelRegistrySettings], Iterator[Problem]]
_CHECKS: tuple[tuple[tuple[str, ...], _Find], ...] = (
    (("registry", "gcp:project", "gcp:region"), _bucket_has_a_place),
    (("registry",), _googles_bucket_is_made),
    (("registry", "bucket_name", "labels"), _only_googles_bucket_is_named),
    (("registry", "registry_key_id", "registry_secret_key"), _credentials_fit),
)
