"""`python -m scripts.gcp.ci_check`: is what `ci` made there, closed to others, and does it work?

Run by the program before it tells any output, with the deployer's own credentials. It reads what to
find from `$LLM_ENDPOINT_CI`, writes one object into the state's bucket and deletes it again, and
prints a receipt. It stops at the first check that fails, with exit status 1.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from components.models.registry import parse_registry_url
from components.targets.gcp.ci_wanted import ACTS_AS, VARIABLE, Account, Provider, Wanted
from scripts.gcp.credentials import CredentialsError, find
from scripts.gcp.rest import STORAGE, ApiError, GoogleApi, Service, from_environment
from scripts.model_registry.bucket import RegistryFault
from scripts.model_registry.opening import open_bucket
from scripts.verify.receipt import SCHEMA_VERSION, Check
from scripts.verify.shape import Json, dig, dig_text

IAM = Service("iam")
KMS = Service("cloudkms")
EVERYBODY = ("allUsers", "allAuthenticatedUsers")
"""Members of a policy that let in people whom nobody has named."""
PROBE = "llm-endpoint-check/"
"""Where in the bucket the object is written: Pulumi's own all begin with `.pulumi/`."""
ATTEMPTS = 9
PAUSE_SECONDS = 20.0
"""An API that was just turned on is refused for minutes, and so is a right that was just given."""
_SPREADING = (403, 404)


class CheckFailed(Exception):
    """Something is not as it has to be. Nothing of the message is secret."""

    def __init__(self, expected: str, came: str, next_step: str) -> None:
        super().__init__(f"expected {expected}, and {came}")
        self.next_step = next_step


@dataclass(frozen=True)
class World:
    """What is asked: Google's APIs, and the environment for the client of its storage."""

    api: GoogleApi
    environment: Mapping[str, str]


def checks(wanted: Wanted, world: World) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield each check by its name, in the order in which they are run; each returns what it saw.

    They raise `CheckFailed`, `ApiError`, `RegistryFault` and `CredentialsError`.
    """
    yield "bucket is private", lambda: _private(wanted, world.api)
    yield "bucket keeps versions", lambda: _versioned(wanted, world.api)
    yield "bucket can be written", lambda: _writable(wanted, world.environment)
    yield "key encrypts and decrypts", lambda: _key(wanted, world.api)
    yield "pool has these providers alone", lambda: _pool(wanted, world.api)
    for one in wanted.providers:
        name = one.name.rpartition("/")[2]
        yield f"provider {name}", lambda one=one: _provider(one, wanted.issuer, world.api)
    for one in wanted.accounts:
        name = one.email.partition("@")[0]
        yield f"account {name}", lambda one=one: _account(one, wanted.project, world.api)


def _private(wanted: Wanted, api: GoogleApi) -> str:
    found = api.get(STORAGE, f"b/{wanted.bucket}")
    prevention = dig_text(found, "iamConfiguration", "publicAccessPrevention")
    uniform = dig(found, "iamConfiguration", "uniformBucketLevelAccess", "enabled")
    if prevention != "enforced" or uniform is not True:
        raise CheckFailed(
            "public access to be prevented, and IAM alone to say who may come",
            f"it has publicAccessPrevention {prevention or 'unset'}, uniform access {uniform}",
            "scripts/up of this stack sets both; find out who changed them",
        )
    open_to = [
        who for who in _members(api.get(STORAGE, f"b/{wanted.bucket}/iam")) if who in EVERYBODY
    ]
    if open_to:
        raise CheckFailed(
            "nobody to be let in who is not named",
            f"its policy lets in {', '.join(open_to)}",
            f"gcloud storage buckets remove-iam-policy-binding gs://{wanted.bucket} "
            f"--member {open_to[0]} --all",
        )
    return "public access is prevented, uniform access"


def _versioned(wanted: Wanted, api: GoogleApi) -> str:
    found = dig(api.get(STORAGE, f"b/{wanted.bucket}"), "versioning", "enabled")
    if found is not True:
        raise CheckFailed(
            "what is overwritten to be kept",
            f"versioning is {found}",
            f"gcloud storage buckets update gs://{wanted.bucket} --versioning",
        )
    return "what is overwritten is kept"


def _writable(wanted: Wanted, environment: Mapping[str, str]) -> str:
    url = parse_registry_url(f"gs://{wanted.bucket}")
    bucket = open_bucket(url, environment)
    key, content = f"{PROBE}{secrets.token_hex(8)}", secrets.token_bytes(16)
    bucket.put_bytes(key, content, only_new=True)
    try:
        with bucket.open(key, version=None, start=0) as chunks:
            read = b"".join(chunks)
    finally:
        bucket.delete(key)
    if read != content:
        raise CheckFailed(
            "an object to be read as it was written",
            f"{len(read)} bytes of {len(content)} came, or others",
            "run it again; if it stays, something on the way changes what is sent",
        )
    return "an object was written, read and deleted"


def _key(wanted: Wanted, api: GoogleApi) -> str:
    text = base64.b64encode(secrets.token_bytes(16)).decode()
    encrypted = api.post(KMS, f"{wanted.key}:encrypt", {"plaintext": text})
    ciphertext = dig_text(encrypted, "ciphertext")
    decrypted = api.post(KMS, f"{wanted.key}:decrypt", {"ciphertext": ciphertext})
    if dig_text(decrypted, "plaintext") != text or ciphertext in ("", text):
        raise CheckFailed(
            "what was encrypted to be decrypted to the same",
            "something else came",
            f"see the key's versions: gcloud kms keys versions list {_flags(wanted.key)}",
        )
    return f"by {dig_text(encrypted, 'name').rpartition('/cryptoKeys/')[2] or 'the key'}"


def _flags(key: str) -> str:
    """Return how `gcloud kms` takes a key's full name."""
    part = key.split("/")
    return f"--key {part[7]} --keyring {part[5]} --location {part[3]} --project {part[1]}"


