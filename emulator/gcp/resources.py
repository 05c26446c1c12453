"""The resource types that are served: their ids, what the cloud adds, what a change replaces.

Ids and added outputs: the resources' pages in the Terraform provider's documentation, "Import"
and "Attributes Reference"; what replaces: its schema's `ForceNew`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Plain = bool | float | str | list["Plain"] | dict[str, "Plain"] | None
Fields = dict[str, Plain]


@dataclass(frozen=True)
class Where:
    """The provider's own project, region and zone, for resources that name none."""

    project: str
    region: str
    zone: str


@dataclass(frozen=True)
class Kind:
    """One resource type.

    `id` is a format over the inputs, with `project`, `region` and `zone` filled in. `adds` returns
    what the cloud adds to the inputs, given the inputs (so filled) and the id. A change of an
    input in `replacing`, or of what is in it, makes another resource; a name in an object or a
    list follows a dot. `may_be_there`: making one that is there already is no error.
    """

    id: str
    replacing: frozenset[str] = frozenset({"name", "project", "region", "zone"})
    adds: Callable[[Fields, str], Fields] = field(default=lambda inputs, identity: {})
    may_be_there: bool = False


def number(text: str) -> str:
    """A number such as the cloud gives a resource, the same for the same text."""
    return str(int(hashlib.sha256(text.encode()).hexdigest()[:15], 16))


def _linked(inputs: Fields, identity: str) -> Fields:
    return {"selfLink": f"https://www.googleapis.com/compute/v1/{identity}"}


def _account(inputs: Fields, identity: str) -> Fields:
    email = f"{inputs['accountId']}@{inputs['project']}.iam.gserviceaccount.com"
    return {
        "email": email,
        "member": f"serviceAccount:{email}",
        "name": f"projects/{inputs['project']}/serviceAccounts/{email}",
        "uniqueId": number(email),
    }


def _secret(inputs: Fields, identity: str) -> Fields:
    project = number(str(inputs["project"]))
    return {"name": f"projects/{project}/secrets/{inputs['secretId']}"}


def _instance(inputs: Fields, identity: str) -> Fields:
    return {
        **_linked(inputs, identity),
        "instanceId": number(identity),
        "cpuPlatform": "Intel Broadwell",
        "labelFingerprint": "",
    }


def _role(inputs: Fields, identity: str) -> Fields:
    return {"name": identity}


def _template(inputs: Fields, identity: str) -> Fields:
    linked = f"https://www.googleapis.com/compute/v1/{identity}"
    return {"selfLink": linked, "selfLinkUnique": f"{linked}?uniqueId={number(identity)}"}


def _numbered(kind: str) -> Callable[[Fields, str], Fields]:
    """Return what adds the name of a resource that the cloud knows by a number alone."""
    return lambda inputs, identity: {"name": f"{kind}/{number(identity)}"}


ADDRESS = "gcp:compute/address:Address"
API = "gcp:projects/service:Service"
DISK = "gcp:compute/disk:Disk"
SECRET_VERSION = "gcp:secretmanager/secretVersion:SecretVersion"  # noqa: S105 (a type's name)
INSTANCE = "gcp:compute/instance:Instance"
PROJECT = "gcp:organizations/getProject:getProject"

_COMPUTE = "projects/{project}/global/"
_ZONAL = "projects/{project}/zones/{zone}/"
_REGIONAL = "projects/{project}/regions/{region}/"
_ALL = frozenset({"*"})
"""Every input replaces."""

