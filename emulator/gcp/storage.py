"""Buckets and who may use them, and keys of service accounts: `storage_*`, `service_account_key`.

What lies in a bucket is not here: `STORAGE_EMULATOR_HOST`, by which Google's own client finds a
stand-in for Cloud Storage, names who keeps that.
"""

from __future__ import annotations

import base64
import json
import os
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from emulator.plugin.errors import PluginError

from .kind import ALL, Fields, Kind, number

_SECONDS = 30

BUCKET = "gcp:storage/bucket:Bucket"
ACCOUNT_KEY = "gcp:serviceaccount/key:Key"


def _bucket(inputs: Fields, identity: str) -> Fields:
    return {
        "url": f"gs://{inputs['name']}",
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{inputs['name']}",
        "projectNumber": int(number(str(inputs["project"]))) % 10**12,
        "timeCreated": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


def _key(inputs: Fields, identity: str) -> Fields:
    account = _account(inputs)
    key_id = number(identity)
    file = {
        "type": "service_account",
        "private_key_id": key_id,
        "private_key": f"-----BEGIN PRIVATE KEY-----\n{key_id}\n-----END PRIVATE KEY-----\n",
        "client_email": account,
    }
    text = base64.b64encode(json.dumps(file).encode()).decode()
    return {"name": identity, "privateKey": text, "publicKey": "", "validAfter": ""}


def _account(inputs: Fields) -> str:
    """The account's address; its name is taken as well."""
    return str(inputs["serviceAccountId"]).rpartition("/")[2]


STORAGE_TYPES: Mapping[str, Kind] = {
    BUCKET: Kind("{name}", frozenset({"name", "project", "location"}), _bucket),
    "gcp:storage/bucketIAMMember:BucketIAMMember": Kind(
        "b/{bucket}/{role}/{member}", ALL, may_be_there=True
    ),
    ACCOUNT_KEY: Kind("projects/{project}/serviceAccounts/{account}/keys/{unique}", ALL, _key),
}


def filled(token: str, inputs: Fields) -> Fields:
    """What the id of one of these takes besides its inputs."""
    return {"account": _account(inputs)} if token == ACCOUNT_KEY else {}


def normal(token: str, identity: str) -> str:
    """The id in the form that it has in a state: of a bucket also `PROJECT/NAME` is taken."""
    return identity.rpartition("/")[2] if token == BUCKET else identity


def end_bucket(inputs: Fields) -> None:
    """Empty a bucket that is to go, or refuse where it is full and that was not asked for."""
    host = os.environ.get("STORAGE_EMULATOR_HOST")
    if host is None:
        return
    objects = f"{host}/storage/v1/b/{inputs['name']}/o"
    while names := _names(objects):
        if inputs.get("forceDestroy") is not True:
            raise PluginError(
                f"Error trying to delete bucket {inputs['name']} without `force_destroy` set to "
                "true"
            )
        for name in names:
            _ask("DELETE", f"{objects}/{quote(name, safe='')}")


def _names(objects: str) -> list[str]:
    """The names of some of the objects in a bucket, none only where there is none."""
    return [entry["name"] for entry in json.loads(_ask("GET", objects)).get("items", [])]


def _ask(method: str, url: str) -> bytes:
    request = urllib.request.Request(url, method=method)
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
        return answer.read()