def _pool(wanted: Wanted, api: GoogleApi) -> str:
    _active(api.get(IAM, wanted.pool), "pool", wanted.pool)
    listed = dig(api.get(IAM, f"{wanted.pool}/providers"), "workloadIdentityPoolProviders")
    entries = listed if isinstance(listed, list) else []
    there = {dig_text(entry, "name").rpartition("/")[2] for entry in entries}
    ours = {provider.name.rpartition("/")[2] for provider in wanted.providers}
    if there != ours:
        raise CheckFailed(
            f"the providers {', '.join(sorted(ours))}",
            f"it has {', '.join(sorted(there)) or 'none'}; another one may let in whom it likes",
            f"gcloud iam workload-identity-pools providers list --location global "
            f"--workload-identity-pool {wanted.pool.rpartition('/')[2]} --project {wanted.project}",
        )
    return f"active, with {', '.join(sorted(there))}"


def _provider(wanted: Provider, issuer: str, api: GoogleApi) -> str:
    found = api.get(IAM, wanted.name)
    _active(found, "provider", wanted.name)
    mapping = dig(found, "attributeMapping")
    seen = {
        "condition": dig_text(found, "attributeCondition"),
        "issuer": dig_text(found, "oidc", "issuerUri"),
        "mapping": mapping if isinstance(mapping, dict) else {},
    }
    expected = {
        "condition": wanted.condition,
        "issuer": issuer,
        "mapping": dict(wanted.mapping),
    }
    for what, value in expected.items():
        if seen[what] != value:
            raise CheckFailed(
                f"its {what} to be {value}",
                f"it is {seen[what]}",
                "scripts/up of this stack sets it; find out who changed it",
            )
    return wanted.condition