TYPES: Mapping[str, Kind] = {
    API: Kind("{project}/{service}", frozenset({"project", "service"}), may_be_there=True),
    "gcp:compute/network:Network": Kind(
        _COMPUTE + "networks/{name}",
        frozenset({"name", "project", "autoCreateSubnetworks"}),
        _linked,
    ),
    "gcp:compute/subnetwork:Subnetwork": Kind(
        _REGIONAL + "subnetworks/{name}",
        frozenset({"name", "project", "region", "network"}),
        _linked,
    ),
    "gcp:compute/firewall:Firewall": Kind(
        _COMPUTE + "firewalls/{name}",
        frozenset({"name", "project", "network", "direction"}),
        _linked,
    ),
    DISK: Kind(
        _ZONAL + "disks/{name}", frozenset({"name", "project", "zone", "type", "image"}), _linked
    ),
    "gcp:compute/resourcePolicy:ResourcePolicy": Kind(
        _REGIONAL + "resourcePolicies/{name}",
        frozenset({"name", "project", "region"}),
        _linked,
    ),
    "gcp:serviceaccount/account:Account": Kind(
        "projects/{project}/serviceAccounts/{accountId}@{project}.iam.gserviceaccount.com",
        frozenset({"accountId", "project"}),
        _account,
    ),
    "gcp:secretmanager/secret:Secret": Kind(
        "projects/{project}/secrets/{secretId}", frozenset({"secretId", "project"}), _secret
    ),
    "gcp:secretmanager/secretIamMember:SecretIamMember": Kind(
        "{secretId}/{role}/{member}", _ALL, may_be_there=True
    ),
    "gcp:dns/recordSet:RecordSet": Kind(
        "projects/{project}/managedZones/{managedZone}/rrsets/{name}/{type}",
        frozenset({"name", "type", "managedZone", "project"}),
    ),
    "gcp:compute/resourcePolicyAttachment:ResourcePolicyAttachment": Kind(
        "{project}/{zone}/{instance}/{name}", _ALL
    ),
    "gcp:compute/instanceIAMMember:InstanceIAMMember": Kind(
        _ZONAL + "instances/{instanceName}/{role}/{member}", _ALL, may_be_there=True
    ),
    "gcp:projects/iAMCustomRole:IAMCustomRole": Kind(
        "projects/{project}/roles/{roleId}", frozenset({"roleId", "project"}), _role
    ),
    "gcp:projects/iAMMember:IAMMember": Kind("{project}/{role}/{member}", _ALL, may_be_there=True),
    "gcp:tags/tagKey:TagKey": Kind(
        "tagKeys/{shortName}", frozenset({"parent", "shortName"}), _numbered("tagKeys")
    ),
    "gcp:tags/tagValue:TagValue": Kind(
        "tagValues/{parent}-{shortName}", frozenset({"parent", "shortName"}), _numbered("tagValues")
    ),
    "gcp:compute/healthCheck:HealthCheck": Kind(
        _COMPUTE + "healthChecks/{name}", frozenset({"name", "project"}), _linked
    ),
    "gcp:compute/instanceTemplate:InstanceTemplate": Kind(
        _COMPUTE + "instanceTemplates/{namePrefix}{unique}", _ALL, _template
    ),
    "gcp:compute/instanceGroupManager:InstanceGroupManager": Kind(
        _ZONAL + "instanceGroupManagers/{name}",
        frozenset({"name", "project", "zone", "baseInstanceName", "params"}),
        _linked,
    ),
    "gcp:compute/perInstanceConfig:PerInstanceConfig": Kind(
        _ZONAL + "instanceGroupManagers/{instanceGroupManager}/{name}",
        frozenset({"name", "project", "zone", "instanceGroupManager"}),
    ),
    ADDRESS: Kind(
        _REGIONAL + "addresses/{name}", frozenset({"name", "project", "region"}), _linked
    ),
    SECRET_VERSION: Kind("{secret}/versions/{version}", _ALL),
    INSTANCE: Kind(
        _ZONAL + "instances/{name}",
        frozenset(
            {
                *("name", "project", "zone", "metadataStartupScript", "guestAccelerators"),
                *("bootDisk.initializeParams.image", "bootDisk.initializeParams.type"),
                *("networkInterfaces.network", "networkInterfaces.subnetwork"),
                *("scheduling.preemptible", "scheduling.provisioningModel"),
            }
        ),
        _instance,
    ),
}


def replaces(kind: Kind, path: Sequence[str | int]) -> bool:
    """Whether a change of the input at `path` makes another resource."""
    if kind.replacing == _ALL:
        return True
    names = [step for step in path if isinstance(step, str)]
    return any(".".join(names[:count]) in kind.replacing for count in range(1, len(names) + 1))
