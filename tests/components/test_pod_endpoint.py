"""What `gke-ovms` sends to its cluster, in which order, and what of it is secret."""

import hashlib
import json
from dataclasses import replace
from importlib.metadata import version

import pytest
from gke_program import (
    CA_KEY,
    CERTIFICATE,
    HOST,
    KEY,
    LOAD_BALANCER,
    NAME,
    PARKED_AT,
    RAW,
    VARIANTS,
    an_object,
    command,
    deployed,
    of_type,
    only,
    pool,
    variant,
)

from components.compose import UnsupportedCombinationError
from components.engines import vllm
from components.rendering.kubernetes.plan import PodPlan
from components.targets.gke.place import GKE_POOL
from components.targets.kubernetes.args import PodEndpointArgs
from components.targets.kubernetes.endpoint import PodEndpoint
from emulator.mocks.recording import SECRET, SIGNATURE, Run
from stacks import PROGRAMS
from stacks.gke_ovms import plan

KUBERNETES = "kubernetes:"
PROVIDER = "pulumi:providers:kubernetes"
SERVING = [name for name, given in VARIANTS.items() if "parked" not in given]
PARKED = [name for name, given in VARIANTS.items() if "parked" in given]


def before(seen: Run, name: str) -> set[str]:
    """Names of all that comes before the resource `name`, at any distance."""
    every = {entry.name: entry for entry in seen.registrations.values()}
    provider = {entry.name: {entry.provider} - {""} for entry in every.values()}
    found: set[str] = set()
    waiting = [name]
    while waiting:
        each = every[waiting.pop()]
        new = (each.dependencies | provider[each.name]) - found
        found |= new
        waiting += [one for one in new if one in every]
    return found


@pytest.mark.parametrize("name", VARIANTS)
def test_every_object_is_sent_by_the_clusters_own_provider_and_no_other(name: str):
    seen = variant(name)
    provider = only(seen, PROVIDER)
    objects = of_type(seen, KUBERNETES)
    assert len(objects) > 15
    for one in objects:
        assert one.provider == provider.name, one.name
        assert one.version == provider.version == version("pulumi-kubernetes")
        assert one.delete_before_replace, one.name


@pytest.mark.parametrize("name", VARIANTS)
def test_everything_stands_below_one_of_the_components(name: str):
    seen = variant(name)
    for one in seen.registrations.values():
        if one.token.startswith("llm-endpoint:") and one.name == "gke-ovms":
            continue
        assert one.parent in {"gke-ovms", "gke-ovms-chat"}, one.name
    servers = {one.name for one in of_type(seen, KUBERNETES) if one.parent == "gke-ovms-chat"}
    assert "gke-ovms-stateful-set-chat" in servers
    assert all("chat" in one for one in servers)


@pytest.mark.parametrize("name", VARIANTS)
def test_only_keep_data_keeps_the_namespace_and_the_volumes_in_it(name: str):
    kept = [one.token for one in of_type(variant(name), KUBERNETES) if one.protect]
    assert kept == (["kubernetes:core/v1:Namespace"] if name == "kept" else [])


def test_another_way_in_is_another_service_so_that_a_load_balancer_lets_go_of_its_address():
    found = {one.token: one.replace_on_changes for one in of_type(deployed(), KUBERNETES)}
    assert found.pop("kubernetes:core/v1:Service") == ("spec.type",)
    assert not any(found.values())


@pytest.mark.parametrize("name", ["internal", "gateway", "adopted cluster", "parked", "several"])
def test_a_preview_registers_what_the_deployment_does(name: str):
    planned = deployed(VARIANTS[name], preview=True)
    assert set(planned.registrations) == set(variant(name).registrations)


def test_a_preview_before_the_cluster_is_there_knows_no_way_to_it():
    provider = only(deployed(preview=True), PROVIDER).plain()
    assert not any("gke-1" in str(value) for value in provider.values())
    assert only(deployed(), PROVIDER).plain()["clusterIdentifier"] == (
        f"projects/my-project/locations/europe-west4-a/clusters/{NAME}"
    )


