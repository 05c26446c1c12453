"""The configuration of a cluster: its place, its nodes, and how it is reached."""

import pytest
from gke_ovms_settings import BALANCED, CLUSTER, FROM, GATEWAY, GOOD, refusal, settings

from components.settings import ConfigurationError, GkeOvmsSettings, load


def test_three_keys_are_enough_for_a_cluster_of_our_own():
    read = settings({})
    assert (read.owns_cluster, read.owns_network, read.wants_nat) == (True, True, True)
    assert read.cluster_path() is None
    assert (read.node_machine_type, read.spot, read.max_nodes) == ("c3-standard-22", True, 1)
    assert (read.node_disk, read.node_disk_gb) == ("pd-balanced", 100)
    assert read.volume_class == "standard-rwo"
    assert (read.expose, read.allowed_cidrs, read.tls) == ("internal", (), "own_ca")
    assert read.namespace_of("llm-endpoint-gke-ovms") == "llm-endpoint-gke-ovms"
    assert read.warnings() == ()


def test_what_has_no_default_is_asked_for_at_once_each_with_its_next_step():
    with pytest.raises(ConfigurationError) as caught:
        load(GkeOvmsSettings, {}, {})
    said = str(caught.value)
    assert "3 problems" in said
    for key in GOOD:
        assert f"{key} is not set" in said
    assert said.count("next:") == 3


def test_a_cluster_that_is_there_is_named_or_given_by_its_path():
    near = settings({"cluster": "shared"})
    assert near.cluster_path() == ("my-project", "europe-west4-a", "shared")
    assert settings({"cluster": CLUSTER}).cluster_path() == (
        "my-project",
        "europe-west4",
        "shared",
    )
    assert (near.owns_cluster, near.owns_network, near.wants_nat) == (False, False, False)


def test_a_cluster_in_a_region_that_the_catalogue_does_not_know_may_have_nodes_in_its_zones():
    newer = {"gcp:zone": "europe-west13-a", "node_machine_type": "e2-standard-32"}
    for location in ("europe-west13", "europe-west13-b"):
        read = settings(
            {**newer, "cluster": f"projects/my-project/locations/{location}/clusters/shared"}
        )
        assert "does not know the zone europe-west13-a" in read.warnings()[0]


def test_in_a_network_that_is_given_a_nat_is_made_only_when_asked_for():
    given = {"network": "mine", "subnetwork": "nodes"}
    silent, no, yes = (
        settings({**given, **nat}) for nat in ({}, {"nat": "false"}, {"nat": "true"})
    )
    assert (silent.owns_network, silent.wants_nat, yes.wants_nat) == (False, False, True)
    assert "they reach the internet only if it has one" in silent.warnings()[0]
    assert (no.warnings(), yes.warnings()) == ((), ())


def test_who_may_come_is_sorted_and_may_be_everybody_by_that_word():
    read = settings({**BALANCED, "allowed_cidrs": "203.0.113.7/32 10.0.0.0/8"})
    assert read.allowed_cidrs == ("10.0.0.0/8", "203.0.113.7/32")
    assert settings({**BALANCED, "allowed_cidrs": "world"}).allowed_cidrs == ("0.0.0.0/0",)
    assert settings({"control_plane_cidrs": "203.0.113.7/32"}).control_plane_cidrs == (
        "203.0.113.7/32",
    )


