"""The resource types that are served: their ids, what the cloud adds, what a change replaces.

Ids and added outputs: the resources' pages in the Terraform provider's documentation, "Import"
and "Attributes Reference"; what replaces: its schema's `ForceNew`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .certificates import CERTIFICATE_TYPES
from .federation import FEDERATION_TYPES
from .gke import GKE_TYPES
from .kind import ALL, COMPUTE, REGIONAL, ZONAL, Fields, Kind, linked, number
from .storage import STORAGE_TYPES


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
        **linked(inputs, identity),
        "instanceId": number(identity),
        "cpuPlatform": "Intel Broadwell",
        "labelFingerprint": "",
    }


def _role(inputs: Fields, identity: str) -> Fields:
    return {"name": identity}


def _template(inputs: Fields, identity: str) -> Fields:
    link = f"https://www.googleapis.com/compute/v1/{identity}"
    return {"selfLink": link, "selfLinkUnique": f"{link}?uniqueId={number(identity)}"}


def _numbered(kind: str) -> Callable[[Fields, str], Fields]:
    """Return what adds the name of a resource that the cloud knows by a number alone."""
    return lambda inputs, identity: {"name": f"{kind}/{number(identity)}"}


ADDRESS = "gcp:compute/address:Address"
GLOBAL_ADDRESS = "gcp:compute/globalAddress:GlobalAddress"
API = "gcp:projects/service:Service"
DISK = "gcp:compute/disk:Disk"
SECRET_VERSION = "gcp:secretmanager/secretVersion:SecretVersion"  # noqa: S105 (a type's name)
INSTANCE = "gcp:compute/instance:Instance"
PROJECT = "gcp:organizations/getProject:getProject"

TYPES: Mapping[str, Kind] = {
    API: Kind("{project}/{service}", frozenset({"project", "service"}), may_be_there=True),
    "gcp:compute/network:Network": Kind(
        COMPUTE + "networks/{name}",
        frozenset({"name", "project", "autoCreateSubnetworks"}),
        linked,
        is_held=True,
    ),
    "gcp:compute/subnetwork:Subnetwork": Kind(
        REGIONAL + "subnetworks/{name}",
        frozenset({"name", "project", "region", "network"}),
        linked,
        is_held=True,
    ),
    "gcp:compute/firewall:Firewall": Kind(
        COMPUTE + "firewalls/{name}",
        frozenset({"name", "project", "network", "direction"}),
        linked,
    ),
    DISK: Kind(
        ZONAL + "disks/{name}", frozenset({"name", "project", "zone", "type", "image"}), linked
    ),
    "gcp:compute/resourcePolicy:ResourcePolicy": Kind(
        REGIONAL + "resourcePolicies/{name}",
        frozenset({"name", "project", "region"}),
        linked,
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
        "{secretId}/{role}/{member}", ALL, may_be_there=True
    ),
    "gcp:dns/recordSet:RecordSet": Kind(
        "projects/{project}/managedZones/{managedZone}/rrsets/{name}/{type}",
        frozenset({"name", "type", "managedZone", "project"}),
    ),
    "gcp:compute/resourcePolicyAttachment:ResourcePolicyAttachment": Kind(
        "{project}/{zone}/{instance}/{name}", ALL
    ),
    "gcp:compute/instanceIAMMember:InstanceIAMMember": Kind(
        ZONAL + "instances/{instanceName}/{role}/{member}", ALL, may_be_there=True
    ),
    "gcp:projects/iAMCustomRole:IAMCustomRole": Kind(
        "projects/{project}/roles/{roleId}", frozenset({"roleId", "project"}), _role
    ),
    "gcp:projects/iAMMember:IAMMember": Kind("{project}/{role}/{member}", ALL, may_be_there=True),
    "gcp:tags/tagKey:TagKey": Kind(
        "tagKeys/{shortName}", frozenset({"parent", "shortName"}), _numbered("tagKeys")
    ),
    "gcp:tags/tagValue:TagValue": Kind(
        "tagValues/{parent}-{shortName}", frozenset({"parent", "shortName"}), _numbered("tagValues")
    ),
    "gcp:compute/healthCheck:HealthCheck": Kind(
        COMPUTE + "healthChecks/{name}", frozenset({"name", "project"}), linked
    ),
    "gcp:compute/instanceTemplate:InstanceTemplate": Kind(
        COMPUTE + "instanceTemplates/{namePrefix}{unique}", ALL, _template
    ),
    "gcp:compute/instanceGroupManager:InstanceGroupManager": Kind(
        ZONAL + "instanceGroupManagers/{name}",
        frozenset({"name", "project", "zone", "baseInstanceName", "params"}),
        linked,
    ),
    "gcp:compute/perInstanceConfig:PerInstanceConfig": Kind(
        ZONAL + "instanceGroupManagers/{instanceGroupManager}/{name}",
        frozenset({"name", "project", "zone", "instanceGroupManager"}),
    ),
    "gcp:compute/router:Router": Kind(
        REGIONAL + "routers/{name}",
        frozenset({"name", "project", "region", "network", "params"}),
        linked,
    ),
    "gcp:compute/routerNat:RouterNat": Kind(
        "{project}/{region}/{router}/{name}",
        frozenset({"name", "project", "region", "router", "type", "endpointTypes"}),
    ),
    "gcp:compute/securityPolicy:SecurityPolicy": Kind(
        COMPUTE + "securityPolicies/{name}", frozenset({"name", "project", "type"}), linked
    ),
    GLOBAL_ADDRESS: Kind(
        COMPUTE + "addresses/{name}",
        frozenset({"name", "project", "address", "addressType", "description", "ipVersion"}),
        linked,
    ),
    ADDRESS: Kind(REGIONAL + "addresses/{name}", frozenset({"name", "project", "region"}), linked),
    SECRET_VERSION: Kind("{secret}/versions/{version}", ALL),
    INSTANCE: Kind(
        ZONAL + "instances/{name}",
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
    **GKE_TYPES,
    **CERTIFICATE_TYPES,
    **STORAGE_TYPES,
    **FEDERATION_TYPES,
}