def test_the_provider_asks_as_whoever_runs_it_and_is_told_in_secret():
    provider = only(deployed(), PROVIDER)
    assert provider.is_secret("kubeconfig")
    assert not provider.is_secret("clusterIdentifier")
    config = json.loads(provider.plain()["kubeconfig"])
    assert config["clusters"][0]["cluster"] == {"server": "https://gke-1.europe-west4.gke.goog"}
    (user,) = config["users"]
    assert set(user["user"]) == {"exec"}
    assert user["user"]["exec"]["args"] == ["-m", "scripts.gke.credential"]
    assert provider.plain()["enableConfigMapMutable"] == "true"
    assert provider.plain()["enableSecretMutable"] == "true"


@pytest.mark.parametrize("name", ["by address", "adopted cluster"])
def test_a_control_plane_with_an_address_is_known_by_its_own_authority(name: str):
    config = json.loads(only(variant(name), PROVIDER).plain()["kubeconfig"])
    cluster = config["clusters"][0]["cluster"]
    assert cluster["server"].startswith("https://203.0.113.")
    assert cluster["certificate-authority-data"] == "cGVt"


@pytest.mark.parametrize("name", VARIANTS)
def test_objects_come_after_the_pools_and_the_internet_and_go_before_them(name: str):
    seen = variant(name)
    first = before(seen, only(seen, PROVIDER).name)
    for kind in ("container/nodePool", "compute/routerNat", "projects/iAMMember"):
        assert {one.name for one in of_type(seen, f"gcp:{kind}:")} <= first
    namespace = an_object(seen, "Namespace", NAME).name
    for one in of_type(seen, KUBERNETES):
        assert one.name == namespace or namespace in one.dependencies, one.name


@pytest.mark.parametrize("name", VARIANTS)
def test_pods_come_after_what_they_mount_and_who_may_reach_them(name: str):
    seen = variant(name)
    own = {"ConfigMap", "Secret", "ServiceAccount", "NetworkPolicy"}
    needed = {one.name for one in of_type(seen, KUBERNETES) if one.inputs["kind"] in own}
    assert needed
    for one in of_type(seen, KUBERNETES):
        if one.inputs["kind"] in {"Deployment", "StatefulSet", "CronJob"}:
            assert needed <= one.dependencies, one.name


@pytest.mark.parametrize("name", ["load balancer", "gateway", "gateway with a zone"])
def test_the_way_in_comes_after_what_google_has_of_it(name: str):
    seen = variant(name)
    front = {
        one.name
        for kind in ("compute/address", "compute/globalAddress", "compute/securityPolicy")
        for one in of_type(seen, f"gcp:{kind}:")
    }
    assert front
    assert front <= an_object(seen, "Service", "service-gateway").dependencies
    if name.startswith("gateway"):
        route = an_object(seen, "HTTPRoute", "gateway")
        policy = an_object(seen, "GCPBackendPolicy", "gateway").name
        entry = "gke-ovms-certificate-map-entry"
        assert {policy, entry, *front} <= route.dependencies


def test_the_cluster_holds_hashes_of_the_keys_and_no_key():
    secret = an_object(deployed(), "Secret", "gateway-keys")
    assert secret.is_secret("stringData", "keys.json")
    assert secret.additional_secret_outputs == ("data", "stringData")
    kept = json.loads(secret.plain()["stringData"]["keys.json"])
    assert kept == {
        name: hashlib.sha256(f"{KEY}-gke-ovms-key-{name}".encode()).hexdigest()
        for name in ("default", "alice")
    }


@pytest.mark.parametrize("name", VARIANTS)
def test_no_key_hash_or_private_key_shows_in_anything_that_is_registered(name: str):
    hashed = hashlib.sha256(f"{KEY}-gke-ovms-key-default".encode()).hexdigest()
    for entry in variant(name).registrations.values():
        shown = json.dumps(entry.without_secrets())
        assert KEY not in shown, entry.name
        assert hashed not in shown, entry.name
        assert "PRIVATE KEY" not in shown, entry.name
        assert json.dumps(CA_KEY)[1:-1] not in shown, entry.name


@pytest.mark.parametrize("name", VARIANTS)
def test_secrets_go_to_two_secrets_the_provider_and_the_verification_alone(name: str):
    holders = {
        entry.name
        for entry in variant(name).registrations.values()
        if SIGNATURE in json.dumps(entry.inputs) and SECRET in json.dumps(entry.inputs)
    }
    assert holders == {
        "gke-ovms-secret-gateway-keys",
        "gke-ovms-secret-gateway-ca",
        "gke-ovms-kubernetes",
        *([] if name in PARKED else ["gke-ovms-verification"]),
    }


