"""Taking up what a killed pulumi was creating in a cloud, so that `up` and `down` know of it.

What was being created stands in the state as a pending operation, with its inputs and without an
id. Names are fixed here, so the id is known all the same, and `pulumi import` asks the cloud for
it. What was being created in the place of a deleted one of the same id still stands in the state,
marked as being replaced: without that mark, the next refresh finds what is there now. What is not
there after all is left to `up`, which creates it.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from scripts.bootstrap import exported, stack
from scripts.bootstrap.console import BootstrapError, note
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.pulumi_cli import Cli

_GLOBAL = "projects/{project}/global"
_REGIONAL = "projects/{project}/regions/{region}"
_ZONAL = "projects/{project}/zones/{zone}"

_CERTIFICATES = "projects/{project}/locations/global"

IDENTITIES: Mapping[str, str] = {
    "gcp:certificatemanager/certificate:Certificate": f"{_CERTIFICATES}/certificates/{{name}}",
    "gcp:certificatemanager/certificateMap:CertificateMap": (
        f"{_CERTIFICATES}/certificateMaps/{{name}}"
    ),
    "gcp:certificatemanager/certificateMapEntry:CertificateMapEntry": (
        f"{_CERTIFICATES}/certificateMaps/{{map}}/certificateMapEntries/{{name}}"
    ),
    "gcp:certificatemanager/dnsAuthorization:DnsAuthorization": (
        f"{_CERTIFICATES}/dnsAuthorizations/{{name}}"
    ),
    "gcp:compute/address:Address": f"{_REGIONAL}/addresses/{{name}}",
    "gcp:compute/disk:Disk": f"{_ZONAL}/disks/{{name}}",
    "gcp:compute/firewall:Firewall": f"{_GLOBAL}/firewalls/{{name}}",
    "gcp:compute/globalAddress:GlobalAddress": f"{_GLOBAL}/addresses/{{name}}",
    "gcp:compute/healthCheck:HealthCheck": f"{_GLOBAL}/healthChecks/{{name}}",
    "gcp:compute/instance:Instance": f"{_ZONAL}/instances/{{name}}",
    "gcp:compute/instanceGroupManager:InstanceGroupManager": (
        f"{_ZONAL}/instanceGroupManagers/{{name}}"
    ),
    "gcp:compute/network:Network": f"{_GLOBAL}/networks/{{name}}",
    "gcp:compute/resourcePolicy:ResourcePolicy": f"{_REGIONAL}/resourcePolicies/{{name}}",
    "gcp:compute/router:Router": f"{_REGIONAL}/routers/{{name}}",
    "gcp:compute/routerNat:RouterNat": "{project}/{region}/{router}/{name}",
    "gcp:compute/securityPolicy:SecurityPolicy": f"{_GLOBAL}/securityPolicies/{{name}}",
    "gcp:compute/subnetwork:Subnetwork": f"{_REGIONAL}/subnetworks/{{name}}",
    "gcp:container/cluster:Cluster": "projects/{project}/locations/{location}/clusters/{name}",
    "gcp:container/nodePool:NodePool": "{project}/{location}/{cluster}/{name}",
    "gcp:dns/recordSet:RecordSet": (
        "projects/{project}/managedZones/{managedZone}/rrsets/{name}/{type}"
    ),
    "gcp:projects/iAMCustomRole:IAMCustomRole": "projects/{project}/roles/{roleId}",
    "gcp:secretmanager/secret:Secret": "projects/{project}/secrets/{secretId}",
    "gcp:storage/bucket:Bucket": "{project}/{name}",
    "gcp:serviceaccount/account:Account": (
        "projects/{project}/serviceAccounts/{accountId}@{project}.iam.gserviceaccount.com"
    ),
}
"""How the provider names a resource by its inputs: its documentation's pages, "Import"."""

_KUBERNETES = "kubernetes:"
_DEFAULT_PROVIDER = re.compile(r"::default_(\d+)_(\d+)_(\d+)(?:::|$)")
_ABSENT = "does not exist"
"""What the engine says of a resource that the provider does not find (`pulumi import`)."""


@dataclass(frozen=True)
class Orphan:
    """One resource that may be in the cloud and is not in the state.

    `specification` is what `pulumi import --file` takes.
    """

    urn: str
    identity: str
    specification: Mapping[str, object]

    @property
    def name(self) -> str:
        """The resource's name in the program."""
        return _name(self.urn)


