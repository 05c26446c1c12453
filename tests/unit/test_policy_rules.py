"""What each policy refuses, and what it lets through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from policy_fixtures import (
    DIGEST,
    FIXTURES,
    PUBLIC,
    SERVES,
    VERIFIED,
    VERIFY,
    bucket,
    command,
    firewall,
    grant,
    machine,
    parks,
    pods,
    pool,
    provider,
    resource,
)
from policy_resources import RULES

from emulator.mocks.recording import UNKNOWN as SENT_UNKNOWN
from policy.judging import Finding, examine
from policy.resources import Resource, known
from policy.rules.firewalls import openings

EXCEPTION = {"stack": "dev", "resource": "it", "reason": "a test"}


def of(rule: str, resources: Sequence[Resource], **options: object) -> list[Finding]:
    """Return what `rule` alone says to `resources`."""
    configuration: Mapping[str, object] = {"all": "disabled", rule: {**options, **_ON}}
    return [one for one in examine(resources, configuration) if one.rule == rule]


_ON = {"enforcementLevel": "mandatory"}


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_each_rule_passes_its_good_fixture_and_refuses_its_bad_one_naming_the_fix(rule: str):
    fixture = FIXTURES[rule]
    if rule == "unused-exceptions":
        options: Mapping[str, object] = {"open-to-the-world": {"exceptions": [EXCEPTION]}}
        said = [examine(stack, options) for stack in (fixture.passes, fixture.fails)]
        good, bad = ([one for one in each if one.rule == rule] for each in said)
    else:
        good, bad = (
            of(rule, fixture.passes, **fixture.options),
            of(rule, fixture.fails, **fixture.options),
        )
    assert good == []
    assert [fixture.fix in finding.message for finding in bad] == [True]


@pytest.mark.parametrize(
    ("opened", "words"),
    [
        (firewall("0.0.0.0/0", port="22"), "Identity-Aware Proxy"),
        (firewall("203.0.113.0/24", "0.0.0.0/1", port="20-30"), "tcp:20-30"),
        (firewall("::/0", port="8080"), "tcp:8080"),
        (firewall(port="443"), "0.0.0.0/0"),
        (firewall("0.0.0.0/0", allows=[{"protocol": "ALL"}]), "opens all to the world"),
        (firewall("no-range"), "no-range"),
    ],
)
def test_whatever_opens_a_port_to_the_world_is_refused(opened: Resource, words: str):
    (found,) = of("open-to-the-world", [opened])
    assert words in found.message


@pytest.mark.parametrize(
    "closed",
    [
        firewall("0.0.0.0/0", direction="EGRESS"),
        firewall("0.0.0.0/0", disabled=True),
        firewall("0.0.0.0/0", allows=None, denies=[{"protocol": "all"}]),
        firewall(sourceTags=["a"]),
        resource("llm-endpoint:gcp:Firewall", sourceRanges=["0.0.0.0/0"]),
    ],
)
def test_what_lets_nobody_in_from_outside_passes(closed: Resource):
    assert of("open-to-the-world", [closed]) == []


@pytest.mark.parametrize("late", [{"priority": 65534}, {"disabled": True}, {"denies": []}])
def test_a_denial_that_comes_too_late_or_denies_nothing_closes_nothing(late: Mapping[str, object]):
    denial = {"allows": None, "denies": [{"protocol": "all"}], "priority": 1001}
    assert of("closed-otherwise", [PUBLIC, firewall("0.0.0.0/0", **denial)]) == []
    assert len(of("closed-otherwise", [PUBLIC, firewall("0.0.0.0/0", **{**denial, **late})])) == 1


def test_a_machine_without_an_address_needs_no_denial():
    assert of("closed-otherwise", [machine(networkInterfaces=[{"network": "n"}])]) == []


def test_ssh_comes_by_the_proxy_alone_and_no_other_port_from_there():
    rule = "only-the-gateway-listens"
    assert of(rule, [firewall("35.235.240.0/20", port="22")]) == []
    assert of(rule, [firewall("35.235.240.128/25", port="22")]) == []
    assert len(of(rule, [firewall("35.235.240.0/20", port="8080")])) == 1
    assert len(of(rule, [firewall("203.0.113.7/32", port="22")])) == 1


def test_a_range_of_ports_holds_what_lies_in_it():
    (opening,) = openings(firewall("203.0.113.0/24", port="20-30"))
    assert opening.includes(22)
    assert not opening.includes(31)
    assert not opening.is_exactly(22)


def service(kind: str, port: int = 443, **spec: object) -> Resource:
    return resource(
        "kubernetes:core/v1:Service", spec={"type": kind, "ports": [{"port": port}], **spec}
    )


def test_a_load_balancer_needs_ranges_and_port_443():
    ranges = {"loadBalancerSourceRanges": ["203.0.113.0/24"]}
    assert len(of("open-to-the-world", [service("LoadBalancer")])) == 1
    assert of("open-to-the-world", [service("LoadBalancer", **ranges)]) == []
    assert of("open-to-the-world", [service("ClusterIP")]) == []
    assert len(of("only-the-gateway-listens", [service("LoadBalancer", 8000, **ranges)])) == 1
    assert len(of("only-the-gateway-listens", [service("NodePort")])) == 1
    assert of("only-the-gateway-listens", [service("ClusterIP", 8000)]) == []


def test_a_filter_lets_in_ranges_and_ends_in_a_denial():
    def address_filter(*rules: Mapping[str, object]) -> Resource:
        return resource("gcp:compute/securityPolicy:SecurityPolicy", rules=list(rules))

    def rule(action: str, source: str, priority: int = 1000) -> Mapping[str, object]:
        match = {"config": {"srcIpRanges": [source]}}
        return {"action": action, "priority": priority, "match": match}

    last = rule("deny(403)", "*", 2147483647)
    assert of("open-to-the-world", [address_filter(rule("allow", "203.0.113.0/24"), last)]) == []
    assert len(of("open-to-the-world", [address_filter(rule("allow", "*"), last)])) == 1
    assert len(of("open-to-the-world", [address_filter(rule("allow", "203.0.113.0/24"))])) == 1


def test_pods_take_no_port_of_their_node():
    open_pods = pods(f"engine{DIGEST}", hostNetwork=True)
    assert len(of("only-the-gateway-listens", [open_pods])) == 1


def test_an_endpoint_on_loopback_needs_no_tls():
    here = {**VERIFIED, "LLM_ENDPOINT_URL": "http://127.0.0.1:8080"}
    assert of("tls-required", [command(here, VERIFY)]) == []


def test_an_empty_key_may_be_one_that_is_not_known_yet():
    (found,) = of("key-required", [command({**VERIFIED, "LLM_ENDPOINT_KEY": ""}, VERIFY)])
    assert found.level == "advisory"
    assert "environment.LLM_ENDPOINT_KEY" in found.message


def test_a_server_on_this_machine_takes_its_keys_from_a_file():
    start = "-m scripts.serve start"
    keys = {"LLM_ENDPOINT_KEYS": '["sk-of-the-fixture"]'}
    launch = {"LLM_ENDPOINT_LAUNCH": '{"arguments": ["--api-key-file", "{key_file}"]}'}
    keyless = {"LLM_ENDPOINT_LAUNCH": '{"arguments": []}'}
    assert of("key-required", [command({**keys, **launch}, start)]) == []
    for without in (launch, {**keys, **keyless}):
        assert len(of("key-required", [command(without, start)])) == 1


def test_the_gateway_of_a_machine_has_tls():
    assert len(of("tls-required", [machine(tls=None)])) == 1
    assert of("tls-required", [machine(tls="acme")]) == []


def test_a_machine_may_also_be_stopped_by_the_cloud_or_by_its_schedule():
    limited = machine(None, scheduling={"maxRunDuration": {"seconds": 3600}})
    assert of("spending-stop", [limited]) == []
    stops = "start 0 8 * * 1-5; stop 0 20 * * 1-5; Europe/Berlin"
    assert of("spending-stop", [machine(None)], schedule=stops) == []
    only_starts = "start 0 8 * * 1-5; Europe/Berlin"
    (found,) = of("spending-stop", [machine(None)], schedule=only_starts)
    assert "not told" not in found.message


def test_whoever_runs_the_pack_by_hand_hears_that_it_knows_no_schedule():
    (found,) = of("spending-stop", [machine(None)])
    assert "a schedule with a stop, of which the pack was not told here" in found.message


def test_a_pool_of_nodes_goes_to_none_and_has_an_upper_limit():
    assert of("spending-stop", [pool()]) == []
    assert of("spending-stop", [pool(autoscaling=None, nodeCount=0)]) == []
    assert len(of("spending-stop", [pool(autoscaling=None, nodeCount=1)])) == 1
    always = {"totalMinNodeCount": 1, "totalMaxNodeCount": 2}
    assert len(of("spending-stop", [pool(autoscaling=always)])) == 1
    assert len(of("spending-stop", [pool(autoscaling={"totalMinNodeCount": 0})])) == 1


def test_what_is_parked_needs_nothing_that_parks_it():
    scaled = command({"LLM_ENDPOINT_SCALE": '{"chat": {"replicas": 0}}'}, "-m scripts.gke.scale")
    running = command({"LLM_ENDPOINT_SCALE": '{"chat": {"replicas": 1}}'}, "-m scripts.gke.scale")
    assert of("idle-pods-park", [SERVES, scaled]) == []
    assert len(of("idle-pods-park", [SERVES, running])) == 1
    assert len(of("idle-pods-park", [SERVES, parks("chat", suspend=True)])) == 1
    assert len(of("idle-pods-park", [SERVES, parks("chat", minutes=0)])) == 1


def test_pods_beside_those_nodes_need_not_park():
    away = {"key": "llm-endpoint/pool", "operator": "DoesNotExist"}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [away]}]}
    beside = pods(f"gateway{DIGEST}", affinity={"nodeAffinity": {"required": terms}})
    assert of("idle-pods-park", [beside]) == []


def test_labels_of_the_configuration_are_on_all_that_bills_also_on_boot_disks():
    labels = {"labels": {"owner": "me"}}
    disk = {"initializeParams": {"labels": {}}}
    (found,) = of("labels", [machine(labels={"owner": "me"}, bootDisk=disk)], **labels)
    assert "the boot disk of it" in found.message
    assert len(of("labels", [bucket(labels={"owner": "you"})], **labels)) == 1


def test_images_are_found_in_custom_resources_and_in_the_user_data_of_machines():
    served = resource("kubernetes:x/v1:ModelServer", spec={"image_name": "engine:1"})
    pulled = {"chat": {"image": {"kind": "pulled", "reference": "engine:1"}}}
    built = {"chat": {"image": {"kind": "built", "name": "engine:1"}}}
    assert len(of("images-by-digest", [served])) == 1
    assert len(of("images-by-digest", [machine(engines=pulled)])) == 1
    assert of("images-by-digest", [machine(engines=built)]) == []


def test_an_access_list_of_a_bucket_is_refused():
    assert len(of("private-buckets", [resource("gcp:storage/bucketACL:BucketACL")])) == 1


@pytest.mark.parametrize(
    "given",
    [
        grant("roles/owner"),
        grant("roles/viewer"),
        grant("roles/resourcemanager.projectIamAdmin"),
        grant("roles/iam.serviceAccountUser"),
        grant("roles/compute.viewer", "allUsers"),
        grant("roles/compute.viewer", "domain:example.com"),
        resource("gcp:projects/iAMBinding:IAMBinding", role="roles/a", members=["user:a"]),
        resource("gcp:storage/bucketIAMBinding:BucketIAMBinding", members=["allUsers"]),
        resource(
            "gcp:serviceaccount/iAMMember:IAMMember",
            member="principalSet://iam.googleapis.com/projects/1/locations/global/"
            "workloadIdentityPools/p/*",
        ),
        resource("gcp:projects/iAMCustomRole:IAMCustomRole", permissions=["a.b.setIamPolicy"]),
        resource(
            "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding",
            roleRef={"kind": "ClusterRole", "name": "cluster-admin"},
        ),
        resource(
            "kubernetes:rbac.authorization.k8s.io/v1:Role", rules=[{"verbs": ["*"]}, {"verbs": []}]
        ),
    ],
    ids=lambda given: f"{given.kind}-{given.props.get('role', '')}",
)
def test_wide_grants_are_refused(given: Resource):
    assert len(of("narrow-grants", [given])) == 1


@pytest.mark.parametrize(
    "given",
    [
        grant("roles/resourcemanager.projectIamAdmin", condition={"expression": "of one role"}),
        resource("gcp:serviceaccount/iAMMember:IAMMember", role="roles/iam.serviceAccountUser"),
        resource("gcp:secretmanager/secretIamMember:SecretIamMember", role="roles/a", member="u"),
        resource("gcp:projects/iAMCustomRole:IAMCustomRole", permissions=["compute.a.get"]),
    ],
    ids=lambda given: given.kind,
)
def test_narrow_grants_pass(given: Resource):
    assert of("narrow-grants", [given]) == []


def test_a_condition_on_a_repository_may_not_be_got_round():
    (found,) = of("bound-federation", [provider("assertion.repository_id == '1' || true")])
    assert "||" in found.message


def test_the_nodes_of_a_cluster_have_narrow_scopes():
    broad = {"serviceAccount": "own@p", "oauthScopes": ["cloud-platform"]}
    assert len(of("own-identity", [pool(nodeConfig=broad)])) == 1
    assert len(of("own-identity", [pool(nodeConfig={"oauthScopes": []})])) == 1
    assert of("own-identity", [pool()]) == []


@pytest.mark.parametrize(
    ("kind", "props"),
    [
        ("gcp:compute/disk:Disk", {}),
        ("gcp:kms/cryptoKey:CryptoKey", {}),
        ("kubernetes:core/v1:PersistentVolumeClaim", {}),
        ("command:local:Command", {"environment": {"LLM_ENDPOINT_FORCE_DESTROY": ""}}),
    ],
)
def test_what_holds_data_is_protected_where_it_is_kept(kind: str, props: Mapping[str, object]):
    assert len(of("deletion-protection", [resource(kind, **props)], keep_data=True)) == 1
    protected = resource(kind, protect=True, **props)
    assert of("deletion-protection", [protected], keep_data=True) == []
    assert of("deletion-protection", [resource(kind, **props)], keep_data=False) == []


def test_a_cluster_and_the_disks_of_its_pods_stay_where_data_is_kept():
    claims = {"volumeClaimTemplates": [{}]}
    gone = {**claims, "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}}
    kept = {**claims, "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain"}}
    cluster = "gcp:container/cluster:Cluster"
    refused = [
        resource("kubernetes:apps/v1:StatefulSet", spec=gone),
        resource(cluster, deletionProtection=False),
        bucket(protect=True, forceDestroy=True),
    ]
    passed = [
        resource("kubernetes:apps/v1:StatefulSet", spec=kept),
        resource(cluster, deletionProtection=True),
    ]
    assert len(of("deletion-protection", refused, keep_data=True)) == 3
    assert of("deletion-protection", passed, keep_data=True) == []


def test_a_machine_is_no_spot_one_unless_it_is_asked_for():
    spot = machine(scheduling={"provisioningModel": "SPOT"})
    assert len(of("spot-as-configured", [spot], spot=False)) == 1
    assert of("spot-as-configured", [spot], spot=True) == []
    assert of("spot-as-configured", [spot]) == []


@pytest.mark.parametrize(
    ("rule", "props", "path"),
    [
        ("open-to-the-world", {"sourceRanges": SENT_UNKNOWN}, "sourceRanges"),
        ("open-to-the-world", {"sourceRanges": ["203.0.113.0/24", SENT_UNKNOWN]}, "sourceRanges.1"),
        ("only-the-gateway-listens", {"allows": SENT_UNKNOWN}, "allows"),
    ],
)
def test_what_is_not_known_yet_is_advisory_and_named(
    rule: str, props: Mapping[str, object], path: str
):
    written = known({**firewall("203.0.113.0/24").props, **props})
    assert isinstance(written, dict)
    (found,) = of(rule, [resource("gcp:compute/firewall:Firewall", **written)])
    assert found.level == "advisory"
    assert path in found.message
    assert "up judges it then" in found.message


def test_what_is_known_to_be_wrong_is_refused_beside_what_is_not_known():
    allows = [{"protocol": "tcp", "ports": ["22"]}, {"protocol": "tcp", "ports": SENT_UNKNOWN}]
    written = known({**firewall("0.0.0.0/0").props, "allows": allows})
    assert isinstance(written, dict)
    found = of("open-to-the-world", [resource("gcp:compute/firewall:Firewall", **written)])
    assert [one.level for one in found] == ["mandatory", "advisory"]


def test_what_an_annotation_says_need_not_be_known_for_pods_to_be_judged():
    template = {"metadata": {"annotations": {"a": SENT_UNKNOWN}}, "spec": {"containers": []}}
    written = known({"template": template})
    deployed = resource("kubernetes:apps/v1:Deployment", spec=written)
    for rule in ("images-by-digest", "only-the-gateway-listens", "idle-pods-park"):
        assert of(rule, [deployed]) == []


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_no_rule_quotes_a_key(rule: str):
    fixture = FIXTURES[rule]
    for finding in of(rule, fixture.fails, **fixture.options):
        assert VERIFIED["LLM_ENDPOINT_KEY"] not in finding.message
