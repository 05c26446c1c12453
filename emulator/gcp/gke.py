"""Clusters and node pools, as GKE keeps them: `container_cluster` and `container_node_pool`."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path

from emulator.plugin.errors import PluginError
from emulator.plugin.values import UNKNOWN, Properties, reveal

from .kind import Fields, Kind, Plain, number

CLUSTER = "gcp:container/cluster:Cluster"
NODE_POOL = "gcp:container/nodePool:NodePool"
GET_CLUSTER = "gcp:container/getCluster:getCluster"
SETTINGS = "kubernetes.json"

_CLUSTER_PATH = "projects/{project}/locations/{location}/clusters/{name}"
_NODE = (
    *("spot", "preemptible", "serviceAccount", "oauthScopes", "metadata", "minCpuPlatform"),
    *("localSsdCount", "shieldedInstanceConfig", "reservationAffinity", "guestAccelerators"),
    *("sandboxConfig", "bootDiskKmsKey", "hostMaintenancePolicy", "advancedMachineFeatures"),
    *("maxRunDuration", "flexStart", "secondaryBootDisks", "soleTenantConfig"),
)


def _cluster(inputs: Fields, identity: str) -> Fields:
    return {
        "selfLink": f"https://container.googleapis.com/v1/{identity}",
        "masterVersion": "1.34.4-gke.1000",
        "nodeLocations": inputs.get("nodeLocations") or [],
        "labelFingerprint": number(identity)[:8],
    }


def _node_pool(inputs: Fields, identity: str) -> Fields:
    """A pool has as many nodes as were asked for; with none asked for, none."""
    group = f"gke-{inputs['cluster_name']}-{inputs['name']}".replace("/", "-")[-55:]
    zone = f"projects/{inputs['project']}/zones/{inputs['location']}"
    links = "https://www.googleapis.com/compute/v1/"
    counted: Fields = {} if "nodeCount" in inputs else {"nodeCount": _count(inputs)}
    return {
        **counted,
        "instanceGroupUrls": [f"{links}{zone}/instanceGroupManagers/{group}"],
        "managedInstanceGroupUrls": [f"{links}{zone}/instanceGroups/{group}"],
        "version": "1.34.4-gke.1000",
    }


def _count(inputs: Fields) -> int:
    asked = inputs.get("initialNodeCount")
    return int(asked) if isinstance(asked, int | float) else 0


GKE_TYPES: Mapping[str, Kind] = {
    CLUSTER: Kind(
        _CLUSTER_PATH,
        frozenset(
            {
                *("name", "project", "location", "network", "subnetwork", "initialNodeCount"),
                *("datapathProvider", "defaultMaxPodsPerNode", "description", "clusterIpv4Cidr"),
                *("enableAutopilot", "networkingMode", "confidentialNodes", "ipAllocationPolicy"),
                *(f"nodeConfig.{name}" for name in _NODE),
            }
        ),
        _cluster,
    ),
    NODE_POOL: Kind(
        "projects/{project}/locations/{location}/clusters/{cluster_name}/nodePools/{name}",
        frozenset(
            {
                *("name", "project", "location", "cluster", "initialNodeCount", "maxPodsPerNode"),
                *("placementPolicy", "queuedProvisioning"),
                *(f"nodeConfig.{name}" for name in _NODE),
                *("networkConfig.createPodRange", "networkConfig.podRange"),
                *("networkConfig.podIpv4CidrBlock", "networkConfig.subnetwork"),
            }
        ),
        _node_pool,
    ),
}


def refusal(token: str, inputs: Fields) -> str | None:
    """Why the provider refuses these inputs; None where it takes them."""
    if token != NODE_POOL:
        return None
    if "nodeCount" in inputs and "initialNodeCount" in inputs:
        return "Cannot set both initial_node_count and node_count on node pool"
    scaling = inputs.get("autoscaling")
    if isinstance(scaling, dict):
        whole = {"totalMinNodeCount", "totalMaxNodeCount"} & scaling.keys()
        each = {"minNodeCount", "maxNodeCount"} & scaling.keys()
        if whole and each:
            return f"{sorted(whole)} conflicts with {sorted(each)} in autoscaling"
        if not any(scaling.get(name) for name in ("totalMaxNodeCount", "maxNodeCount")):
            return "Error 400: Max node count must be greater than zero in autoscaling, badRequest"
    return None


def is_protected(inputs: Fields) -> bool:
    """Whether the provider refuses to delete the cluster, as it does unless told otherwise."""
    return inputs.get("deletionProtection") is not False


def endpoints(folder: Path, inputs: Fields) -> Fields:
    """What GKE adds to say where a cluster's API server is: the one that the folder's file names.

    `kubernetes.json` is `{"server": "https://HOST:PORT", "certificate_authority": PEM}`.
    """
    try:
        named = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        host = str(named["server"]).removeprefix("https://")
        authority = base64.b64encode(str(named["certificate_authority"]).encode()).decode()
    except (OSError, ValueError, KeyError):
        raise PluginError(
            f"this plugin pretends to be a cloud, for tests: it makes a cluster of the API server "
            f'that {folder / SETTINGS} names as {{"server", "certificate_authority"}}'
        ) from None
    asked = inputs.get("controlPlaneEndpointsConfig")
    config: dict[str, Plain] = dict(asked) if isinstance(asked, dict) else {}
    by_name = config.get("dnsEndpointConfig")
    config["dnsEndpointConfig"] = {
        **(by_name if isinstance(by_name, dict) else {}),
        "endpoint": host,
    }
    return {
        "endpoint": host,
        "masterAuth": {"clusterCaCertificate": authority},
        "controlPlaneEndpointsConfig": config,
    }


def foreseen(inputs: Properties, state: Properties | None) -> Properties:
    """A cluster as a preview shows it: its DNS name is known once it is there, and stays."""
    block = "controlPlaneEndpointsConfig"
    known = reveal((state or {}).get(block))
    by_name = reveal(known.get("dnsEndpointConfig")) if isinstance(known, dict) else None
    name = by_name.get("endpoint", UNKNOWN) if isinstance(by_name, dict) else UNKNOWN
    asked = reveal(inputs.get(block))
    config: Properties = dict(asked) if isinstance(asked, dict) else {}
    inner = reveal(config.get("dnsEndpointConfig"))
    config["dnsEndpointConfig"] = {**(inner if isinstance(inner, dict) else {}), "endpoint": name}
    return {**inputs, block: config}


_AS_LISTS = {
    "controlPlaneEndpointsConfig": "controlPlaneEndpointsConfigs",
    "masterAuth": "masterAuths",
    "dnsEndpointConfig": "dnsEndpointConfigs",
    "ipEndpointsConfig": "ipEndpointsConfigs",
    "privateClusterConfig": "privateClusterConfigs",
    "workloadIdentityConfig": "workloadIdentityConfigs",
    "releaseChannel": "releaseChannels",
    "gatewayApiConfig": "gatewayApiConfigs",
    "addonsConfig": "addonsConfigs",
    "networkPolicy": "networkPolicies",
}


def looked_up(fields: Fields) -> Fields:
    """A cluster as `getCluster` returns it: each block in a list of one."""
    made: Fields = {}
    for name, value in fields.items():
        inner = looked_up(value) if isinstance(value, dict) else value
        in_a_list = name in _AS_LISTS and isinstance(value, dict)
        made[_AS_LISTS.get(name, name)] = [inner] if in_a_list else inner
    return made
