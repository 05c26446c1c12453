"""Google's APIs as the check of `ci` asks them, answered from what an emulated cloud holds."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_google_apis import TOKEN, Asked, FakeApis, Reply, refusal

_MARK = b"encrypted:"


@dataclass
class CiApis(FakeApis):
    """Answers from the resources in `folder`, an emulated cloud's.

    `changed` goes over an answer's fields, by the end of its path; `refused` are paths' ends whose
    next requests are refused, one for each entry.
    """

    folder: Path = Path()
    changed: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def answer(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return refusal(401, "Request had invalid authentication credentials.")
        for end in self.refused:
            if asked.path.endswith(end):
                self.refused.remove(end)
                return refusal(403, "The API is not on yet.", "SERVICE_DISABLED")
        status, content = self._answer(asked)
        changed = [fields for end, fields in self.changed.items() if asked.path.endswith(end)]
        return status, {**content, **{key: value for one in changed for key, value in one.items()}}

    def _answer(self, asked: Asked) -> Reply:
        service, _, path = asked.path.removeprefix("/").partition("/v1/")
        found = {
            "storage": self._storage,
            "cloudkms": self._kms,
            "iam": self._iam,
        }[service](path, asked.body)
        return refusal(404, f"{path} was not found") if found is None else (200, found)

    def _storage(self, path: str, body: Any) -> Any:
        name, _, what = path.removeprefix("b/").partition("/")
        made = next(self._made("gcp-storage-bucket", "name", name), None)
        if made is None:
            return None
        inputs = made["inputs"]
        if what == "iam":
            return self._policy("gcp-storage-bucketIAMMember", "bucket", name)
        return {
            "name": name,
            "versioning": inputs["versioning"],
            "iamConfiguration": {
                "publicAccessPrevention": inputs["publicAccessPrevention"],
                "uniformBucketLevelAccess": {"enabled": inputs["uniformBucketLevelAccess"]},
            },
        }

    def _kms(self, path: str, body: Any) -> Any:
        key, _, method = path.rpartition(":")
        if not any(one["identity"] == key for one in self._all("gcp-kms-cryptoKey-")):
            return None
        if method == "encrypt":
            text = _MARK + base64.b64decode(body["plaintext"])
            version = f"{key}/cryptoKeyVersions/1"
            return {"name": version, "ciphertext": base64.b64encode(text).decode()}
        text = base64.b64decode(body["ciphertext"])
        assert text.startswith(_MARK)
        return {"plaintext": base64.b64encode(text.removeprefix(_MARK)).decode()}

    def _iam(self, path: str, body: Any) -> Any:
        account, _, method = path.partition(":")
        if method == "getIamPolicy":
            return self._policy("gcp-serviceaccount-iAMMember", "serviceAccountId", account)
        pools = {one["added"]["name"]: one for one in self._all("gcp-iam-workloadIdentityPool")}
        if path.endswith("/providers"):
            named = [_provider(one) for name, one in pools.items() if name.startswith(f"{path}/")]
            return {"workloadIdentityPoolProviders": named}
        found = pools.get(path)
        return None if found is None else _provider(found)

    def _policy(self, kind: str, key: str, value: str) -> Any:
        members = self._made(kind, key, value)
        return {
            "bindings": [
                {"role": one["inputs"]["role"], "members": [one["inputs"]["member"]]}
                for one in members
            ]
        }

    def _made(self, kind: str, key: str, value: str) -> Iterator[Mapping[str, Any]]:
        return (one for one in self._all(f"{kind}-") if one["inputs"].get(key) == value)

    def _all(self, kind: str) -> Iterator[Mapping[str, Any]]:
        for file in sorted((self.folder / "resources").glob(f"{kind}*.json")):
            yield json.loads(file.read_text(encoding="utf-8"))


def _provider(made: Mapping[str, Any]) -> dict[str, Any]:
    """What IAM says of a pool or of a provider."""
    inputs = made["inputs"]
    return {
        "name": made["added"]["name"],
        "state": made["added"]["state"],
        "attributeCondition": inputs.get("attributeCondition"),
        "attributeMapping": inputs.get("attributeMapping"),
        "oidc": inputs.get("oidc"),
    }
