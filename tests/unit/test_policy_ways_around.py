"""What says the same as something that a policy refuses, in other words."""

from __future__ import annotations

import json

import pytest
from policy_fixtures import (
    DIGEST,
    OUTER_GATEWAY,
    ROUTE,
    firewall,
    grant,
    machine,
    pods,
    provider,
    resource,
)

from policy.judging import examine
from policy.resources import Resource

COMPUTE = "gcp:compute/"
RBAC = "kubernetes:rbac.authorization.k8s.io/v1:"
ANYBODY = {"action": "allow", "match": {"config": {"srcIpRanges": ["*"]}}}
POLICY = json.dumps({"bindings": [{"role": "roles/a", "members": ["user:a", "allUsers"]}]})
DENIAL = firewall(
    "0.0.0.0/0",
    allows=None,
    denies=[{"protocol": "all"}],
    priority=1001,
    targetTags=["another"],
    name="denial",
)
PUBLIC = [{"accessConfigs": [{}]}]


def served(**predictor: object) -> Resource:
    return resource(
        "kubernetes:serving.kserve.io/v1beta1:InferenceService", spec={"predictor": predictor}
    )


@pytest.mark.parametrize(
    ("rule", "stack"),
    [
        ("open-to-the-world", [firewall(*(f"{first}.0.0.0/8" for first in range(64, 128)))]),
        ("open-to-the-world", [resource(f"{COMPUTE}r:SecurityPolicyRule", **ANYBODY)]),
        (
            "open-to-the-world",
            [
                resource(
                    f"{COMPUTE}r:RegionSecurityPolicy",
                    rules=[ANYBODY, {"action": "deny(403)", "priority": 2147483647}],
                )
            ],
        ),
        ("only-the-gateway-listens", [resource(f"{COMPUTE}r:RegionNetworkFirewallPolicyRule")]),
        ("only-the-gateway-listens", [resource(f"{COMPUTE}r:ForwardingRule")]),
        (
            "only-the-gateway-listens",
            [resource("kubernetes:gateway.networking.k8s.io/v1alpha2:TCPRoute")],
        ),
        (
            "only-the-gateway-listens",
            [resource("kubernetes:core/v1:ServicePatch", spec={"type": "NodePort"})],
        ),
        (
            "filtered-gateway",
            [
                resource(
                    OUTER_GATEWAY.type,
                    spec={"gatewayClassName": "gke-l7-global-external-managed-mc"},
                ),
                ROUTE,
            ],
        ),
        ("closed-otherwise", [machine(networkInterfaces=PUBLIC, tags=["one"]), DENIAL]),
        ("closed-otherwise", [machine(networkInterfaces=[{"ipv6AccessConfigs": [{}]}])]),
        ("spending-stop", [resource(f"{COMPUTE}r:RegionInstanceTemplate")]),
        ("spending-stop", [resource("gcp:container/cluster:Cluster", initialNodeCount=3)]),
        ("own-identity", [resource("gcp:container/cluster:Cluster", initialNodeCount=3)]),
        ("own-identity", [resource("gcp:container/nodePool:NodePool")]),
        (
            "images-by-digest",
            [resource("kubernetes:core/v1:PodTemplate", template=pods("engine:1").props["spec"])],
        ),
        (
            "images-by-digest",
            [pods(f"engine{DIGEST}", volumes=[{"image": {"reference": "model:1"}}])],
        ),
        ("images-by-digest", [served(model={"image": "engine:1"})]),
        ("images-by-digest", [served(initContainers=[{"image": "engine:1"}])]),
        (
            "images-by-digest",
            [served(containers=[], workerSpec={"containers": [{"image": "engine:1"}]})],
        ),
        ("narrow-grants", [grant("roles/writer")]),
        ("narrow-grants", [grant("roles/iam.workloadIdentityUser")]),
        (
            "narrow-grants",
            [resource("gcp:storage/bucketIAMPolicy:BucketIAMPolicy", policyData=POLICY)],
        ),
        (
            "narrow-grants",
            [
                resource(
                    "gcp:projects/iAMCustomRole:IAMCustomRole",
                    permissions=["iam.workloadIdentityPoolProviders.update"],
                )
            ],
        ),
        (
            "narrow-grants",
            [resource(f"{RBAC}RoleBinding", subjects=[{"name": "system:authenticated"}])],
        ),
        ("narrow-grants", [resource(f"{RBAC}ClusterRole", rules=[{"verbs": ["impersonate"]}])]),
        ("bound-federation", [provider("assertion.repository_id == assertion.repository_id")]),
        ("bound-federation", [provider("!(assertion.repository_id == '1')")]),
    ],
)
def test_what_comes_to_the_same_is_refused_too(rule: str, stack: list[Resource]):
    (found,) = [one for one in examine(stack, {}) if one.rule == rule]
    assert found.level == "mandatory"


def test_a_preemptible_machine_is_as_good_as_a_spot_one():
    preemptible = [machine(scheduling={"preemptible": True})]
    for spot, count in ((True, 0), (False, 1)):
        said = {"enforcementLevel": "mandatory", "spot": spot}
        asked = {"all": "disabled", "spot-as-configured": said}
        assert len(examine(preemptible, asked)) == count


def test_a_denial_for_a_machine_s_tag_or_account_closes_it():
    account = "own@p.iam.gserviceaccount.com"
    for target in ({"targetTags": ["one"]}, {"targetServiceAccounts": [account], "targetTags": []}):
        denial = resource(DENIAL.type, "denial", **{**DENIAL.props, **target})
        stack = [machine(networkInterfaces=PUBLIC, tags=["one"]), denial]
        assert [one for one in examine(stack, {}) if one.rule == "closed-otherwise"] == []


def test_what_leads_in_from_inside_alone_passes():
    inside = [
        resource(f"{COMPUTE}r:ForwardingRule", loadBalancingScheme="INTERNAL"),
        resource(OUTER_GATEWAY.type, spec={"gatewayClassName": "gke-l7-rilb"}),
        ROUTE,
    ]
    assert examine(inside, {"told-the-configuration": "disabled"}) == []
