"""Where a team's state lies, and how GitHub's workflows get at it: checked before it is told."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import pulumi
import pulumi_gcp as gcp
from pulumi_command import local

from components.targets.gcp.ci_wanted import APIS, VARIABLE, Account, Provider, Wanted
from components.targets.gcp.federation import (
    ISSUER,
    PURPOSES,
    Federation,
    Purpose,
    RepositoryIds,
    mapping,
)
from components.targets.gcp.grants import Grant
from components.targets.gcp.state_store import StateStore
from components.targets.gcp.workflow_account import WorkflowAccount
from components.targets.order import once

READS_STATE, WRITES_STATE = "roles/storage.objectViewer", "roles/storage.objectUser"
DECRYPTS = "roles/cloudkms.cryptoKeyDecrypter"
"""All that the engine asks of the key, also where it makes a stack whose file has its data key: it
decrypts that once a run, and encrypts by itself."""


class CiArgs(TypedDict):
    """What `Ci` takes."""

    project: str
    """Id of the project."""
    location: str
    """The region of bucket and key."""
    bucket_name: str
    """Name of the state's bucket."""
    unique_name: str
    """Name of pool and key ring, 4 to 32 characters. Neither can be given again for long."""
    account_ids: Mapping[Purpose, str]
    """Ids of the two service accounts."""
    role_id: str
    """Id of the role of its own that the account for previews has."""
    repository: RepositoryIds
    """Whose workflows are let in."""
    environment: str
    """GitHub's environment whose jobs may deploy."""
    branch: str
    """The branch whose jobs may deploy."""
    deploys: Sequence[Grant]
    """What who deploys may do in the project."""
    reads: Sequence[Grant]
    """What who previews may do in the project."""
    reads_besides: Sequence[str]
    """Permissions for previews that no role of Google's has without much else."""
    labels: NotRequired[Mapping[str, str]]
    """Labels of what bills."""
    keep_data: NotRequired[bool]
    """Refuse to delete bucket, key, pool and role until this is unset again."""
    python: Sequence[str]
    """The command that starts Python with this project's packages on the deployer's machine."""


