"""A registry's bucket in storage that speaks S3: made, and in the end unmade.

Google's are made by Pulumi's provider; other storage has a provider of its own or none, so that
one way that works with all is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from components.models.registry import MANIFESTS, MODELS, RegistryUrl
from scripts.model_registry.bucket import MissingBucket, RegistryFault, Report
from scripts.model_registry.listing import list_models
from scripts.model_registry.s3 import S3Bucket
from scripts.model_registry.s3_client import DEFAULT_REGION, answer_of, faults
from scripts.model_registry.uploads import Uploads

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client
    from types_boto3_s3.type_defs import CreateBucketRequestTypeDef

MARK = "made-by-llm-endpoint"
"""An object that says that the bucket is the registry's own, and is deleted with it."""

_OLD_VERSION_DAYS = 30
_UNFINISHED_DAYS = 7


@dataclass(frozen=True)
class Made:
    """A bucket that is there. `made` says that it was not before; `versioned`, what it keeps."""

    url: RegistryUrl
    made: bool
    versioned: bool

    def as_json(self) -> dict[str, object]:
        """Return it for whoever asked for it."""
        return {"url": str(self.url), "made": self.made, "versioned": self.versioned}


def make(client: S3Client, url: RegistryUrl, report: Report) -> Made:
    """Have the bucket of `url`, private, with versions where the storage knows them.

    One that is there and can be used with these credentials is taken: an empty one as if it were
    made here, since a try that was cut off may have made it; any other without a change of its
    settings. Raises `RegistryFault`.
    """
    made = not _is_there(client, url)
    if made:
        _create(client, url)
    if made or next(_keys(client, url, ""), None) is None:
        with faults(url):
            client.put_object(Bucket=url.bucket, Key=MARK, Body=b"")
    if _is_marked(client, url):
        _settle(client, url, report)
    return Made(url, made, _is_versioned(client, url))


def unmake(client: S3Client, url: RegistryUrl, report: Report) -> bool:
    """Delete the registry with all versions of its objects, and the bucket if it was made here.

    In one that was not, what no manifest names stays: others may have models beside. Returns
    whether the bucket was deleted. One that is not there is as good as deleted. Raises
    `RegistryFault`.
    """
    try:
        if not _is_there(client, url):
            return False
        ours = _is_marked(client, url)
        for prefix in (f"{MODELS}/", f"{MANIFESTS}/") if ours else _pushed(client, url, report):
            _empty(client, url, url.key(prefix))
        if not ours:
            report(f"{url.bucket} was not made by this project: only the registry in it is deleted")
            return False
        others = [key for key in _keys(client, url, "") if key != MARK]
        if others:
            report(f"{url.bucket} has other objects, such as {others[0]}: it stays")
            return False
        _empty(client, url, MARK)
        with faults(url):
            client.delete_bucket(Bucket=url.bucket)
    except MissingBucket:
        return False
    return True


def _pushed(client: S3Client, url: RegistryUrl, report: Report) -> list[str]:
    """Return what versions consist of, the manifest of each last: by it they are found again."""
    contents = list_models(S3Bucket(url, lambda: client, Uploads()), url)
    for model in contents.unfinished:
        report(f"{url.key(model.folder)} has no manifest, and may be somebody else's: it stays")
    return [part for one in contents.models for part in (f"{one.folder}/", one.manifest)]


def _is_there(client: S3Client, url: RegistryUrl) -> bool:
    with faults(url):
        try:
            client.head_bucket(Bucket=url.bucket)
        except ClientError as error:
            if answer_of(error).status == 404:
                return False
            raise
    return True


def _create(client: S3Client, url: RegistryUrl) -> None:
    request: CreateBucketRequestTypeDef = {"Bucket": url.bucket}
    region = client.meta.region_name
    if url.endpoint is None and region != DEFAULT_REGION:
        request["CreateBucketConfiguration"] = {"LocationConstraint": region}  # type: ignore[typeddict-item]
    with faults(url):
        try:
            client.create_bucket(**request)
        except ClientError as error:
            code = answer_of(error).code
            if code == "BucketAlreadyOwnedByYou":
                return
            if code == "BucketAlreadyExists":
                raise RegistryFault(
                    f"{url}: the bucket {url.bucket} belongs to someone else, and such names are "
                    "given once\nnext: choose another name",
                    lasting=True,
                ) from None
            raise