@pytest.mark.parametrize("taints", [False, True])
@pytest.mark.parametrize("name", ["internal", "gateway", "parked", "by address"])
def test_exactly_the_keys_are_secret_outputs_whatever_the_plugin_taints(name: str, taints: bool):
    outputs = deployed(VARIANTS[name], taints=taints).outputs
    assert {one for one, seen in outputs.items() if seen.secret} == {"api_key", "api_keys"}
    assert outputs["api_key"].value == f"{KEY}-gke-ovms-key-default"
    assert json.loads(outputs["cluster"].value)["server"].startswith("https://")


@pytest.mark.parametrize("name", VARIANTS)
def test_the_gateway_signs_for_what_clients_ask_for(name: str):
    seen = variant(name)
    given = VARIANTS[name]
    address = "198.51.100.7" if given.get("expose") == "load_balancer" else HOST
    host = given.get("domain", address)
    # Who forwards a port to the gateway asks for it by an address of their own machine.
    signed_for = host if "expose" in given else f"{host} localhost 127.0.0.1"
    made = command(seen, "ca")
    assert made.inputs["environment"] == {"LLM_ENDPOINT_ADDRESS": signed_for}
    assert made.inputs["triggers"] == [signed_for]
    assert an_object(seen, "ConfigMap", "gateway-host").plain()["data"] == {"host": host}
    assert an_object(seen, "Secret", "gateway-ca").plain()["stringData"] == {
        "certificate.pem": CERTIFICATE,
        "key.pem": CA_KEY,
    }


def test_another_authority_starts_the_gateway_anew():
    pod = an_object(deployed(), "Deployment", "gateway").plain()["spec"]["template"]
    annotations = pod["metadata"]["annotations"]
    digest = hashlib.sha256(CERTIFICATE.encode()).hexdigest()
    assert annotations["llm-endpoint/authority"] == digest
    assert "llm-endpoint/code" in annotations


@pytest.mark.parametrize("name", SERVING)
def test_googles_certificate_is_trusted_by_all_and_ours_is_exported(name: str):
    seen = variant(name)
    behind_google = VARIANTS[name].get("expose") == "gateway"
    assert ("ca_certificate" in seen.outputs) is not behind_google
    environment = command(seen, "verification").plain()["environment"]
    assert ("LLM_ENDPOINT_CA" in environment) is not behind_google


@pytest.mark.parametrize("name", VARIANTS)
def test_the_number_of_pods_is_left_to_whoever_scales(name: str):
    seen = variant(name)
    sets = [one for one in of_type(seen, KUBERNETES) if one.inputs["kind"] == "StatefulSet"]
    assert all("replicas" not in one.plain()["spec"] for one in sets)
    scale = command(seen, "scale")
    environment = scale.plain()["environment"]
    given = VARIANTS[name]
    most = given.get("max_replicas")
    wanted = {
        "replicas": 0 if name in PARKED else int(given.get("replicas", "1")),
        "most": None if most is None else int(most),
    }
    assert json.loads(environment["LLM_ENDPOINT_SCALE"]) == {"chat": wanted}
    assert environment["LLM_ENDPOINT_NAMESPACE"] == NAME
    assert json.loads(environment["LLM_ENDPOINT_CLUSTER"]) == json.loads(
        seen.outputs["cluster"].value
    )
    assert scale.plain()["triggers"][1:] == ["", "gke-ovms-stateful-set-chat-uid"]
    assert scale.plain()["create"].endswith("-m scripts.gke.scale")


def test_what_the_idle_job_parked_is_woken_and_verified_anew():
    idle, awake = deployed(parked_at=PARKED_AT), deployed()
    assert command(idle, "scale").plain()["triggers"][1] == PARKED_AT
    assert command(awake, "scale").plain()["triggers"][1] == ""
    assert "gke-ovms-scale" in command(awake, "verification").input_dependencies["triggers"]


def test_nothing_that_runs_is_left_of_a_parked_endpoint_but_the_system_node():
    seen = variant("parked")
    assert an_object(seen, "Deployment", "gateway").plain()["spec"]["replicas"] == 0
    assert pool(seen).plain()["nodeCount"] == 0
    assert "command:local:Command:gke-ovms-verification" not in seen.registrations
    assert seen.outputs["state"].value == "parked"
    assert seen.outputs["endpoint_url"].value is None
    assert seen.outputs["ca_certificate"].value.strip() == CERTIFICATE


