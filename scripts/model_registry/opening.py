"""A registry's bucket opened: which client, with whose credentials. Nothing is asked yet."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from components.models.registry import RegistryUrl
from scripts.model_registry.bucket import Bucket
from scripts.model_registry.uploads import of_environment


def open_bucket(url: RegistryUrl, environ: Mapping[str, str]) -> Bucket:
    """Return the bucket of `url`. Only the client of its own kind of storage is imported.

    Google's credentials: GOOGLE_OAUTH_ACCESS_TOKEN, else GOOGLE_CREDENTIALS, else what
    `google.auth.default` finds: the file GOOGLE_APPLICATION_CREDENTIALS, a login, a machine's or
    pod's own identity. S3's: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where there is one,
    AWS_SESSION_TOKEN, else what boto3 finds.
    """
    uploads = of_environment(environ)
    if url.scheme == "gs":
        from scripts.model_registry.gcs import GcsBucket
        from scripts.model_registry.gcs_client import open_client as open_gcs

        return GcsBucket(url, partial(open_gcs, url, environ), uploads)
    from scripts.model_registry.s3 import S3Bucket
    from scripts.model_registry.s3_client import open_client as open_s3

    return S3Bucket(url, partial(open_s3, url, environ), uploads)
