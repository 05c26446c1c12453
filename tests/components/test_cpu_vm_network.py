"""Where a `CpuVm` stands, and who may reach it."""

import json

import pytest
from cpu_vm_program import (
    ACME_PLAN,
    ADDRESS,
    LABELS,
    NAME,
    command,
    deployed,
    in_a_group,
    of_type,
    only,
)

from emulator.mocks.recording import Run

WORLD = {"0.0.0.0/0", "::/0"}


def rules(seen: Run) -> dict[str, tuple[list[str], list[str]]]:
    """Ports and ranges of each firewall rule that lets somebody in, by the end of its name."""
    found = {}
    for rule in of_type(seen, "compute/firewall"):
        assert rule.inputs["direction"] == "INGRESS"
        if "denies" in rule.inputs:
            continue
        assert rule.inputs["priority"] == 1000
        (allowed,) = rule.inputs["allows"]
        assert allowed["protocol"] == "tcp"
        name = rule.inputs["name"].removeprefix(f"{NAME}-")
        found[name] = (allowed["ports"], rule.inputs["sourceRanges"])
    return found


def test_only_named_ranges_reach_the_endpoint_and_only_iap_reaches_ssh():
    assert rules(deployed()) == {
        "https": (["443"], ["203.0.113.7/32"]),
        "ssh": (["22"], ["35.235.240.0/20"]),
    }


@pytest.mark.parametrize("deploy", [deployed, in_a_group], ids=["instance", "group"])
def test_nothing_is_open_to_the_world(deploy):
    for _, ranges in rules(deploy()).values():
        assert not WORLD & set(ranges)


def test_acme_opens_port_80_to_the_world_and_nothing_else():
    opened = {
        name: ports
        for name, (ports, ranges) in rules(deployed(plan=ACME_PLAN)).items()
        if WORLD & set(ranges)
    }
    assert opened == {"acme": ["80"]}


@pytest.mark.parametrize("network", ["default", None], ids=["given", "own"])
def test_what_a_network_lets_in_by_itself_does_not_reach_the_machine(network):
    found = of_type(deployed(network=network), "compute/firewall")
    (rule,) = (rule for rule in found if "denies" in rule.inputs)
    assert rule.inputs["denies"] == [{"protocol": "all"}]
    assert "allows" not in rule.inputs
    assert rule.inputs["sourceRanges"] == ["0.0.0.0/0"]
    # After ours, and before those of a default network.
    assert 1000 < rule.inputs["priority"] < 65534


def test_health_checks_reach_a_group_and_no_plain_instance():
    assert rules(in_a_group())["health"] == (["443"], ["35.191.0.0/16", "130.211.0.0/22"])
    assert "health" not in rules(deployed())


def test_a_rule_lets_nobody_in_to_other_machines_of_the_network():
    seen = deployed(plan=ACME_PLAN)
    for rule in of_type(seen, "compute/firewall"):
        assert rule.inputs["targetServiceAccounts"] == [f"{NAME}@p.iam.gserviceaccount.com"]


def test_ranges_of_both_ip_versions_get_a_rule_each():
    ranges = ["2001:db8::/48", "203.0.113.7/32", "198.51.100.0/24"]
    seen = rules(deployed(allowed_cidrs=ranges))
    assert seen["https"] == (["443"], ["198.51.100.0/24", "203.0.113.7/32"])
    assert seen["https-ipv6"] == (["443"], ["2001:db8::/48"])


def test_a_firewall_that_names_nobody_is_refused_since_it_would_let_everybody_in():
    with pytest.raises(ValueError, match="allowed_cidrs is empty"):
        deployed(allowed_cidrs=[])


def test_a_range_with_a_typing_mistake_is_refused():
    with pytest.raises(ValueError, match=r"203\.0\.113\.7/33"):
        deployed(allowed_cidrs=["203.0.113.7/33"])


