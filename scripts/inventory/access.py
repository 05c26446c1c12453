"""Who may do what: roles and their members, what identities are let in, scopes, RBAC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from emulator.mocks.recording import Registration
from scripts.inventory.values import each, text

_ON = ("bucket", "secretId", "instanceName", "serviceAccountId", "cryptoKeyId", "project")
"""Where a role is given, the narrowest first."""


def access(one: Registration) -> Iterable[str]:
    """Yield a line for each right that `one` gives, or that it uses."""
    inputs = one.without_secrets()
    # A binding has several, and takes the role from everybody else.
    members = [text(inputs, "member"), *(text(named) for named in each(inputs, "members"))]
    for member in filter(None, members):
        where = next((f"{key} {text(inputs, key)}" for key in _ON if text(inputs, key)), one.name)
        when = text(inputs, "condition", "expression")
        yield f"{member} gets {text(inputs, 'role')} on {where}{f', if {when}' if when else ''}"
    kind = one.token.rpartition(":")[2]
    if kind == "IAMCustomRole":
        yield f"role {text(inputs, 'roleId')} may {text(inputs, 'permissions')}"
    if kind == "WorkloadIdentityPoolProvider":
        provider = text(inputs, "workloadIdentityPoolProviderId")
        issuer, condition = text(inputs, "oidc", "issuerUri"), text(inputs, "attributeCondition")
        yield f"provider {provider} takes {issuer}, if {condition}"
    for account, scopes in _SCOPES.get(kind, ()):
        if text(inputs, *account):
            names = [_scope(text(scope)) for scope in each(inputs, *scopes)]
            yield f"{kind} {one.name} is {text(inputs, *account)}, scopes {', '.join(names)}"
    if kind in ("Role", "ClusterRole"):
        for rule in each(inputs, "rules"):
            named = text(rule, "resourceNames")
            what = f"{text(rule, 'verbs')} of {text(rule, 'resources')}"
            yield f"{kind} {one.name} may {what}{f' named {named}' if named else ''}"
    if kind in ("RoleBinding", "ClusterRoleBinding"):
        for subject in each(inputs, "subjects"):
            whom = f"{text(subject, 'namespace')}/{text(subject, 'name')}"
            role = f"{text(inputs, 'roleRef', 'kind')} {text(inputs, 'roleRef', 'name')}"
            yield f"{text(subject, 'kind')} {whom} gets {role}"


def _scope(scope: str) -> str:
    return scope.rpartition("/")[2]


_NODES = (("nodeConfig", "serviceAccount"), ("nodeConfig", "oauthScopes"))
_MACHINE = (("serviceAccount", "email"), ("serviceAccount", "scopes"))
_SCOPES: Mapping[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]] = {
    "Instance": (_MACHINE,),
    "InstanceTemplate": (_MACHINE,),
    "NodePool": (_NODES,),
}
"""Where a kind says which account it runs as, and with which scopes."""
