"""The cluster and the pools of `gke-ovms`: what they are made as."""

import pulumi
import pulumi_gcp as gcp
import pytest
from gke_program import (
    GATEWAY,
    NAME,
    VARIANTS,
    an_object,
    deployed,
    of_type,
    only,
    pool,
    variant,
)

from components.rendering.kubernetes.plan import Taint
from components.targets.gke.args import ClusterArgs, ClusterPath
from components.targets.gke.cluster import Cluster, check_usable
from components.targets.gke.node_pool import SpotNodePool

CLUSTER = "gcp:container/cluster:"
OWN = [name for name, given in VARIANTS.items() if "cluster" not in given]
ADOPTED = [name for name, given in VARIANTS.items() if "cluster" in given]
CLUSTER_ARGS: ClusterArgs = {
    "base_name": NAME,
    "project": "p",
    "region": "europe-west4",
    "zone": "europe-west4-a",
}


@pytest.mark.parametrize("name", OWN)
def test_a_made_cluster_is_private_and_pods_in_it_are_not_their_node(name: str):
    made = only(variant(name), CLUSTER).plain()
    assert (made["name"], made["location"]) == (NAME, "europe-west4-a")
    assert made["privateClusterConfig"] == {"enablePrivateNodes": True}
    assert made["workloadIdentityConfig"] == {"workloadPool": "my-project.svc.id.goog"}
    assert made["datapathProvider"] == "ADVANCED_DATAPATH"
    assert made["enableShieldedNodes"] is True
    assert made["releaseChannel"] == {"channel": "REGULAR"}
    assert made["resourceLabels"] == {"team": "research", **made["resourceLabels"]}


def test_the_control_plane_is_reached_by_its_name_alone_unless_ranges_are_given():
    made = only(deployed(), CLUSTER).plain()
    assert made["controlPlaneEndpointsConfig"] == {
        "dnsEndpointConfig": {"allowExternalTraffic": True},
        "ipEndpointsConfig": {"enabled": False},
    }
    assert "masterAuthorizedNetworksConfig" not in made
    by_address = only(variant("by address"), CLUSTER).plain()
    assert by_address["controlPlaneEndpointsConfig"] == {
        "dnsEndpointConfig": {"allowExternalTraffic": False},
        "ipEndpointsConfig": {"enabled": True},
    }
    assert by_address["masterAuthorizedNetworksConfig"] == {
        "cidrBlocks": [{"cidrBlock": "203.0.113.0/24"}],
        "gcpPublicCidrsAccessEnabled": False,
    }


def test_the_first_pool_goes_and_never_ran_as_the_default_account():
    made = only(deployed(), CLUSTER)
    assert made.plain()["removeDefaultNodePool"] is True
    assert made.plain()["nodeConfig"]["serviceAccount"].startswith("llm-endpoint-gke-ovms@")
    assert made.ignore_changes == ("nodeConfig",)


@pytest.mark.parametrize("name", OWN)
def test_only_keep_data_protects_the_cluster_from_deletion(name: str):
    protected = only(variant(name), CLUSTER).plain()["deletionProtection"]
    assert protected is (name == "kept")


@pytest.mark.parametrize("name", OWN)
def test_the_gateway_api_is_on_before_a_gateway_is_wanted(name: str):
    made = only(variant(name), CLUSTER).plain()
    assert made["gatewayApiConfig"] == {"channel": "CHANNEL_STANDARD"}


def test_nodes_reach_the_internet_before_there_are_any():
    seen = deployed()
    made = only(seen, CLUSTER)
    nat = only(seen, "gcp:compute/routerNat:")
    assert nat.name in made.dependencies
    assert nat.plain()["sourceSubnetworkIpRangesToNat"] == "LIST_OF_SUBNETWORKS"
    assert made.plain()["ipAllocationPolicy"] == {
        "clusterSecondaryRangeName": "pods",
        "servicesSecondaryRangeName": "services",
    }


@pytest.mark.parametrize("name", ["given network", "given network with a NAT", *ADOPTED])
def test_a_given_network_is_left_as_it_is(name: str):
    seen = variant(name)
    assert not of_type(seen, "gcp:compute/network:")
    assert not of_type(seen, "gcp:compute/subnetwork:")
    nats = [
        one.plain()["sourceSubnetworkIpRangesToNat"]
        for one in of_type(seen, "gcp:compute/routerNat:")
    ]
    assert nats == (["ALL_SUBNETWORKS_ALL_IP_RANGES"] if "NAT" in name else [])