class Ci(pulumi.ComponentResource):
    """State, key, identity pool and two accounts. Its outputs are known once all of it works."""

    backend: pulumi.Output[str]
    """`gs://BUCKET`."""
    secrets_provider: pulumi.Output[str]
    """`gcpkms://…`."""
    providers: Mapping[Purpose, pulumi.Output[str]]
    """Full name of the provider for each purpose."""
    accounts: Mapping[Purpose, pulumi.Output[str]]
    """Address of the account for each purpose."""
    receipt: pulumi.Output[Mapping[str, object]]
    """What the check found."""

    def __init__(self, name: str, args: CiArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("llm-endpoint:gcp:Ci", name, {"project": args["project"]}, opts)
        child = pulumi.ResourceOptions(parent=self)
        keep_data = args.get("keep_data", False)
        on = _apis(name, args["project"], child)
        store = StateStore(
            f"{name}-state",
            {
                "project": on["cloudkms"],
                "location": args["location"],
                "bucket_name": args["bucket_name"],
                "key_ring": args["unique_name"],
                "labels": args.get("labels", {}),
                "keep_data": keep_data,
            },
            child,
        )
        federation = Federation(
            name,
            {
                "project": on["iam"],
                "pool_id": args["unique_name"],
                "repository": args["repository"],
                "environment": args["environment"],
                "branch": args["branch"],
                "shown_as": "llm-endpoint: GitHub workflows",
                "keep": keep_data,
            },
            child,
        )
        parts = _Parts(
            pulumi.Output.all(on["iam"], on["cloudresourcemanager"])[0], store, federation, child
        )
        accounts: dict[Purpose, WorkflowAccount] = {
            "preview": _previewer(name, args, parts),
            "deploy": _deployer(name, args, parts),
        }
        check = local.Command(
            f"{name}-verification",
            create=shlex.join([*args["python"], "-m", "scripts.gcp.ci_check"]),
            environment={VARIABLE: _wanted(args["project"], store, federation, accounts)},
            triggers=[
                store.identity,
                # A workflow's token goes through these, and nothing else here waits for them.
                on["sts"],
                on["iamcredentials"],
                *(account.identity for account in accounts.values()),
            ],
            # The receipt is shown as an output; the log gets the progress.
            logging=local.Logging.STDERR,
            opts=child,
        )
        self.receipt = check.stdout.apply(_read)
        self.backend = once(store.backend, check.id)
        self.secrets_provider = once(store.secrets_provider, check.id)
        self.providers = {
            purpose: once(full, check.id) for purpose, full in federation.providers.items()
        }
        self.accounts = {
            purpose: once(account.email, check.id) for purpose, account in accounts.items()
        }
        self.register_outputs({"backend": self.backend, "secrets_provider": self.secrets_provider})


def _apis(
    name: str, project: str, opts: pulumi.ResourceOptions
) -> Mapping[str, pulumi.Output[str]]:
    """Turn the APIs on; return the project, of each known once that one is."""
    return {
        api: gcp.projects.Service(
            f"{name}-{api}-api",
            project=project,
            service=f"{api}.googleapis.com",
            # Others may use it.
            disable_on_destroy=False,
            opts=opts,
        ).project
        for api in APIS
        # The bucket turns its own on.
        if api != "storage"
    }


@dataclass(frozen=True)
class _Parts:
    """What the two accounts share. `project` is known once accounts can be made in it."""

    project: pulumi.Output[str]
    store: StateStore
    federation: Federation
    opts: pulumi.ResourceOptions


def _previewer(name: str, args: CiArgs, parts: _Parts) -> WorkflowAccount:
    return WorkflowAccount(
        f"{name}-preview",
        {
            "project": parts.project,
            "account_id": args["account_ids"]["preview"],
            "shown_as": "Previews of pull requests: reads, and decrypts the state",
            "principals": parts.federation.principals("preview"),
            "grants": args["reads"],
            "permissions": args["reads_besides"],
            "role_id": args["role_id"],
            "keep": args.get("keep_data", False),
            "bucket": parts.store.bucket,
            "bucket_role": READS_STATE,
            "key": parts.store.key,
            "key_role": DECRYPTS,
        },
        parts.opts,
    )


def _deployer(name: str, args: CiArgs, parts: _Parts) -> WorkflowAccount:
    return WorkflowAccount(
        f"{name}-deploy",
        {
            "project": parts.project,
            "account_id": args["account_ids"]["deploy"],
            "shown_as": "Deployments from one branch, each of them approved",
            "principals": parts.federation.principals("deploy"),
            "grants": args["deploys"],
            "bucket": parts.store.bucket,
            "bucket_role": WRITES_STATE,
            "key": parts.store.key,
            "key_role": DECRYPTS,
        },
        parts.opts,
    )


def _wanted(
    project: str,
    store: StateStore,
    federation: Federation,
    accounts: Mapping[Purpose, WorkflowAccount],
) -> pulumi.Output[str]:
    """Return what the check is told to find, as JSON."""
    names = [federation.providers[purpose] for purpose in PURPOSES]
    emails = [accounts[purpose].email for purpose in PURPOSES]
    principals = [federation.principals(purpose) for purpose in PURPOSES]

    def written(values: Sequence[str]) -> str:
        bucket, key, pool, *rest = values
        providers, addresses, members = rest[:2], rest[2:4], rest[4:]
        return Wanted(
            project=project,
            bucket=bucket,
            key=key,
            pool=pool,
            issuer=ISSUER,
            providers=tuple(
                Provider(full, federation.conditions[purpose], mapping(purpose))
                for purpose, full in zip(PURPOSES, providers, strict=True)
            ),
            accounts=tuple(
                Account(email, who) for email, who in zip(addresses, members, strict=True)
            ),
        ).as_json()

    found = [store.bucket, store.key, federation.pool, *names, *emails, *principals]
    return pulumi.Output.all(*found).apply(written)


def _read(stdout: str) -> Mapping[str, object]:
    return json.loads(stdout)
