"""How `gke-ovms` is reached from outside, what of it bills, and that all of that is labelled."""

import pytest
from gke_program import (
    GATEWAY,
    LOAD_BALANCER,
    NAME,
    VARIANTS,
    an_object,
    deployed,
    of_type,
    only,
    variant,
)

from components.rendering.kubernetes.plan import Expose
from components.targets.gke.args import ExposureArgs
from components.targets.gke.exposure import Exposure
from emulator.mocks.recording import Run

# What bills and can be labelled, by the name of its labels.
LABELLED = {
    "gcp:container/cluster:": "resourceLabels",
    "gcp:compute/address:": "labels",
    "gcp:compute/globalAddress:": "labels",
    "gcp:compute/securityPolicy:": "labels",
    "gcp:certificatemanager/": "labels",
}


def rules(seen: Run) -> dict[int, tuple[str, list[str]]]:
    """The rules of the filter: action and ranges by priority."""
    policy = only(seen, "gcp:compute/securityPolicy:").plain()
    return {
        int(rule["priority"]): (rule["action"], rule["match"]["config"]["srcIpRanges"])
        for rule in policy["rules"]
    }


@pytest.mark.parametrize("name", VARIANTS)
def test_everything_that_bills_carries_the_labels(name: str):
    seen = variant(name)
    for token, labels in LABELLED.items():
        for one in of_type(seen, token):
            assert one.plain()[labels]["team"] == "research", one.name
    for one in of_type(seen, "gcp:container/nodePool:"):
        assert one.plain()["nodeConfig"]["resourceLabels"]["team"] == "research"


@pytest.mark.parametrize("name", [one for one, given in VARIANTS.items() if "expose" not in given])
def test_an_endpoint_inside_the_cluster_has_nothing_outside(name: str):
    seen = variant(name)
    for token in ("compute/address", "compute/globalAddress", "compute/securityPolicy", "dns/"):
        assert not of_type(seen, f"gcp:{token}")
    assert not of_type(seen, "gcp:certificatemanager/")


def test_a_load_balancer_keeps_an_address_of_the_clusters_region():
    seen = variant("load balancer")
    address = only(seen, "gcp:compute/address:").plain()
    assert (address["name"], address["region"]) == (NAME, "europe-west4")
    service = an_object(seen, "Service", "service-gateway").plain()
    annotations = service["metadata"]["annotations"]
    assert annotations["networking.gke.io/load-balancer-ip-addresses"] == NAME
    assert sorted(service["spec"]["loadBalancerSourceRanges"]) == [
        "198.51.100.0/24",
        "203.0.113.7/32",
    ]


def test_the_names_that_objects_say_are_those_that_google_has():
    seen = variant("gateway")
    gateway = an_object(seen, "Gateway", "gateway-gateway").plain()
    assert (
        gateway["metadata"]["annotations"]["networking.gke.io/certmap"]
        == (only(seen, "gcp:certificatemanager/certificateMap:").plain()["name"])
    )
    assert (
        gateway["spec"]["addresses"][0]["value"]
        == (only(seen, "gcp:compute/globalAddress:").plain()["name"])
    )
    policy = an_object(seen, "GCPBackendPolicy", "gateway").plain()
    assert (
        policy["spec"]["default"]["securityPolicy"]
        == (only(seen, "gcp:compute/securityPolicy:").plain()["name"])
    )


def test_a_gateway_lets_in_who_is_allowed_and_nobody_else():
    assert rules(variant("gateway")) == {
        1000: ("allow", ["198.51.100.0/24", "203.0.113.7/32"]),
        2147483647: ("deny(403)", ["*"]),
    }


def test_a_rule_has_no_more_ranges_than_google_takes():
    ranges = " ".join(f"203.0.113.{number}/32" for number in range(23))
    found = rules(deployed({**GATEWAY, "allowed_cidrs": ranges}))
    assert [len(ranges) for _, ranges in found.values()] == [10, 10, 3, 1]


def test_google_signs_for_the_domain_once_dns_proves_it():
    seen = variant("gateway with a zone")
    certificate = only(seen, "gcp:certificatemanager/certificate:")
    assert certificate.plain()["managed"] == {
        "domains": ["llm.example.com"],
        "dnsAuthorizations": ["gke-ovms-authorization-id"],
    }
    assert "gke-ovms-authorization-dns" in certificate.dependencies
    entry = only(seen, "gcp:certificatemanager/certificateMapEntry:").plain()
    assert entry["hostname"] == "llm.example.com"
    records = {
        one.name: (one.plain()["name"], one.plain()["type"], one.plain()["rrdatas"])
        for one in of_type(seen, "gcp:dns/recordSet:")
    }
    assert records == {
        "gke-ovms-dns": ("llm.example.com.", "A", ["198.51.100.8"]),
        "gke-ovms-authorization-dns": ("_acme.llm.example.com.", "CNAME", ["proof.google."]),
    }