def _settle(client: S3Client, url: RegistryUrl, report: Report) -> None:
    """Set what the storage knows: new buckets are private and keep no versions by themselves."""

    def shut() -> None:
        client.put_public_access_block(
            Bucket=url.bucket,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True,
                "IgnorePublicAcls": True,
                "BlockPublicPolicy": True,
                "RestrictPublicBuckets": True,
            },
        )

    def keep_versions() -> None:
        client.put_bucket_versioning(
            Bucket=url.bucket, VersioningConfiguration={"Status": "Enabled"}
        )

    def end_what_is_old() -> None:
        client.put_bucket_lifecycle_configuration(
            Bucket=url.bucket,
            LifecycleConfiguration={
                "Rules": [
                    {
                        "ID": "llm-endpoint",
                        "Status": "Enabled",
                        "Filter": {"Prefix": ""},
                        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": _UNFINISHED_DAYS},
                        "NoncurrentVersionExpiration": {"NoncurrentDays": _OLD_VERSION_DAYS},
                    }
                ]
            },
        )

    wanted: dict[str, Callable[[], None]] = {
        "a block of public access": shut,
        "versions of objects": keep_versions,
        "an end of old versions and unfinished uploads": end_what_is_old,
    }
    for what, apply in wanted.items():
        with faults(url):
            try:
                apply()
            except ClientError as error:
                answer = answer_of(error)
                if answer.status >= 500 and not answer.unknown_here:
                    raise
                report(f"this storage does not take {what} ({answer.status} {answer.code})")


def _is_versioned(client: S3Client, url: RegistryUrl) -> bool:
    with faults(url):
        try:
            return client.get_bucket_versioning(Bucket=url.bucket).get("Status") == "Enabled"
        except ClientError as error:
            if answer_of(error).status >= 500 and not answer_of(error).unknown_here:
                raise
    return False


def _is_marked(client: S3Client, url: RegistryUrl) -> bool:
    return any(key == MARK for key in _keys(client, url, MARK))


def _keys(client: S3Client, url: RegistryUrl, prefix: str) -> Iterator[str]:
    with faults(url):
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=url.bucket, Prefix=prefix)
        for page in pages:
            for found in page.get("Contents", []):
                yield found.get("Key", "")


def _empty(client: S3Client, url: RegistryUrl, prefix: str) -> None:
    """Delete the object `prefix`, or all in it where it ends as a folder.

    With objects go their versions, and unfinished uploads. One by one, since the deletion of many
    at once needs a checksum that not all storage takes.
    """

    def meant(key: str) -> bool:
        return prefix.endswith("/") or key == prefix

    for key in list(filter(meant, _keys(client, url, prefix))):
        with faults(url, key):
            client.delete_object(Bucket=url.bucket, Key=key)
    with faults(url):
        try:
            for key, version in list(_versions(client, url, prefix)):
                if meant(key):
                    client.delete_object(Bucket=url.bucket, Key=key, VersionId=version)
            for key, upload in list(_uploads(client, url, prefix)):
                if meant(key):
                    client.abort_multipart_upload(Bucket=url.bucket, Key=key, UploadId=upload)
        except ClientError as error:
            if not answer_of(error).unknown_here:
                raise


def _versions(client: S3Client, url: RegistryUrl, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield every version of objects, and every mark of a deleted one."""
    pages = client.get_paginator("list_object_versions").paginate(Bucket=url.bucket, Prefix=prefix)
    for page in pages:
        for found in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
            yield found.get("Key", ""), found.get("VersionId", "null")


def _uploads(client: S3Client, url: RegistryUrl, prefix: str) -> Iterator[tuple[str, str]]:
    pages = client.get_paginator("list_multipart_uploads").paginate(
        Bucket=url.bucket, Prefix=prefix
    )
    for page in pages:
        for found in page.get("Uploads", []):
            yield found.get("Key", ""), found.get("UploadId", "")
