"""What is known of `ci` beside its resources: what it asks of a project, what its check is to find.

Nothing of it is secret, and it needs no package of a cloud.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

VARIABLE = "LLM_ENDPOINT_CI"
"""The environment variable that holds a `Wanted` as JSON."""
APIS = ("iam", "iamcredentials", "sts", "cloudkms", "storage", "cloudresourcemanager")
"""What a workflow's token goes through on its way, and where the state is."""
ACTS_AS = "roles/iam.workloadIdentityUser"
"""The role on a service account by which a pool's identities act as it."""


@dataclass(frozen=True)
class Provider:
    """A provider of the pool, by its full name: whom it lets in, and as what."""

    name: str
    condition: str
    mapping: Mapping[str, str]


@dataclass(frozen=True)
class Account:
    """A service account, and who alone may act as it."""

    email: str
    principals: str


@dataclass(frozen=True)
class Wanted:
    """All that has to be there. `key` and `pool` are full names, without an API's host."""

    project: str
    bucket: str
    key: str
    pool: str
    issuer: str
    providers: tuple[Provider, ...]
    accounts: tuple[Account, ...]

    def as_json(self) -> str:
        """Return one line of JSON, the same for the same content."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Wanted:
        """Return what `as_json` wrote."""
        content = json.loads(text)
        return cls(
            project=content["project"],
            bucket=content["bucket"],
            key=content["key"],
            pool=content["pool"],
            issuer=content["issuer"],
            providers=tuple(Provider(**entry) for entry in content["providers"]),
            accounts=tuple(Account(**entry) for entry in content["accounts"]),
        )