def orphans(operations: Iterator[exported.Operation], known: frozenset[str]) -> Iterator[Orphan]:
    """Yield what can be imported of pending `operations`; `known` are the state's URNs."""
    met = set(known)
    for operation in operations:
        resource = operation["resource"]
        urn, kind = resource["urn"], resource.get("type", "")
        identity = _identity(resource)
        if operation["type"] != "creating" or urn in met or identity is None:
            continue
        met.add(urn)
        entry: dict[str, object] = {
            "type": kind,
            "name": _name(urn),
            "id": identity,
        }
        names: dict[str, str] = {}
        if parent := resource.get("parent"):
            entry["parent"], names["parent"] = "parent", parent
        provider = resource.get("provider", "")
        if version := _DEFAULT_PROVIDER.search(provider):
            entry["version"] = ".".join(version.groups())
        elif provider:
            # One of the program's own: its URN, without the id that follows.
            entry["provider"], names["provider"] = "provider", provider.rpartition("::")[0]
        yield Orphan(urn, identity, {"nameTable": names, "resources": [entry]})


def _identity(resource: exported.Resource) -> str | None:
    """Return the id that `resource` has by its inputs; None where they don't make it."""
    inputs = resource.get("inputs", {})
    if resource.get("type", "").startswith(_KUBERNETES):
        return _name_in_cluster(inputs.get("metadata"))
    template = IDENTITIES.get(resource.get("type", ""))
    plain = {key: value for key, value in inputs.items() if isinstance(value, str)}
    try:
        return template and template.format_map(plain)
    except KeyError:
        return None


def _name_in_cluster(metadata: object) -> str | None:
    """Return the id that the provider for Kubernetes gives an object: `NAMESPACE/NAME`, or NAME."""
    if not isinstance(metadata, dict):
        return None
    named = cast("dict[str, object]", metadata)
    namespace, name = named.get("namespace"), named.get("name")
    if not isinstance(name, str):
        return None
    return f"{namespace}/{name}" if isinstance(namespace, str) else name


def _name(urn: str) -> str:
    return urn.rsplit("::", 1)[-1]


def replaced(export: exported.Export) -> tuple[exported.Export, tuple[str, ...]]:
    """Return `export` with what was being made anew under its old id as if it were there.

    Beside it the URNs of such resources: those with the mark, whose creation is pending.
    """
    deployment = export.get("deployment") or exported.Deployment()
    resources = deployment.get("resources") or []
    operations = deployment.get("pending_operations") or []
    marked = {one["urn"]: one.get("id") for one in resources if one.get("pendingReplacement")}
    again = {
        one["resource"]["urn"]
        for one in operations
        if one["type"] == "creating" and _is_under(one["resource"], marked)
    }
    if not again:
        return export, ()
    for one in resources:
        if one["urn"] in again:
            one.pop("pendingReplacement", None)
    deployment["pending_operations"] = [
        one for one in operations if one["resource"]["urn"] not in again
    ]
    return export, tuple(sorted(again))


def _is_under(resource: exported.Resource, marked: Mapping[str, str | None]) -> bool:
    """Whether `resource` will have the id under which `marked` has it."""
    identity = _identity(resource)
    return identity is not None and marked.get(resource["urn"]) == identity


def adopt(
    checkout: Checkout, name: str, cli: Cli, environment: Mapping[str, str]
) -> frozenset[str]:
    """Take up what a killed pulumi left of the stack `name`.

    Returns the URNs of which it is known how they stand: taken up, or not there. Raises
    `BootstrapError` where the state can't be read or written.
    """
    export, again = replaced(exported.export(checkout, name, cli, environment))
    if again:
        _write(export, checkout, name, cli, environment)
        for urn in again:
            note(f"{_name(urn)}, which a killed pulumi was replacing, is looked for again.")
    deployment = export.get("deployment") or exported.Deployment()
    known = frozenset(resource["urn"] for resource in exported.resources(export))
    settled = set(again)
    for orphan in orphans(iter(deployment.get("pending_operations") or []), known):
        said = _import(orphan, checkout, name, cli, environment)
        if said is None:
            note(f"Took up {orphan.identity}, which a killed pulumi had begun.")
        if said is None or _ABSENT in said:
            settled.add(orphan.urn)
        else:
            note(f"note: {orphan.identity} may be left of a killed pulumi: {said[-300:]}")
    return frozenset(settled)


def _write(
    export: exported.Export, checkout: Checkout, name: str, cli: Cli, environment: Mapping[str, str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.json"
        file.write_text(json.dumps(export), encoding="utf-8")
        done = stack.run(
            checkout, cli, environment, ["stack", "import", "--file", str(file), "--stack", name]
        )
    if done.returncode != 0:
        raise BootstrapError(
            f"the state of {name} can't be written: {stack.complaint(done)}", "see that message"
        )


def _import(
    orphan: Orphan, checkout: Checkout, name: str, cli: Cli, environment: Mapping[str, str]
) -> str | None:
    """Return what the CLI said where it could not import; None where it could."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "import.json"
        file.write_text(json.dumps(orphan.specification), encoding="utf-8")
        options = ("--yes", "--protect=false", "--generate-code=false", "--skip-preview")
        done = stack.run(
            checkout,
            cli,
            environment,
            ["import", "--file", str(file), *options, "--stack", name],
        )
    return None if done.returncode == 0 else (done.stdout + done.stderr).strip()