def test_a_gateway_takes_a_domain_and_its_zone():
    read = settings({**GATEWAY, "dns_zone": "mine"})
    assert (read.domain, read.dns_zone, read.warnings()) == ("llm.example.org", "mine", ())


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            {"cluster": "projects/others/locations/europe-west4/clusters/c"},
            "it is of the project others, and all else is made in gcp:project, 'my-project'\n"
            "    next: scripts/pulumi config set gcp:project others",
        ),
        (
            {"cluster": "projects/my-project/locations/us-east1/clusters/c"},
            "it lies in us-east1, and gcp:zone is 'europe-west4-a': its nodes can't be there\n"
            "    next: scripts/pulumi config set gcp:zone us-east1-b",
        ),
        (
            {"cluster": "shared", "control_plane_cidrs": "203.0.113.7/32"},
            "control_plane_cidrs is '203.0.113.7/32': it is for a cluster that is made",
        ),
        ({"cluster": "shared", "network": "n"}, "network is 'n': it is for a cluster that is made"),
        ({"cluster": "shared", "nat": "true"}, "nat is 'true': it is for a cluster that is made"),
        (
            {"cluster": "shared", "release_channel": "rapid"},
            "next: scripts/pulumi config rm release_channel, or scripts/pulumi config rm cluster",
        ),
        ({"nat": "false"}, "neither images nor models could be pulled"),
        ({"subnetwork": "mine"}, "network is not set: the subnetwork that is given"),
        ({"gcp:region": "us-east1"}, "gcp:region is 'us-east1': gcp:zone is 'europe-west4-a'"),
        (
            {"node_machine_type": "h3-standard-88", "spot": "false", "gcp:zone": "us-east1-b"},
            "node_machine_type is 'h3-standard-88': us-east1 has no h3",
        ),
        (
            {
                "gcp:zone": "europe-west12-a",
                "node_machine_type": "n2-standard-16",
                "system_machine_type": "c2-standard-4",
            },
            "system_machine_type is 'c2-standard-4': europe-west12 has no c2",
        ),
        ({"system_machine_type": "e2-medium"}, "has 0 processors and 0 GB left"),
        (
            {"node_machine_type": "h3-standard-88"},
            "h3 is not offered as Spot (node_machine_type)\n"
            "    next: scripts/pulumi config set spot false",
        ),
        (
            {"node_disk_type": "pd-standard"},
            "node_disk_type is 'pd-standard': c3-standard-22 can't attach pd-standard; it boots "
            "from pd-balanced, hyperdisk-balanced or pd-ssd\n"
            "    next: scripts/pulumi config set node_disk_type pd-balanced",
        ),
        (
            {"node_machine_type": "n4-standard-16", "node_disk_type": "pd-balanced"},
            "n4-standard-16 can't attach pd-balanced; it boots from hyperdisk-balanced",
        ),
        (
            {"node_machine_type": "n4-standard-16", "storage_class": "standard-rwo"},
            "its volumes are pd-balanced, which n4-standard-16 can't attach",
        ),
        ({"storage_class": "standard"}, "its volumes are pd-standard, which c3-standard-22 can't"),
        (
            {"replicas": "3", "max_replicas": "2", "max_nodes": "3"},
            "max_replicas is '2': it is the most, and the fewest are 3 (replicas)",
        ),
        (FROM, "expose is 'internal', where nobody comes from outside the cluster"),
        ({"domain": "llm.example.org"}, "domain is 'llm.example.org': expose is 'internal'"),
        (
            {"expose": "load_balancer"},
            "allowed_cidrs is not set: expose is 'load_balancer': it says who may come",
        ),
        ({**GATEWAY, "allowed_cidrs": ""}, "it lets nobody in"),
        (
            {"expose": "gateway", **FROM},
            "domain is not set: expose is 'gateway', whose certificate Google signs for a domain",
        ),
        (
            {"dns_zone": "mine"},
            "where it has no effect: clients ask for the Service by its name in the cluster, and "
            "no record is made\n    next: scripts/pulumi config rm dns_zone, or scripts/pulumi "
            "config set expose load_balancer",
        ),
        (
            {**BALANCED, "dns_zone": "mine"},
            "dns_zone is 'mine': it is for the domain's record, and domain is not set",
        ),
        (
            {"cluster": "shared", "network": "n", "subnetwork": "s"},
            "next: scripts/pulumi config rm network && scripts/pulumi config rm subnetwork, or ",
        ),
        (
            {"cluster": "shared", "subnetwork": "s"},
            "next: scripts/pulumi config rm subnetwork, or scripts/pulumi config rm cluster",
        ),
        ({"tls": "acme"}, "did you mean own_ca?\n    next: scripts/pulumi config set tls own_ca"),
    ],
)
def test_keys_that_do_not_fit_together_are_refused(raw: dict[str, str], said: str):
    refused = refusal(raw)
    assert said in refused
    assert "one problem" in refused


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("gcp:zone", "europe-wset4-a", "did you mean europe-west4-a?"),
        ("cluster", "Shared", "it takes a cluster's name, or projects/PROJECT/locations/"),
        ("cluster", "projects/p/zones/z/clusters/c", "it takes a cluster's name, or projects/"),
        ("control_plane_cidrs", "0.0.0.0/0", "write world if you mean everybody"),
        ("control_plane_cidrs", "2001:db8::/64", "the control plane has an IPv4 address alone"),
        ("control_plane_cidrs", "203.0.113.7/32 2001:db8::/32", "2001:db8::/32 is of IPv6"),
        ("allowed_cidrs", "2001:db8::/64", "the endpoint has an IPv4 address alone"),
        ("release_channel", "slow", "it takes `rapid`, `regular`, `stable`"),
        ("system_machine_type", "g2-standard-8", "serves on processors: take e2-standard-2"),
        ("node_machine_type", "c3-standrd-22", "did you mean c3-standard-22"),
        ("node_machine_type", "g2-standard-8", "serves on processors: take c3-standard-22"),
        ("node_machine_type", "t2a-standard-8", "that is an Arm machine"),
        ("node_disk_type", "PD", "that is no disk type, such as pd-balanced"),
        ("node_disk_gb", "10", "it takes a whole number, from 30, to 2000"),
        ("max_nodes", "0", "it takes a whole number, from 1, to 100"),
        ("max_run_hours", "2881", "it takes a whole number, from 1, to 2880"),
        ("namespace", "kube-system", "that one is there already and not for this"),
        ("namespace", "default", "that one is there already and not for this"),
        ("namespace", "My_Models", "that is no namespace"),
        ("storage_class", "Fast", "that is no storage class's name"),
        ("expose", "public", "it takes `internal`, `load_balancer`, `gateway`"),
        ("idle_minutes", "3", "it is 0 for never, or at least 5"),
        ("labels", "Team=x", "'Team' is no label's name"),
    ],
)
def test_a_value_that_would_not_do_is_refused_with_what_would(key: str, value: str, said: str):
    refused = refusal({**BALANCED, key: value})
    assert f"{key} is {value!r}" in refused
    assert said in refused
    assert "one problem" in refused


