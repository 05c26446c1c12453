"""What scripts/doctor finds for a stack in a cluster."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import FakeEndpoint
from fake_google_apis import Asked, FakeApis, refusal
from fake_project import COMPUTE, REGION, REGIONAL, ZONE, FakeProject, quotas, text

CONFIG = {
    "gcp:project": "my-project",
    "gcp:zone": "europe-west4-a",
    "llm-endpoint:model": "OpenVINO/Qwen3-8B-int4-ov",
}
MINE = {"llm-endpoint:cluster": "mine"}
EXPOSED = {
    "llm-endpoint:expose": "load_balancer",
    "llm-endpoint:allowed_cidrs": "198.51.100.7/32",
}
CLUSTERS = "container/v1/projects/my-project/locations/europe-west4-a/clusters"
GOOD = {
    "status": "RUNNING",
    "endpoint": "203.0.113.9",
    "ipAllocationPolicy": {"useIpAliases": True},
    "workloadIdentityConfig": {"workloadPool": "my-project.svc.id.goog"},
    "networkConfig": {"datapathProvider": "ADVANCED_DATAPATH"},
    "controlPlaneEndpointsConfig": {
        "dnsEndpointConfig": {"endpoint": "gke-1.gke.goog", "allowExternalTraffic": True}
    },
}


class Project(FakeProject):
    """The fake project with what a cluster takes in it."""

    def configure(self, **changed: str) -> None:
        self.write({**CONFIG, **changed})

    def _services(self, asked: Asked) -> tuple[int, Any]:
        names = [name.rsplit("/", 1)[-1] for name in asked.query["names"]]
        states = {
            name: "DISABLED" if name.removesuffix(".googleapis.com") in self.disabled else "ENABLED"
            for name in names
        }
        services = [
            {"name": f"projects/123/services/{name}", "state": state}
            for name, state in states.items()
        ]
        return 200, {"services": services}


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Project]:
    with FakeApis() as google, FakeEndpoint() as page:
        project = Project(google, page, tmp_path, "gke-ovms")
        for kind, cpus, memory in (
            ("c3-standard-22", 22, 90112),
            ("e2-standard-2", 2, 8192),
        ):
            answer = {"guestCpus": cpus, "memoryMb": memory}
            google.on(f"{ZONE}/machineTypes/{kind}", (200, answer))
        limits = {**REGIONAL, "C3_CPUS": (44.0, 0.0), "PREEMPTIBLE_CPUS": (44.0, 0.0)}
        google.on(REGION, (200, quotas(**limits)))
        overall = quotas(CPUS_ALL_REGIONS=(32.0, 8.0), NETWORKS=(5.0, 1.0), ROUTERS=(20.0, 0.0))
        google.on(COMPUTE, (200, overall))
        yield project


def test_a_project_that_is_ready_has_no_problem_and_hard_numbers(cloud: Project):
    found = cloud.find()
    assert {one.verdict for one in found} == {"ok"}, text(found)
    assert [one.text for one in found] == [
        "credentials: GOOGLE_OAUTH_ACCESS_TOKEN",
        "configuration: at most 1 of c3-standard-22 (Spot) in europe-west4-a, a new cluster",
        "project my-project, number 123",
        "billing is enabled",
        "APIs: compute, container, iam, cloudresourcemanager are enabled",
        "permissions: all 13 that up needs",
        "cluster llm-endpoint-gke-ovms: up makes it",
        "machine type c3-standard-22 in europe-west4-a: 22 vCPUs, 88 GB",
        "machine type e2-standard-2 in europe-west4-a: 2 vCPUs, 8 GB",
        "quota PREEMPTIBLE_CPUS in europe-west4: 22 needed, 0 of 44 used",
        "quota CPUS in europe-west4: 2 needed, 8 of 72 used",
        "quota CPUS_ALL_REGIONS: 24 needed, 8 of 32 used",
        "quota SSD_TOTAL_GB in europe-west4: 200 needed, 0 of 500 used",
        "quota ROUTERS: 1 needed, 0 of 20 used",
        "quota NETWORKS: 1 needed, 1 of 5 used",
    ]


def test_without_a_quota_for_spot_the_series_own_counts(cloud: Project):
    limits = {**REGIONAL, "C3_CPUS": (8.0, 0.0)}
    cloud.google.on(REGION, (200, quotas(**limits)))
    found = cloud.problem()
    assert found.text == "quota C3_CPUS in europe-west4: 22 needed, 0 of 8 used"


def test_more_pods_and_nodes_take_more(cloud: Project):
    cloud.configure(
        **{
            "llm-endpoint:max_nodes": "2",
            "llm-endpoint:replicas": "2",
            "llm-endpoint:spot": "false",
        }
    )
    assert "C3_CPUS in europe-west4: 44 needed" in text(cloud.find())
    assert "SSD_TOTAL_GB in europe-west4: 350 needed" in text(cloud.find())


def test_a_cluster_that_is_there_has_taken_its_quota(cloud: Project):
    cloud.google.on(REGION, (200, quotas(**REGIONAL)))
    cloud.google.on(f"{CLUSTERS}/llm-endpoint-gke-ovms", (200, GOOD))
    found = text(cloud.find())
    assert "cluster llm-endpoint-gke-ovms is there" in found
    assert "problem" not in found


@pytest.mark.parametrize(
    ("keys", "api", "permission"),
    [
        (EXPOSED, "container", "compute.addresses.create"),
        (
            {
                **EXPOSED,
                "llm-endpoint:expose": "gateway",
                "llm-endpoint:domain": "llm.example.com",
                "llm-endpoint:dns_zone": "zone",
            },
            "certificatemanager",
            "certificatemanager.certs.create",
        ),
        ({}, "container", "container.pods.portForward"),
        ({}, "container", "compute.routers.create"),
    ],
)
def test_what_a_stack_asks_for_decides_what_it_takes(
    cloud: Project, keys: dict[str, str], api: str, permission: str
):
    cloud.configure(**keys)
    cloud.lacking = {permission}
    cloud.disabled = {api}
    found = text(cloud.find())
    assert f"these credentials lack {permission}" in found
    assert f"{api} not enabled yet: up enables them" in found


def test_what_has_no_network_of_its_own_makes_none(cloud: Project):
    cloud.configure(**MINE)
    cloud.google.on(f"{CLUSTERS}/mine", (200, GOOD))
    cloud.lacking = {"compute.networks.create", "compute.routers.create"}
    found = text(cloud.find())
    assert "lack" not in found
    assert "NETWORKS" not in found
    assert "e2-standard-2" not in found
    assert "cluster mine is there" in found


def test_a_cluster_that_is_named_and_not_there_is_a_problem(cloud: Project):
    cloud.configure(**MINE)
    found = cloud.problem()
    assert found.text == "cluster mine: there is none in europe-west4-a"
    assert "gcloud container clusters list --project my-project" in found.type


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"autopilot": {"enabled": True}}, "is an Autopilot one"),
        ({"ipAllocationPolicy": {}}, "is not VPC-native"),
        ({"workloadIdentityConfig": {}}, "has no Workload Identity"),
        ({"controlPlaneEndpointsConfig": {}}, "no control plane that can be reached"),
    ],
)
def test_a_cluster_that_will_not_do_says_why(cloud: Project, changed: dict[str, Any], said: str):
    cloud.configure(**MINE)
    cloud.google.on(f"{CLUSTERS}/mine", (200, {**GOOD, **changed}))
    assert said in cloud.problem().text


def test_network_policies_that_are_not_enforced_are_a_problem(cloud: Project):
    cloud.configure(**MINE)
    cloud.google.on(f"{CLUSTERS}/mine", (200, {**GOOD, "networkConfig": {}}))
    assert "does not enforce network policies" in cloud.problem().text


def test_a_configuration_with_a_fault_is_told_and_no_door_is_asked_for(cloud: Project):
    cloud.configure(**{"llm-endpoint:expose": "wide"})
    found = cloud.find()
    assert [one.text.partition(":")[0] for one in found if one.verdict == "problem"] == [
        "configuration"
    ]
    assert "not looked at before the configuration is right: APIs, permissions" in text(found)
    assert "allowed_cidrs" not in text(found)


def test_a_machine_type_that_the_zone_lacks_names_its_key(cloud: Project):
    cloud.google.on(f"{ZONE}/machineTypes/e2-standard-2", refusal(404, "was not found"))
    found = cloud.problem()
    assert "europe-west4-a has no machine type e2-standard-2" in found.text
    assert "scripts/pulumi config set system_machine_type NAME" in found.type


def test_who_may_come_counts_only_where_there_is_a_door(cloud: Project):
    assert "this machine" not in text(cloud.find())
    cloud.configure(
        **{**EXPOSED, "llm-endpoint:allowed_cidrs": "192.0.2.0/24"},
        **{"llm-endpoint:control_plane_cidrs": "198.51.100.0/24"},
    )
    found = cloud.find()
    assert "this machine's address 198.51.100.7 is in control_plane_cidrs" in text(found)
    (wrong,) = [one for one in found if one.verdict == "problem"]
    assert "is not in allowed_cidrs (192.0.2.0/24): up verifies from here" in wrong.text


def test_a_control_plane_that_lets_others_in_alone_says_what_to_set(cloud: Project):
    cloud.configure(**{"llm-endpoint:control_plane_cidrs": "192.0.2.0/24"})
    found = cloud.problem()
    assert "is not in control_plane_cidrs (192.0.2.0/24): up asks the cluster" in found.text
    assert found.type == (
        "scripts/pulumi config set control_plane_cidrs 192.0.2.0/24,198.51.100.7/32 "
        "--stack gke-ovms"
    )


def test_a_cluster_is_not_asked_for_before_its_api_is_enabled(cloud: Project):
    cloud.disabled = {"container"}
    assert "not looked at before the API container is enabled: the cluster" in text(cloud.find())
    assert not [one for one in cloud.google.asked if one.path.startswith("/container/")]
