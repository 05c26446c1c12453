"""For each policy one stack that passes and one that it refuses: as small as can be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from policy.resources import Resource

DIGEST = "@sha256:" + "0" * 64


def resource(kind: str, name: str = "it", *, protect: bool = False, **props: object) -> Resource:
    return Resource(kind, name, "dev", props, protect)


def firewall(*sources: str, port: str = "443", name: str = "it", **more: object) -> Resource:
    allows = [{"protocol": "tcp", "ports": [port]}]
    return resource(
        "gcp:compute/firewall:Firewall",
        name,
        **{"direction": "INGRESS", "allows": allows, "sourceRanges": list(sources), **more},
    )


def machine(watchdog: int | None = 60, tls: str | None = "own_ca", **more: object) -> Resource:
    settings = {
        "tls": tls,
        "watchdog": {"idle_minutes": watchdog},
        "engines": more.pop("engines", {}),
    }
    place = {"path": "/etc/llm-endpoint/machine.json", "content": json.dumps(settings)}
    props = {
        "serviceAccount": {"email": "own@p.iam.gserviceaccount.com"},
        "scheduling": {"provisioningModel": "STANDARD"},
        "metadata": {"user-data": f"#cloud-config\n{json.dumps({'write_files': [place]})}"},
    }
    return resource("gcp:compute/instance:Instance", **{**props, **more})


def pool(**more: object) -> Resource:
    node = {"serviceAccount": "own@p", "labels": {"llm-endpoint/pool": "p"}, "spot": True}
    scaling = {"totalMinNodeCount": 0, "totalMaxNodeCount": 2}
    return resource(
        "gcp:container/nodePool:NodePool", **{"nodeConfig": node, "autoscaling": scaling, **more}
    )


def command(environment: Mapping[str, str], create: str) -> Resource:
    return resource("command:local:Command", create=f"python {create}", environment=environment)


def pods(image: str, **more: object) -> Resource:
    spec = {"containers": [{"name": "one", "image": image}], **more}
    return resource(
        "kubernetes:apps/v1:StatefulSet",
        "chat-set",
        metadata={"name": "chat", "namespace": "llm"},
        spec={"template": {"spec": spec}},
    )


def parks(*servers: str, suspend: bool = False, minutes: int = 60) -> Resource:
    told = json.dumps({"servers": servers, "idle_minutes": minutes})
    container = {"image": f"python{DIGEST}", "env": [{"name": "LLM_ENDPOINT_PARK", "value": told}]}
    template = {"spec": {"template": {"spec": {"containers": [container]}}}}
    return resource(
        "kubernetes:batch/v1:CronJob",
        "park",
        metadata={"name": "park", "namespace": "llm"},
        spec={"suspend": suspend, "jobTemplate": template},
    )


def bucket(*, protect: bool = False, **more: object) -> Resource:
    private = {"publicAccessPrevention": "enforced", "uniformBucketLevelAccess": True}
    return resource(
        "gcp:storage/bucket:Bucket",
        protect=protect,
        **{**private, "labels": {"owner": "me"}, **more},
    )


def grant(role: str, member: str = "serviceAccount:own@p", **more: object) -> Resource:
    return resource("gcp:projects/iAMMember:IAMMember", role=role, member=member, **more)


def provider(condition: str) -> Resource:
    return resource(
        "gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider",
        attributeCondition=condition,
        oidc={"issuerUri": "https://token.actions.githubusercontent.com"},
    )


ROUTE = resource(
    "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute",
    "route",
    spec={"rules": [{"backendRefs": [{"name": "gateway", "port": 443}]}]},
)
OUTER_GATEWAY = resource(
    "kubernetes:gateway.networking.k8s.io/v1:Gateway",
    "gateway",
    spec={
        "gatewayClassName": "gke-l7-global-external-managed",
        "listeners": [{"name": "https", "protocol": "HTTPS", "tls": {"mode": "Terminate"}}],
    },
)
FILTER = resource(
    "kubernetes:networking.gke.io/v1:GCPBackendPolicy",
    "backend",
    spec={"targetRef": {"name": "gateway"}, "default": {"securityPolicy": "filter"}},
)
PUBLIC = machine(networkInterfaces=[{"accessConfigs": [{}]}])
SERVES = pods(f"engine{DIGEST}", nodeSelector={"llm-endpoint/pool": "p"})
VERIFIED = {"LLM_ENDPOINT_KEY": "sk-of-the-fixture", "LLM_ENDPOINT_URL": "https://llm.example.com"}
VERIFY = "-m scripts.verify --json"


@dataclass(frozen=True)
class Fixture:
    """`fix` are words of the message: the key of ours to set, or what to write instead."""

    passes: Sequence[Resource]
    fails: Sequence[Resource]
    fix: str
    options: Mapping[str, object] = field(default_factory=dict[str, object])


FIXTURES: Mapping[str, Fixture] = {
    "open-to-the-world": Fixture(
        [firewall("203.0.113.0/24")], [firewall("0.0.0.0/0")], "--stack dev allowed_cidrs"
    ),
    "closed-otherwise": Fixture(
        [PUBLIC, firewall("0.0.0.0/0", allows=None, denies=[{"protocol": "all"}], priority=1001)],
        [PUBLIC, firewall("203.0.113.0/24", priority=1000)],
        "default-allow-ssh",
    ),
    "filtered-gateway": Fixture(
        [OUTER_GATEWAY, ROUTE, FILTER], [OUTER_GATEWAY, ROUTE], "expose gateway"
    ),
    "only-the-gateway-listens": Fixture(
        [firewall("203.0.113.0/24")],
        [firewall("203.0.113.0/24", port="8080")],
        "behind the gateway",
    ),
    "tls-required": Fixture(
        [command(VERIFIED, VERIFY)],
        [command({**VERIFIED, "LLM_ENDPOINT_URL": "http://llm.example.com"}, VERIFY)],
        "--stack dev tls own_ca",
    ),
    "key-required": Fixture(
        [command(VERIFIED, VERIFY)],
        [command({"LLM_ENDPOINT_URL": VERIFIED["LLM_ENDPOINT_URL"]}, VERIFY)],
        "keys names at least one",
    ),
    "spending-stop": Fixture([machine()], [machine(None)], "--stack dev idle_minutes 60"),
    "idle-pods-park": Fixture(
        [SERVES, parks("chat")], [SERVES, parks("another")], "--stack dev idle_minutes 60"
    ),
    "labels": Fixture(
        [bucket()],
        [bucket(labels={"team": "a"})],
        "--stack dev labels owner=VALUE",
        {"required": ["owner"]},
    ),
    "any-label": Fixture([bucket()], [bucket(labels={})], "--stack dev labels owner=NAME"),
    "images-by-digest": Fixture(
        [pods(f"engine:1{DIGEST}")], [pods("engine:1")], "scripts/pins looks it up"
    ),
    "private-buckets": Fixture(
        [bucket()], [bucket(publicAccessPrevention="inherited")], "PrivateBucket"
    ),
    "narrow-grants": Fixture(
        [grant("roles/compute.viewer")], [grant("roles/editor")], "a role of one service"
    ),
    "bound-federation": Fixture(
        [provider("assertion.repository_id == '1'")],
        [provider("assertion.repository == 'o/r'")],
        "github_repository_id",
    ),
    "own-identity": Fixture(
        [machine()],
        [machine(serviceAccount={"email": "1-compute@developer.gserviceaccount.com"})],
        "a service account of their own",
    ),
    "deletion-protection": Fixture(
        [bucket(protect=True)], [bucket()], "--stack dev keep_data false", {"keep_data": True}
    ),
    "spot-as-configured": Fixture(
        [pool()],
        [pool(nodeConfig={"labels": {"llm-endpoint/pool": "p"}})],
        "--stack dev spot false",
        {"spot": True},
    ),
    "told-the-configuration": Fixture(
        [resource("command:local:Command")], [bucket()], "scripts/up --policy"
    ),
    "unused-exceptions": Fixture([firewall("0.0.0.0/0")], [firewall("203.0.113.0/24")], "take it"),
}