def test_the_machine_stands_in_a_network_of_its_own():
    seen = deployed()
    network = only(seen, "compute/network")
    assert network.inputs["autoCreateSubnetworks"] is False
    subnetwork = only(seen, "compute/subnetwork")
    assert subnetwork.input_dependencies["network"] >= {"vm-network"}
    assert subnetwork.inputs["privateIpGoogleAccess"] is True
    (interface,) = only(seen, "compute/instance").inputs["networkInterfaces"]
    assert interface["subnetwork"].endswith("/vm-subnetwork")
    assert interface["network"].endswith("/vm-network")
    for rule in of_type(seen, "compute/firewall"):
        assert rule.inputs["network"].endswith("/vm-network")


@pytest.mark.parametrize("subnetwork", ["custom", None])
def test_a_given_network_is_stood_in_and_none_is_made(subnetwork):
    seen = deployed(network="ours", subnetwork=subnetwork)
    assert not of_type(seen, "compute/network")
    assert not of_type(seen, "compute/subnetwork")
    (interface,) = only(seen, "compute/instance").inputs["networkInterfaces"]
    assert (interface["network"], interface.get("subnetwork")) == ("ours", subnetwork)
    for rule in of_type(seen, "compute/firewall"):
        assert rule.inputs["network"] == "ours"


def test_a_subnetwork_without_its_network_is_refused():
    with pytest.raises(ValueError, match="set network too"):
        deployed(subnetwork="custom")


def test_the_address_is_a_reserved_one_that_a_replacement_keeps():
    seen = deployed()
    address = only(seen, "compute/address")
    assert address.inputs["region"] == "europe-west4"
    assert address.inputs["addressType"] == "EXTERNAL"
    assert address.inputs["labels"] == LABELS
    (interface,) = only(seen, "compute/instance").inputs["networkInterfaces"]
    assert interface["accessConfigs"] == [{"natIp": ADDRESS, "networkTier": "PREMIUM"}]
    assert address.inputs["networkTier"] == "PREMIUM"
    assert not address.dependencies & {"vm-instance"}


def test_a_domain_in_a_zone_of_ours_gets_its_record_before_it_is_verified():
    seen = deployed(plan=ACME_PLAN, dns_zone="our-zone")
    record = only(seen, "dns/recordSet")
    assert record.inputs["managedZone"] == "our-zone"
    assert (record.inputs["name"], record.inputs["type"]) == ("llm.example.com.", "A")
    assert (record.inputs["rrdatas"], record.inputs["ttl"]) == ([ADDRESS], 60)
    environment = command(seen, "verification").inputs["environment"]
    assert environment["LLM_ENDPOINT_URL"] == "https://llm.example.com"
    assert "vm-dns" in command(seen, "verification").input_dependencies["environment"]


def test_a_domain_elsewhere_is_checked_against_the_address():
    seen = deployed(plan=ACME_PLAN)
    assert not of_type(seen, "dns/recordSet")
    environment = command(seen, "verification").inputs["environment"]
    assert environment["LLM_ENDPOINT_URL"] == "https://llm.example.com"
    assert environment["LLM_ENDPOINT_ADDRESS"] == ADDRESS


def test_a_zone_without_a_domain_is_refused():
    with pytest.raises(ValueError, match="set domain too"):
        deployed(dns_zone="our-zone")


def test_the_endpoint_is_verified_by_those_whom_the_firewall_lets_in_and_anew_when_they_change():
    def triggers(seen: Run) -> str:
        return json.dumps(command(seen, "verification").inputs["triggers"])

    assert triggers(deployed()) != triggers(deployed(allowed_cidrs=["198.51.100.0/24"]))
    verification = command(deployed(), "verification")
    assert verification.input_dependencies["triggers"] >= {"vm-firewall-https"}
    assert "203.0.113.7/32" in verification.inputs["create"]


def test_what_has_a_fixed_name_goes_before_its_replacement_comes():
    seen = deployed(plan=ACME_PLAN)
    kinds = ("network", "subnetwork", "firewall", "disk", "instance")
    for kind in kinds:
        for entry in of_type(seen, f"compute/{kind}"):
            assert entry.delete_before_replace, entry.name
            assert entry.inputs["name"].startswith(NAME)