@pytest.mark.parametrize("name", ADOPTED)
def test_of_an_adopted_cluster_only_the_pool_is_ours(name: str):
    seen = variant(name)
    assert not of_type(seen, CLUSTER)
    (made,) = of_type(seen, "gcp:container/nodePool:")
    assert made.plain()["cluster"] == "theirs"
    assert made.plain()["location"] == "europe-west4"
    # A volume stays in its zone, so the pool does too.
    assert made.plain()["nodeLocations"] == ["europe-west4-a"]


def test_the_system_pool_is_small_untainted_and_never_without_a_node():
    made = pool(deployed(), "system").plain()
    assert (made["name"], made["nodeCount"]) == ("system", 1)
    assert made["nodeConfig"]["machineType"] == "e2-standard-2"
    assert not {"taints", "labels", "spot"} & set(made["nodeConfig"])
    assert made["upgradeSettings"] == {"strategy": "SURGE", "maxSurge": 1, "maxUnavailable": 0}


def test_the_models_pool_is_spot_tainted_and_labelled_and_from_none_to_the_most():
    made = pool(deployed({"max_nodes": "4", "max_run_hours": "8"})).plain()
    assert made["autoscaling"] == {
        "totalMinNodeCount": 0,
        "totalMaxNodeCount": 4,
        "locationPolicy": "ANY",
    }
    assert not {"nodeCount", "initialNodeCount"} & set(made)
    node = made["nodeConfig"]
    assert node["spot"] is True
    assert node["machineType"] == "c3-standard-22"
    assert node["labels"] == {"llm-endpoint/pool": NAME}
    assert node["taints"] == [
        {"key": "cloud.google.com/gke-spot", "value": "true", "effect": "NO_SCHEDULE"}
    ]
    assert node["maxRunDuration"] == "28800s"
    assert node["diskType"] == "pd-balanced"
    assert made["upgradeSettings"] == {"strategy": "SURGE", "maxSurge": 0, "maxUnavailable": 1}


@pytest.mark.parametrize("name", VARIANTS)
def test_no_node_is_more_than_it_has_to_be(name: str):
    pools = of_type(variant(name), "gcp:container/nodePool:")
    assert len(pools) == (1 if name in ADOPTED else 2)
    for made in pools:
        node = made.plain()["nodeConfig"]
        assert made.plain()["management"] == {"autoRepair": True, "autoUpgrade": True}
        assert node["workloadMetadataConfig"] == {"mode": "GKE_METADATA"}
        assert node["shieldedInstanceConfig"] == {
            "enableSecureBoot": True,
            "enableIntegrityMonitoring": True,
        }
        assert node["gvnic"] == {"enabled": True}
        assert not any("cloud-platform" in scope for scope in node["oauthScopes"])
        assert node["serviceAccount"].startswith("llm-endpoint-gke-ovms@")
        assert node["resourceLabels"]["team"] == "research"


def test_only_spot_nodes_get_another_division_of_their_last_seconds():
    def kubelet(seen_pool: object) -> object:
        return seen_pool.plain()["nodeConfig"]["kubeletConfig"]

    seen = deployed()
    assert kubelet(pool(seen))["shutdownGracePeriodSeconds"] == 30
    assert "shutdownGracePeriodSeconds" not in kubelet(pool(seen, "system"))
    several = pool(variant("several"))
    assert "shutdownGracePeriodSeconds" not in kubelet(several)
    assert several.plain()["nodeConfig"]["spot"] is False
    assert several.plain()["nodeConfig"]["taints"][0]["key"] == "llm-endpoint/pool"


def test_ordinary_pods_of_a_spot_node_have_the_time_that_ours_ask_for():
    seen = deployed()
    kubelet = pool(seen).plain()["nodeConfig"]["kubeletConfig"]
    pod = an_object(seen, "StatefulSet", "chat").plain()["spec"]["template"]["spec"]
    left = kubelet["shutdownGracePeriodSeconds"] - kubelet["shutdownGracePeriodCriticalPodsSeconds"]
    assert pod["terminationGracePeriodSeconds"] <= left


