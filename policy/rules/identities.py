"""Machines have an identity of their own, and no wider scopes than that makes harmless."""

from __future__ import annotations

from collections.abc import Iterator

from policy.resources import Resource, at, text, texts
from policy.rule import AnyRule, Options, Rule, Violation
from policy.rules.machines import is_machine
from policy.rules.node_pools import has_default_pool

_DEFAULTS = "-compute@developer.gserviceaccount.com", "@appspot.gserviceaccount.com"
_SCOPE = "https://www.googleapis.com/auth/"
_BROAD = frozenset(
    f"{prefix}{scope}"
    for prefix in (_SCOPE, "")
    for scope in (
        *("cloud-platform", "compute", "devstorage.full_control", "devstorage.read_write"),
        *("compute-rw", "storage-full", "storage-rw"),
    )
)
"""By Google's names and by gcloud's (cloud.google.com/sdk/gcloud/reference, --scopes)."""
_OWN = "the components give each stack's machines a service account of their own"


def _own_identity(resource: Resource, _: Options) -> Iterator[Violation]:
    if is_machine(resource):
        if at(resource.props, "serviceAccount") is None:
            # It has no identity at all.
            return
        # With an account of its own, roles limit a machine and scopes need not: Google's advice
        # (cloud.google.com/compute/docs/access/service-accounts, "Scopes best practice").
        yield from _account(resource, text(resource.props, "serviceAccount", "email"))
    elif resource.is_of("gcp", "NodePool", "Cluster"):
        first_go = resource.kind == "Cluster" and not has_default_pool(resource)
        # Till they go they run as something too, where it is said.
        if first_go and at(resource.props, "nodeConfig") is None:
            return
        for scope in texts(resource.props, "nodeConfig", "oauthScopes"):
            if scope in _BROAD:
                yield Violation(
                    resource,
                    scope.removeprefix(_SCOPE),
                    f"the nodes of {resource.name} have the scope {scope}: what runs on them takes "
                    "logging, monitoring and reading images",
                )
        yield from _account(resource, text(resource.props, "nodeConfig", "serviceAccount"))


def _account(resource: Resource, account: str) -> Iterator[Violation]:
    if not account or account == "default" or account.endswith(_DEFAULTS):
        yield Violation(
            resource,
            "account",
            f"{resource.name} runs as the project's default account, which may edit the project: "
            f"{_OWN}",
        )


RULES: tuple[AnyRule, ...] = (
    Rule(
        "own-identity",
        "Machines run as an account of their own, and nodes have narrow scopes",
        "mandatory",
        _own_identity,
    ),
)