def test_what_is_for_another_domain_comes_before_what_it_takes_the_place_of():
    tokens = ("dnsAuthorization:", "certificate:", "certificateMapEntry:")
    others = deployed({**GATEWAY, "domain": "other.example.com"})
    for token in tokens:
        before = only(variant("gateway"), f"gcp:certificatemanager/{token}")
        after = only(others, f"gcp:certificatemanager/{token}")
        assert before.plain()["name"] != after.plain()["name"]
        assert not after.delete_before_replace


def test_a_load_balancer_is_told_the_ranges_that_its_rule_takes():
    mixed = {**LOAD_BALANCER, "allowed_cidrs": "203.0.113.7/32 2001:db8::/48"}
    service = an_object(deployed(mixed), "Service", "service-gateway").plain()
    assert service["spec"]["loadBalancerSourceRanges"] == ["203.0.113.7/32"]


def test_who_keeps_the_domain_elsewhere_is_told_the_record_when_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
):
    told: list[str] = []
    monkeypatch.setattr("pulumi.log.info", lambda text, resource: told.append(text))
    deployed({**GATEWAY, "domain": "told.example.com"}, preview=True)
    deployed({**GATEWAY, "domain": "told.example.com", "dns_zone": "llm"})
    assert told == []
    deployed({**GATEWAY, "domain": "told.example.com"})
    assert told == [
        "Google signs for told.example.com once this record is in its DNS: "
        "_acme.llm.example.com. CNAME proof.google."
    ]


def test_a_domain_of_a_load_balancer_points_at_it_before_anything_asks():
    seen = variant("load balancer with a domain")
    assert only(seen, "gcp:dns/recordSet:").plain()["rrdatas"] == ["198.51.100.7"]
    assert "gke-ovms-dns" in an_object(seen, "ConfigMap", "gateway-host").dependencies


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"allowed_cidrs": ()}, "allowed_cidrs is empty"),
        ({"expose": Expose.GATEWAY}, "needs a domain"),
        ({"dns_zone": "llm"}, "no domain to put there"),
    ],
)
def test_a_way_in_that_is_open_to_the_wrong_people_is_refused(
    changed: dict[str, object], word: str
):
    args: ExposureArgs = {
        "base_name": NAME,
        "project": "p",
        "region": "europe-west4",
        "compute": None,
        "expose": Expose.LOAD_BALANCER,
        "allowed_cidrs": ["203.0.113.7/32"],
    }
    with pytest.raises(ValueError, match=word):
        Exposure("refused", {**args, **changed})


def whether(seen: Run, words: str) -> tuple[bool, bool]:
    """Whether what is called so bills while running, and while parked."""
    (found,) = [one for one in seen.outputs["billing"].value if words in one["resource"]]
    return found["running"], found["parked"]


@pytest.mark.parametrize("name", ["internal", "parked"])
def test_a_parked_endpoint_still_pays_for_the_cluster_and_its_volumes(name: str):
    seen = variant(name)
    assert whether(seen, "one node of c3-standard-22 (Spot)") == (True, False)
    assert whether(seen, "cluster fee") == (True, True)
    assert whether(seen, "system node, e2-standard-2") == (True, True)
    assert whether(seen, "Cloud NAT") == (True, True)
    assert whether(seen, "GB for chat (standard-rwo)") == (True, True)
    assert whether(seen, "traffic to the internet") == (True, False)
    assert not any(
        "address" in one["resource"] and "IPv4" in one["resource"]
        for one in seen.outputs["billing"].value
    )


def test_what_a_front_costs_is_listed():
    assert whether(variant("load balancer"), "external IPv4 address") == (True, True)
    assert whether(variant("parked load balancer"), "forwarding rule") == (True, True)
    assert whether(variant("gateway"), "Cloud Armor") == (True, True)
    several = deployed({**LOAD_BALANCER, **VARIANTS["several"]})
    assert whether(several, "up to 3 nodes of c3-standard-22 (standard)") == (True, False)
    assert whether(several, "up to 3 disks") == (True, True)


def test_a_cluster_that_was_there_is_not_our_bill():
    resources = [one["resource"] for one in variant("adopted cluster").outputs["billing"].value]
    assert not any("cluster fee" in one or "system node" in one for one in resources)