@pytest.mark.parametrize("name", ["parked", "parked load balancer"])
def test_a_parked_pool_has_no_node_and_no_autoscaler_to_make_one(name: str):
    made = pool(variant(name)).plain()
    assert made["nodeCount"] == 0
    assert "autoscaling" not in made
    assert pool(variant(name), "system").plain()["nodeCount"] == 1


def test_nodes_may_log_and_nothing_else_and_none_starts_before_they_may():
    seen = deployed()
    grants = [one.plain() for one in of_type(seen, "gcp:projects/iAMMember:")]
    assert [grant["role"] for grant in grants] == ["roles/container.defaultNodeServiceAccount"]
    for made in of_type(seen, "gcp:container/nodePool:"):
        assert "gke-ovms-account-role" in made.dependencies


def test_apis_are_on_before_what_needs_them_and_stay_on():
    seen = variant("gateway with a zone")
    apis = {one.plain()["service"]: one for one in of_type(seen, "gcp:projects/service:")}
    assert set(apis) == {
        f"{api}.googleapis.com"
        for api in (
            "compute",
            "container",
            "iam",
            "cloudresourcemanager",
            "certificatemanager",
            "dns",
        )
    }
    assert all(one.plain()["disableOnDestroy"] is False for one in apis.values())
    assert "gke-ovms-container-api" in only(seen, CLUSTER).dependencies
    assert "gke-ovms-compute-api" in only(seen, "gcp:compute/network:").dependencies


THEIRS = ClusterPath("p", "europe-west4", "theirs")


def a_found_cluster(
    *,
    autopilot: bool = False,
    pools: tuple[str, ...] = ("p.svc.id.goog",),
    datapath: str = "ADVANCED_DATAPATH",
    policies: bool = False,
    channel: str = "CHANNEL_STANDARD",
) -> gcp.container.GetClusterResult:
    of = gcp.container.outputs
    return gcp.container.GetClusterResult(
        id="their-id",
        enable_autopilot=autopilot,
        workload_identity_configs=[
            of.GetClusterWorkloadIdentityConfigResult(workload_pool=pool) for pool in pools
        ],
        datapath_provider=datapath,
        network_policies=[of.GetClusterNetworkPolicyResult(enabled=policies, provider="CALICO")],
        gateway_api_configs=[of.GetClusterGatewayApiConfigResult(channel=channel)],
    )


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"autopilot": True}, "Autopilot"),
        ({"pools": ()}, "Workload Identity"),
        ({"datapath": "LEGACY_DATAPATH"}, "network policies"),
        ({"datapath": ""}, "network policies"),
        ({"channel": "CHANNEL_DISABLED"}, "Gateway API"),
    ],
)
def test_a_cluster_that_our_pods_can_not_be_in_is_refused(changed: dict[str, object], word: str):
    with pytest.raises(pulumi.RunError, match=rf"(?s)clusters/theirs.*{word}.*next: "):
        check_usable(THEIRS, a_found_cluster(**changed), gateway_api=True)


def test_a_cluster_that_enforces_policies_in_either_way_is_taken_as_it_is():
    assert check_usable(THEIRS, a_found_cluster(), gateway_api=True) == "their-id"
    older = a_found_cluster(datapath="LEGACY_DATAPATH", policies=True, channel="")
    assert check_usable(THEIRS, older) == "their-id"


def test_names_and_taints_that_gke_does_not_take_are_refused():
    with pytest.raises(ValueError, match="GKE takes 40"):
        Cluster("c", {**CLUSTER_ARGS, "base_name": "a" * 41})
    with pytest.raises(ValueError, match="needs a key and a value"):
        SpotNodePool(
            "p",
            {
                "base_name": NAME,
                "project": "p",
                "location": "europe-west4-a",
                "zone": "europe-west4-a",
                "cluster": "c",
                "account": "a@p",
                "machine_type": "c3-standard-22",
                "disk_gb": 100,
                "taint": Taint("key", ""),
                "max_nodes": 1,
            },
        )


def test_a_preview_knows_what_a_cluster_will_be_before_it_is_there():
    seen = deployed(GATEWAY, preview=True)
    assert only(seen, CLUSTER).plain()["name"] == NAME
    assert seen.outputs["cluster"].known is False