def _active(found: Json, what: str, name: str) -> None:
    state = dig_text(found, "state")
    if state != "ACTIVE" or dig(found, "disabled") is True:
        raise CheckFailed(
            f"the {what} to be in use",
            f"it is {'disabled' if state == 'ACTIVE' else state or 'in no known state'}",
            f"see {name}: scripts/up of this stack makes it anew, or takes it up again",
        )


def _account(wanted: Account, project: str, api: GoogleApi) -> str:
    path = f"projects/{project}/serviceAccounts/{wanted.email}:getIamPolicy"
    bindings = {*_bindings(api.post(IAM, path, {}))}
    # Whatever the role: one to make tokens or keys of it is as good as this one.
    if bindings != {(ACTS_AS, wanted.principals)}:
        there = ", ".join(f"{member} ({role})" for role, member in sorted(bindings))
        raise CheckFailed(
            f"{wanted.principals} alone to act as it",
            f"its policy has {there or 'nobody'}",
            f"gcloud iam service-accounts get-iam-policy {wanted.email} --project {project}",
        )
    return wanted.principals.rpartition("/attribute.")[2]


def _members(policy: Json) -> Iterator[str]:
    return (member for _, member in _bindings(policy))


def _bindings(policy: Json) -> Iterator[tuple[str, str]]:
    """Yield each role of a policy with each who has it."""
    bindings = dig(policy, "bindings")
    for binding in bindings if isinstance(bindings, list) else []:
        members = dig(binding, "members")
        for member in members if isinstance(members, list) else []:
            yield dig_text(binding, "role"), str(member)


def run(
    wanted: Wanted, world: World, *, pause: Callable[[float], None] = time.sleep
) -> dict[str, Json]:
    """Run all checks and return the receipt. Raises what they raise, with the check's name noted.

    What Google refuses or does not know yet is asked again, since it takes minutes to spread.
    """
    began, done = datetime.now(UTC), list[Check]()
    left = ATTEMPTS
    for name, check in checks(wanted, world):
        started = time.monotonic()
        while True:
            try:
                seen = check()
                break
            except (ApiError, CheckFailed, CredentialsError, RegistryFault) as error:
                left -= 1
                if not _passes(error) or left == 0:
                    error.add_note(name)
                    raise
                print(f"{name}: not yet ({_first_line(error)}); asking again", file=sys.stderr)
                pause(PAUSE_SECONDS)
        done.append(Check(name, "passed", round(time.monotonic() - started, 3), seen))
        print(f"{name}: {seen}", file=sys.stderr, flush=True)
    return {
        "schema_version": SCHEMA_VERSION,
        "status": "passed",
        "wanted": cast("Json", json.loads(wanted.as_json())),
        "verified_at": began.isoformat(timespec="seconds"),
        "checks": [cast("Json", check.as_json()) for check in done],
    }


def _passes(error: Exception) -> bool:
    """Whether waiting may do."""
    if isinstance(error, ApiError):
        return error.status in _SPREADING or error.passing
    return isinstance(error, RegistryFault) and not error.lasting


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _next_step(error: Exception) -> str:
    if isinstance(error, CheckFailed | CredentialsError):
        return error.next_step
    return "see that message; scripts/doctor says which rights it takes, then scripts/up again"


def main(environment: Mapping[str, str]) -> int:
    """Check what the environment names; print the receipt, or what is wrong."""
    text = environment.get(VARIABLE)
    if not text:
        print(f"{VARIABLE} is not set: the program of `ci` sets it", file=sys.stderr)
        return 2
    try:
        credentials = find(environment)
        world = World(from_environment(credentials, environment), environment)
        receipt = run(Wanted.from_json(text), world)
    except (ApiError, CheckFailed, CredentialsError, RegistryFault) as error:
        what = ", ".join(getattr(error, "__notes__", [])) or "credentials"
        said = error.problem if isinstance(error, CredentialsError) else str(error)
        print(f"error: {what}: {said}\nnext: {_next_step(error)}", file=sys.stderr)
        return 1
    print(json.dumps(receipt))
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
