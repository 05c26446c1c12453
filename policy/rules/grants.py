"""Nobody gets more rights than what it does takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import cast

from policy.resources import Resource, at, each, text, texts
from policy.rule import AnyRule, Options, Rule, Violation
from policy.rules.ranges import EXCEPTION

_GRANT = re.compile(r"(?:IAM|Iam)(Member|Binding|Policy)$")
_BASIC = (
    *("roles/owner", "roles/editor", "roles/viewer"),
    *("roles/admin", "roles/writer", "roles/reader"),
)
"""The basic ones, and those that follow them (docs.cloud.google.com/iam/docs/roles-overview)."""
_HANDS_OUT = (
    "roles/iam.roleAdmin",
    "roles/iam.securityAdmin",
    "roles/iam.serviceAccountAdmin",
    "roles/iam.serviceAccountKeyAdmin",
    "roles/iam.serviceAccountOpenIdTokenCreator",
    "roles/iam.serviceAccountTokenCreator",
    "roles/iam.serviceAccountUser",
    "roles/iam.workloadIdentityPoolAdmin",
    "roles/iam.workloadIdentityUser",
    "roles/resourcemanager.folderAdmin",
    "roles/resourcemanager.organizationAdmin",
    "roles/resourcemanager.projectIamAdmin",
)
"""Whoever has one of them on a project can give itself any other, or be anybody there."""
_ESCALATES = re.compile(
    r"\.setIamPolicy$|^iam\.serviceAccounts\.(actAs|getAccessToken|getOpenIdToken|signBlob|signJwt"
    r"|implicitDelegation)$|^iam\.serviceAccountKeys\.create$|^iam\.roles\.(create|update)$"
    r"|^iam\.workloadIdentityPoolProviders\.(create|update)$|\*"
)
_EVERYBODY = ("allUsers", "allAuthenticatedUsers")
_EVERYBODY_IN_KUBERNETES = (
    *("system:authenticated", "system:unauthenticated", "system:anonymous"),
)
"""docs.cloud.google.com/kubernetes-engine/docs/best-practices/rbac, "default roles"."""
_GIVES_ITSELF_MORE = ("escalate", "bind", "impersonate")
_WIDE_MEMBER = re.compile(
    r"workloadIdentityPools/[^/]+/\*$|^domain:|^projectEditor:|^projectViewer:"
)
_ONE_REPOSITORY = re.compile(r"(?:^|&&)\s*assertion\.repository_id\s*==\s*(['\"])\d+\1")
_CLUSTER_ROLES = ("cluster-admin", "admin", "edit")
_PROJECT_LEVEL = re.compile(r"^gcp:(projects|folder|organizations)/")


def _narrow(resource: Resource, _: Options) -> Iterator[Violation]:
    if resource.type.startswith("gcp:"):
        kind = _GRANT.search(resource.kind)
        if kind is not None:
            yield from _grant(resource, authoritative=kind[1] != "Member")
        elif resource.kind == "IAMCustomRole":
            for permission in texts(resource.props, "permissions"):
                if _ESCALATES.search(permission):
                    yield Violation(
                        resource,
                        permission,
                        f"{resource.name} has {permission}, by which it can give itself more: "
                        f"name what it needs, {EXCEPTION}",
                    )
    else:
        yield from _narrow_in_kubernetes(resource)


def _narrow_in_kubernetes(resource: Resource) -> Iterator[Violation]:
    if resource.is_of("kubernetes", "ClusterRoleBinding", "RoleBinding"):
        role = text(resource.props, "roleRef", "name")
        for subject in each(resource.props, "subjects"):
            if text(subject, "name") in _EVERYBODY_IN_KUBERNETES:
                yield Violation(
                    resource,
                    text(subject, "name"),
                    f"{resource.name} grants {role} to {text(subject, 'name')}, which on GKE is "
                    "whoever has a Google account: name one account",
                )
        if text(resource.props, "roleRef", "kind") == "ClusterRole" and role in _CLUSTER_ROLES:
            yield Violation(
                resource, role, f"{resource.name} makes somebody {role}: write a Role of its own"
            )
    elif resource.is_of("kubernetes", "ClusterRole", "Role"):
        for rule in each(resource.props, "rules"):
            for verb in texts(rule, "verbs"):
                if verb in _GIVES_ITSELF_MORE:
                    yield Violation(
                        resource,
                        verb,
                        f"{resource.name} may {verb}, by which it can give itself more: name "
                        f"what it needs, {EXCEPTION}",
                    )
            for field in ("verbs", "resources", "apiGroups"):
                if "*" in texts(rule, field):
                    yield Violation(
                        resource, field, f"{resource.name} has {field} *: name those that it needs"
                    )


def _grant(resource: Resource, *, authoritative: bool) -> Iterator[Violation]:
    on_project = _PROJECT_LEVEL.match(resource.type) is not None
    if authoritative and on_project:
        yield Violation(
            resource,
            resource.kind,
            f"{resource.name} takes the project's other grants away: an IAMMember adds its own",
        )
    for granted in _granted(resource):
        yield from _binding(resource, granted, on_project=on_project)


def _granted(resource: Resource) -> Iterator[Mapping[str, object]]:
    """Yield what a grant grants, each with `role` and `member` or `members`."""
    policy = text(resource.props, "policyData")
    if not policy:
        yield resource.props
        return
    # A whole policy comes as JSON.
    told: object = json.loads(policy)
    for granted in each(told, "bindings"):
        yield cast("Mapping[str, object]", granted)


def _binding(
    resource: Resource, granted: Mapping[str, object], *, on_project: bool
) -> Iterator[Violation]:
    role = text(granted, "role")
    if role in _BASIC:
        yield Violation(
            resource,
            role,
            f"{resource.name} grants {role}, which is nearly everything: grant a role of one "
            "service, or one of its own (IAMCustomRole)",
        )
    if on_project and role in _HANDS_OUT and not text(granted, "condition", "expression"):
        yield Violation(
            resource,
            role,
            f"{resource.name} grants {role}, with which one can give oneself any other role, or be "
            "any account of the project: grant it on one account, or under a condition "
            f"(components/targets/gcp/grants.py), {EXCEPTION}",
        )
    for member in (text(granted, "member"), *texts(granted, "members")):
        if member in _EVERYBODY:
            yield Violation(
                resource,
                member,
                f"{resource.name} grants {role} to everybody ({member}): name one identity",
            )
        elif _WIDE_MEMBER.search(member):
            yield Violation(
                resource,
                "wide",
                f"{resource.name} grants {role} to all of a domain, a project or an identity pool: "
                "name one identity, or the pool's by an attribute",
            )


def _federation(resource: Resource, _: Options) -> Iterator[Violation]:
    if not resource.is_of("gcp", "WorkloadIdentityPoolProvider"):
        return
    condition = text(resource.props, "attributeCondition")
    if at(resource.props, "oidc") is None or "githubusercontent" not in text(
        resource.props, "oidc", "issuerUri"
    ):
        return
    if not _ONE_REPOSITORY.search(condition):
        yield Violation(
            resource,
            "condition",
            f"{resource.name} lets in the workflows of every repository on GitHub: its condition "
            "names one by its number (github_repository_id)",
        )
    elif "||" in condition:
        yield Violation(
            resource,
            "or",
            f"the condition of {resource.name} has an ||, behind which nothing may hold: write one "
            "provider for each case",
        )


RULES: tuple[AnyRule, ...] = (
    Rule(
        "narrow-grants",
        "No identity gets an owner's or editor's role, nor one to give itself more",
        "mandatory",
        _narrow,
    ),
    Rule(
        "bound-federation",
        "An identity pool lets in the workflows of one repository, by its number",
        "mandatory",
        _federation,
    ),
)
