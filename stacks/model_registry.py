"""`model-registry`: a private bucket with checked models, which other stacks serve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

import pulumi

from components.endpoint import Billed
from components.models.registry import RegistryUrl
from components.settings import ConfigurationError, ModelRegistrySettings, Settings
from components.settings.secrets import as_output
from components.targets.model_registry import ModelRegistry, Upload
from components.targets.s3_bucket import S3Bucket
from scripts.model_registry.bucket import RegistryFault
from scripts.model_registry.folder import digest, read_folder
from stacks.interpreter import CHECKOUT, python
from stacks.planning import google_bucket

NAME = "model-registry"
NONCURRENT_DAYS = 30
_NO_MODELS = "the configuration of this stack names folders that can't be uploaded:"
_NO_ENDPOINT: Mapping[str, None] = {"endpoint_url": None, "openai_base_url": None}


class _Bucket(Protocol):
    """What is known of a bucket of either kind."""

    url: pulumi.Output[str]
    identity: pulumi.Output[str]


def deploy(settings: Settings) -> Mapping[str, object]:
    """Register the bucket with what is uploaded to it, and return the stack's outputs."""
    given = _model_registry(settings)
    uploads = uploads_of(given)
    credentials = credentials_of(given)
    bucket = _bucket(given, credentials)
    registry = ModelRegistry(
        NAME,
        {
            "url": bucket.url,
            "identity": bucket.identity,
            "credentials": credentials,
            "uploads": uploads,
            "python": [python()],
        },
    )

    def once_checked(value: object) -> pulumi.Output[object]:
        return registry.receipt.apply(lambda _: value)

    return {
        "state": once_checked("serving"),
        **_NO_ENDPOINT,
        "registry": registry.url,
        "models": registry.receipt.apply(models_in),
        "verification": registry.receipt,
        "billing": once_checked([_billed(given)]),
    }


def _bucket(
    settings: ModelRegistrySettings, credentials: Mapping[str, pulumi.Input[str]]
) -> _Bucket:
    url = settings.url()
    if url is not None:
        return S3Bucket(
            NAME,
            {
                "url": str(url),
                "identity": identity_of(url),
                "credentials": credentials,
                "python": [python()],
                "keep_data": settings.keep_data,
            },
        )
    # Storage that speaks S3 needs nothing of Google's.
    from components.targets.gcp.private_bucket import PrivateBucket

    return PrivateBucket(
        NAME,
        {
            "bucket_name": google_bucket(settings, pulumi.get_stack()),
            "project": str(settings.project),
            "location": str(settings.region),
            "labels": settings.labels,
            "keep_data": settings.keep_data,
            "noncurrent_days": NONCURRENT_DAYS,
        },
    )


def identity_of(url: RegistryUrl) -> str:
    """Return what tells the bucket at `url` from others: where in it models lie does not."""
    return f"{url.endpoint or 'AWS'} {url.bucket}"


def credentials_of(settings: ModelRegistrySettings) -> Mapping[str, pulumi.Input[str]]:
    """Return the environment variables by which the storage's client knows who asks. Secret."""
    given = {
        "AWS_ACCESS_KEY_ID": settings.registry_key_id,
        "AWS_SECRET_ACCESS_KEY": settings.registry_secret_key,
    }
    found = {name: as_output(value) for name, value in given.items() if value is not None}
    # A token of the deployer's own login is none of this key's.
    return {**found, "AWS_SESSION_TOKEN": ""} if found else {}


def uploads_of(settings: ModelRegistrySettings) -> list[Upload]:
    """Return what is uploaded, with the digest of what is in each folder now.

    Raises `ConfigurationError` with every folder that holds no model.
    """
    found: list[Upload] = []
    problems: list[str] = []
    for model, written in settings.wanted().items():
        folder = Path(written).expanduser()
        try:
            # What is left out is said by the upload itself.
            files = read_folder(CHECKOUT / folder, lambda _: None)
        except RegistryFault as fault:
            said = fault.message.replace("\n", "\n    ")
            problems.append(f"  - llm-endpoint:uploads, {model}: {said}")
        else:
            found.append(Upload(str(model), str(folder), digest(files)))
    if problems:
        kept = "A version that is in the registry already stays there without being listed."
        raise ConfigurationError("\n".join([_NO_MODELS, *problems, kept]))
    return found


def models_in(receipt: Mapping[str, object]) -> list[str]:
    """Return the models that a check found, as `NAME@VERSION`."""
    entries = cast("list[Mapping[str, object]]", receipt["models"])
    return [str(entry["model"]) for entry in entries]


def _billed(settings: ModelRegistrySettings) -> Billed:
    where = settings.registry or f"gs://{google_bucket(settings, pulumi.get_stack())}"
    return {
        "resource": f"bucket {where}: what lies in it, and what is read of it",
        "running": True,
        "parked": True,
    }


def _model_registry(settings: Settings) -> ModelRegistrySettings:
    if not isinstance(settings, ModelRegistrySettings):
        raise TypeError(
            f"model-registry takes ModelRegistrySettings, not {type(settings).__name__}"
        )
    return settings
