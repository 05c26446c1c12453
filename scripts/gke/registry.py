"""Whether a registry in Cloud Storage has what a stack names, and lets it let pods in."""

from __future__ import annotations

from collections.abc import Iterator

from components.models.pod_model import RegistryModelReference, parse_pod_model
from components.models.registry import RegistryModel, RegistryUrl
from components.settings import GkeOvmsSettings
from scripts.bootstrap.finding import Finding
from scripts.gcp.rest import STORAGE, ApiError, GoogleApi
from scripts.model_registry.bucket import COMMAND
from scripts.verify.shape import dig

_LETS_IN = ("storage.buckets.getIamPolicy", "storage.buckets.setIamPolicy")
"""What it takes to give pods a role on a bucket; `roles/storage.admin` has it."""


def findings(api: GoogleApi, settings: GkeOvmsSettings) -> Iterator[Finding]:
    """Yield what was found of the bucket; nothing where no model is named from one of Google's."""
    url = settings.registry_url()
    if url is None or not settings.named_from_registry():
        return
    if url.scheme != "gs":
        yield Finding("note", f"not looked at with the stack's own keys: the registry {url}")
        return
    yield from _models(api, url, named(settings))
    yield from _may_let_in(api, url)


def named(settings: GkeOvmsSettings) -> tuple[RegistryModel, ...]:
    """Return all models that `settings` names from the registry."""
    given = (settings.model, settings.embeddings_model)
    parsed = (parse_pod_model(text) for text in given if text is not None)
    of_registry = (one.model for one in parsed if isinstance(one, RegistryModelReference))
    return tuple(dict.fromkeys([*of_registry, *settings.classic()]))


def _models(
    api: GoogleApi, url: RegistryUrl, models: tuple[RegistryModel, ...]
) -> Iterator[Finding]:
    """Look whether each version is there whole: its manifest is what comes last."""
    missing = False
    for model in models:
        key = url.key(model.manifest)
        try:
            listed = api.get(STORAGE, f"b/{url.bucket}/o", prefix=key, fields="items/name")
        except ApiError as error:
            if error.status == 404:
                step = "scripts/up model-registry, which makes one, or set registry to another"
                yield Finding("problem", f"registry {url}: there is no bucket of that name", step)
            else:
                yield Finding("note", f"registry {url}: Google does not tell ({error})")
            return
        items = dig(listed, "items")
        names = [dig(item, "name") for item in items] if isinstance(items, list) else []
        if key not in names:
            missing = True
            yield Finding(
                "problem",
                f"registry {url} has no {model}",
                f"{COMMAND} push {url} {model} FOLDER, or see what is there: {COMMAND} list {url}",
            )
    if not missing:
        yield Finding("ok", f"registry {url} has {', '.join(map(str, models))}")


def _may_let_in(api: GoogleApi, url: RegistryUrl) -> Iterator[Finding]:
    try:
        told = api.get(STORAGE, f"b/{url.bucket}/iam/testPermissions", permissions=[*_LETS_IN])
    except ApiError as error:
        # That there is none is said already.
        if error.status != 404:
            yield Finding("note", f"permissions on {url.bucket}: Google does not tell ({error})")
        return
    given = dig(told, "permissions")
    lacking = [one for one in _LETS_IN if not isinstance(given, list) or one not in given]
    if lacking:
        yield Finding(
            "problem",
            f"these credentials lack {', '.join(lacking)} on the bucket {url.bucket}, by which up "
            "lets the pods read it",
            f"gcloud storage buckets add-iam-policy-binding gs://{url.bucket} "
            "--member user:YOU@EXAMPLE.COM --role roles/storage.admin (whoever owns it)",
        )
