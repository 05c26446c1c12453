"""Who a machine is, and what it may read: its own secrets and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_gcp as gcp
from pulumi_command import local

from components.targets import authority
from components.targets.gcp.site import Site
from components.targets.order import once

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
"""Secret Manager takes no narrower scope (cloud.google.com/secret-manager/docs/accessing-the-api):
IAM is what limits."""
READER = "roles/secretmanager.secretAccessor"


@dataclass(frozen=True)
class StoredSecret:
    """A secret in Secret Manager: its newest version, and the right to read it."""

    version: gcp.secretmanager.SecretVersion
    reader: gcp.secretmanager.SecretIamMember


@dataclass(frozen=True)
class Authority:
    """The certificate authority of one endpoint: its certificate, plain, and where its key is."""

    certificate: pulumi.Output[str]
    secret: StoredSecret


def service_account(site: Site) -> gcp.serviceaccount.Account:
    """Make the machine's identity, which may do nothing by itself."""
    return gcp.serviceaccount.Account(
        f"{site.name}-account",
        project=site.api("iam"),
        account_id=site.account_id(),
        display_name=f"The machine of {site.base_name}",
        opts=site.named(),
    )


def stored_secret(
    site: Site,
    purpose: str,
    secret_id: str,
    data: pulumi.Output[str],
    *,
    project: pulumi.Output[str],
    account: gcp.serviceaccount.Account,
) -> StoredSecret:
    """Store `data` as the newest version of the secret `secret_id`, for `account` to read.

    Changed data makes a new version, and destroys the old one once nothing needs it.
    """
    secret = gcp.secretmanager.Secret(
        f"{site.name}-{purpose}-secret",
        project=project,
        secret_id=secret_id,
        replication={"auto": {}},
        labels=site.labels,
        opts=site.named(),
    )
    version = gcp.secretmanager.SecretVersion(
        f"{site.name}-{purpose}-version",
        secret=secret.id,
        secret_data=data,
        deletion_policy="DELETE",
        opts=site.child(),
    )
    reader = gcp.secretmanager.SecretIamMember(
        f"{site.name}-{purpose}-reader",
        project=secret.project,
        secret_id=secret.secret_id,
        role=READER,
        member=account.member,
        opts=site.child(),
    )
    return StoredSecret(version, reader)


def stored_keys(
    site: Site,
    secret_id: str,
    keys: Mapping[str, local.Command],
    *,
    project: pulumi.Output[str],
    account: gcp.serviceaccount.Account,
) -> StoredSecret:
    """Store all keys as one JSON object, key by its name."""
    printed = {name: command.stdout for name, command in keys.items()}
    data = pulumi.Output.json_dumps(printed, sort_keys=True)
    return stored_secret(site, "keys", secret_id, data, project=project, account=account)


def own_authority(
    site: Site,
    secret_id: str,
    host: pulumi.Input[str],
    python: Sequence[str],
    *,
    project: pulumi.Output[str],
    account: gcp.serviceaccount.Account,
) -> Authority:
    """Make an authority that can sign for `host` (an address or a name) alone, and store it."""
    made = authority.own_authority(site.name, host, python, site.parent)
    secret = stored_secret(site, "ca", secret_id, made.stdout, project=project, account=account)
    return Authority(authority.certificate(made.stdout), secret)


def email_once_it_may_read(
    account: gcp.serviceaccount.Account, secrets: Sequence[StoredSecret]
) -> pulumi.Output[str]:
    """Return the account's address, known once it may read `secrets`: no machine boots before."""
    return once(account.email, *(secret.reader.id for secret in secrets))