def test_volumes_and_keys_are_the_same_while_parked():
    parked, serving = variant("parked"), deployed()
    for name in ("key-default", "key-alice", "ca"):
        assert command(parked, name).inputs == command(serving, name).inputs
    assert (
        an_object(parked, "StatefulSet", "chat").inputs
        == an_object(serving, "StatefulSet", "chat").inputs
    )


def test_an_endpoint_inside_the_cluster_is_verified_through_the_control_plane():
    verification = command(deployed(), "verification").plain()
    words = verification["create"]
    assert f"--via kubernetes:{NAME}/gateway/443" in words
    assert "--probe-path /health" in words
    environment = verification["environment"]
    assert environment["LLM_ENDPOINT_URL"] == f"https://{HOST}"
    assert environment["LLM_ENDPOINT_BOOT"] == f"kubernetes:{NAME}"
    assert json.loads(environment["LLM_ENDPOINT_CLUSTER"])["certificate_authority"] is None
    assert environment["LLM_ENDPOINT_KEY"] == f"{KEY}-gke-ovms-key-default"


def test_an_endpoint_outside_is_asked_as_its_clients_will():
    verification = command(variant("load balancer"), "verification").plain()
    assert "--via" not in verification["create"]
    assert "--allowed-cidrs 198.51.100.0/24,203.0.113.7/32" in verification["create"]
    environment = verification["environment"]
    assert environment["LLM_ENDPOINT_URL"] == "https://198.51.100.7"
    assert environment["LLM_ENDPOINT_ADDRESS"] == "198.51.100.7"
    assert environment["LLM_ENDPOINT_BOOT"] == f"kubernetes:{NAME}"


@pytest.mark.parametrize("name", SERVING)
def test_nothing_is_verified_before_all_of_it_is_there(name: str):
    seen = variant(name)
    first = before(seen, command(seen, "verification").name)
    needed = [*of_type(seen, KUBERNETES), *of_type(seen, "gcp:")]
    assert {one.name for one in needed} <= first
    assert "gke-ovms-scale" in first


def test_a_new_key_is_verified_and_touches_no_pod():
    def registered(seen: Run) -> tuple[object, ...]:
        return (
            an_object(seen, "StatefulSet", "chat").inputs,
            an_object(seen, "Deployment", "gateway").inputs,
        )

    more = deployed({"keys": "default alice@3 bob"})
    assert registered(more) == registered(deployed())
    triggers = [command(seen, "verification").inputs["triggers"] for seen in (more, deployed())]
    assert triggers[0] != triggers[1]


def refused_args(planned: PodPlan) -> PodEndpointArgs:
    return {
        "plan": planned,
        "place": GKE_POOL,
        "cluster_identifier": "c",
        "access": "{}",
        "ready": [],
        "keys": {"default": 1},
        "python": ["python"],
        "ready_seconds": 1,
        "streams": 1,
        "engine_package": "p",
        "billing": [],
    }


def test_another_cluster_of_the_same_name_gets_all_objects_anew():
    provider = only(deployed(), PROVIDER)
    assert provider.input_dependencies["clusterIdentifier"] == {"gke-ovms-cluster"}
    # A pool in the place of another changes how the cluster is reached, and not which it is.
    assert "gke-ovms-nodes" in provider.input_dependencies["kubeconfig"]


def test_an_engine_that_needs_a_gpu_has_no_place_there():
    launch = vllm.launch(vllm.VllmOptions(model_id="m", context_tokens=4096, slots=4))
    planned = plan(PROGRAMS["gke-ovms"].settings(RAW), "gke-ovms")
    server = replace(planned.servers[0], launch=launch)
    with pytest.raises(UnsupportedCombinationError, match=r"vllm.*gke-ovms"):
        PodEndpoint("refused", refused_args(replace(planned, servers=(server,))))


def test_a_way_in_without_a_host_is_refused():
    planned = plan(PROGRAMS["gke-ovms"].settings({**RAW, **LOAD_BALANCER}), "gke-ovms")
    with pytest.raises(ValueError, match="give the endpoint its host"):
        PodEndpoint("refused", refused_args(planned))
