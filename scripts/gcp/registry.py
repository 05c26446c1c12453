"""What a model registry needs before its first up: of Google Cloud, or of storage that speaks S3.

Part of `scripts.gcp.doctor`: it only asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from components.models.registry import RegistryUrl
from components.settings import ModelRegistrySettings
from scripts.bootstrap.downloads import answers
from scripts.bootstrap.finding import Finding
from scripts.gcp import access
from scripts.gcp.rest import STORAGE, ApiError, GoogleApi
from scripts.verify.shape import dig_text

ROLES = {
    "roles/serviceusage.serviceUsageAdmin": ("serviceusage.services.enable",),
    "roles/storage.admin": (
        "storage.buckets.create",
        "storage.buckets.delete",
        "storage.buckets.get",
        "storage.buckets.update",
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.get",
        "storage.objects.list",
    ),
}
"""Predefined roles, each with what up and down need of it."""
_REST = "project, billing, APIs, permissions and bucket"


def findings(
    settings: ModelRegistrySettings,
    bucket: str,
    checkout: Path,
    environment: Mapping[str, str],
) -> Iterator[Finding]:
    """Yield what was found. `bucket` is the name of the bucket of Google's that up would make."""
    url = settings.url()
    where = f"gs://{bucket} in {settings.region}" if url is None else str(url)
    yield Finding("ok", f"configuration: {len(settings.uploads)} to upload to {where}")
    yield from _folders(settings, checkout)
    if url is not None:
        yield from _s3(settings, url, environment)
        return
    project = str(settings.project)
    yield from access.with_credentials(
        environment, _REST, lambda api: _google(api, project, bucket)
    )


def _folders(settings: ModelRegistrySettings, checkout: Path) -> Iterator[Finding]:
    for model, folder in settings.wanted().items():
        if not (checkout / Path(folder).expanduser()).is_dir():
            yield Finding(
                "problem",
                f"uploads: there is no folder {folder} for {model}",
                "name the folder that the model's files are in, from the checkout or absolute",
            )


def _google(api: GoogleApi, project: str, bucket: str) -> Iterator[Finding]:
    there = access.project(api, project)
    yield there
    if there.verdict == "problem":
        yield Finding("note", f"not looked at without the project: {_REST.partition(', ')[2]}")
        return
    yield access.billing(api, project)
    yield access.enabled(api, project, ["storage"])[0]
    yield from access.granted(api, project, ROLES)
    yield bucket_there(api, bucket)


def bucket_there(api: GoogleApi, name: str) -> Finding:
    """Look whether the bucket `name` is there, or somebody else's."""
    try:
        found = api.get(STORAGE, f"b/{name}")
    except ApiError as error:
        if error.status == 404:
            return Finding("ok", f"bucket {name}: up makes it")
        if error.status == 403:
            return Finding(
                "problem",
                f"bucket {name}: it is there, and not these credentials' to see",
                "scripts/pulumi config set bucket_name NAME, of which there is none in the world",
            )
        return Finding("note", f"bucket {name}: Google does not tell ({error})")
    return Finding("ok", f"bucket {name} is there, in {dig_text(found, 'location').lower()}")


def _s3(
    settings: ModelRegistrySettings, url: RegistryUrl, environment: Mapping[str, str]
) -> Iterator[Finding]:
    if url.endpoint is not None and not answers(url.endpoint):
        yield Finding(
            "problem",
            f"storage: nothing answers at {url.endpoint}",
            "check the endpoint in registry, and the way there from this machine",
        )
    else:
        yield Finding("ok", f"storage: {url.endpoint or 'AWS'}")
    if settings.registry_secret_key is not None:
        # Encrypted there, and Pulumi alone decrypts.
        yield Finding("ok", "credentials: registry_key_id and registry_secret_key; up tries them")
    elif environment.get("AWS_ACCESS_KEY_ID"):
        yield Finding("ok", "credentials: AWS_ACCESS_KEY_ID; up tries them")
    else:
        yield Finding(
            "note",
            "credentials: none in the configuration; up takes what AWS's own tools find here",
            "scripts/pulumi config set registry_key_id --secret, and registry_secret_key --secret",
        )