@pytest.mark.parametrize(
    ("raw", "step"),
    [
        ({"gcp:zone": "europe-west4"}, "set gcp:zone europe-west4-a"),
        ({"tls": "none"}, "set tls own_ca"),
        ({"system_machine_type": "g2-standard-8"}, "set system_machine_type e2-standard-2"),
        ({"node_machine_type": "ct5lp-hightpu-4t"}, "set node_machine_type c3-standard-22"),
        ({"node_machine_type": "t2a-standard-8"}, "set node_machine_type c3-standard-22"),
        ({"system_machine_type": "t2a-standard-8"}, "set system_machine_type e2-standard-2"),
        ({"allowed_cidrs": "203.0.113.7"}, "set allowed_cidrs 203.0.113.7/32"),
        ({"allowed_cidrs": "203.0.113.7/24"}, "set allowed_cidrs 203.0.113.7/32"),
        ({"allowed_cidrs": "0.0.0.0/0"}, "set allowed_cidrs world"),
        ({"allowed_cidrs": "203.0.113.7 10.0.0.0/8"}, "set allowed_cidrs VALUE"),
        (
            {
                "node_machine_type": "h3-standard-88",
                "spot": "false",
                "gcp:zone": "us-east1-b",
            },
            "set node_machine_type c3-standard-22, or scripts/pulumi config set gcp:zone us-cen",
        ),
    ],
)
def test_the_command_has_the_value_that_the_sentence_knows(raw: dict[str, str], step: str):
    refused = refusal({**BALANCED, **raw})
    assert f"next: scripts/pulumi config {step}" in refused
    assert "one problem" in refused


def test_a_region_is_no_zone():
    assert "that is a region; its zones are europe-west4-a, eu" in refusal(
        {"gcp:zone": "europe-west4"}
    )


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            {"node_machine_type": "c9-standard-8", "pod_cpus": "6", "pod_memory_gb": "20"},
            "boot disks hyperdisk-balanced (node_disk_type) and volumes standard-rwo "
            "(storage_class)",
        ),
        (
            {"cluster": CLUSTER.replace("europe-west4/", "europe-west4-b/")},
            "cluster shared lies in europe-west4-b, and the models' nodes go to gcp:zone, "
            "europe-west4-a",
        ),
        (
            {**GATEWAY, "domain": f"{'a' * 40}.{'b' * 20}.org"},
            "has 65 characters, and GKE's documentation",
        ),
        ({"node_machine_type": "n4-standard-16"}, "hyperdisk-balanced has to be in the cluster"),
        (
            {"system_machine_type": "e9-standard-2"},
            "does not know the machine type e9-standard-2 (system_machine_type)",
        ),
        (
            {"node_machine_type": "c9-standard-8", "pod_cpus": "6", "pod_memory_gb": "20"},
            "does not know the machine type c9-standard-8 (node_machine_type)",
        ),
        (
            {**BALANCED, "allowed_cidrs": "203.0.113.7/32 2001:db8::/64"},
            "allowed_cidrs holds 2001:db8::/64, and the endpoint has an IPv4 address alone",
        ),
    ],
)
def test_what_nobody_here_can_judge_is_a_warning(raw: dict[str, str], said: str):
    (warning,) = settings(raw).warnings()
    assert said in warning


def test_a_class_of_ones_own_serves_machines_that_take_hyperdisk_alone():
    read = settings({"node_machine_type": "n4-standard-16", "storage_class": "fast"})
    assert (read.volume_class, read.node_disk) == ("fast", "hyperdisk-balanced")
    assert read.warnings() == ()


def test_a_system_node_is_not_judged_where_the_cluster_is_there():
    assert settings({"cluster": "shared", "gcp:zone": "us-east1-b"}).warnings() == ()
