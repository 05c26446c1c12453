"""The key `deploy`: what another controller can't do is refused, with what would do."""

import pytest
from gke_ovms_settings import CLUSTER, DIGEST, EMBEDDINGS, LLAMA, refusal, settings

from components.rendering.kubernetes.plan import POOL_LABEL, SPOT_LABEL, Deploy, Taint
from components.settings import ConfigurationError
from scripts.gke.doctor import needs
from stacks import gke_ovms

IMAGE = {"container_image": f"openvino/model_server:2026.2.1{DIGEST}"}
OPERATOR = {"deploy": "operator", **IMAGE}
KSERVE = {"deploy": "kserve"}
REGISTRY = {"registry": "gs://models-of-mine"}


def warnings(raw: dict[str, str]) -> str:
    return "\n".join(settings(raw).warnings())


def test_unset_a_stateful_set_of_ours_makes_the_pods():
    given = settings({"idle_minutes": "60"})
    plan = gke_ovms.plan(given, "gke-ovms")
    assert given.deploy == "deployment"
    assert plan.deploy is Deploy.DEPLOYMENT
    assert plan.taint == Taint(SPOT_LABEL, "true")
    assert plan.idle_minutes == 60
    assert "deploy" not in warnings({"idle_minutes": "60"})


def test_another_word_is_refused_with_those_that_do():
    assert "it takes `deployment`, `operator`, `kserve`" in refusal({"deploy": "helm"})


@pytest.mark.parametrize("deploy", ["operator", "kserve"])
def test_another_engine_is_refused(deploy: str):
    said = refusal({"deploy": deploy, **LLAMA})
    assert f"deploy is '{deploy}'" in said
    assert "engine is 'llama_cpp'" in said
    assert "scripts/pulumi config set engine ovms" in said


def test_the_operator_does_not_start_the_pinned_image():
    said = refusal({"deploy": "operator"})
    assert "container_image is not set" in said
    assert "refuse, and the pinned one is 2026.3" in said
    assert "scripts/pulumi config set container_image openvino/model_server:2026.2.1" in said
    named = str(ConfigurationError(said).for_stack("mine"))
    assert "container_image openvino/model_server:2026.2.1 --stack mine && scripts/up mine" in named


@pytest.mark.parametrize(("tag", "good"), [("2026.2", True), ("2026.2.1", True), ("2026.3", False)])
def test_the_operator_takes_images_up_to_the_one_that_has_its_flag(tag: str, good: bool):
    raw = {"deploy": "operator", "container_image": f"openvino/model_server:{tag}{DIGEST}"}
    if good:
        assert settings(raw).deploy == "operator"
    else:
        assert f"it is {tag}" in refusal(raw)


def test_an_image_that_tells_no_version_is_warned_of():
    raw = {"deploy": "operator", "container_image": f"example.org/ovms/server:mine{DIGEST}"}
    assert "starts none that is later than 2026.2.1" in warnings(raw)


@pytest.mark.parametrize(
    ("raw", "said", "step"),
    [
        ({"embeddings_model": EMBEDDINGS}, "it has to be unset", "config rm embeddings_model"),
        ({"engine_flags": "--rest_workers 4"}, "no flags", "config rm engine_flags"),
        ({"replicas": "2", "max_nodes": "2"}, "it takes 1", "config set deploy kserve"),
        ({"max_replicas": "2", "max_nodes": "2"}, "it takes none", "config rm max_replicas"),
    ],
)
def test_what_the_operator_can_not_do_is_refused(raw: dict[str, str], said: str, step: str):
    told = refusal({**OPERATOR, **raw})
    assert said in told
    assert step in told
    assert "scripts/pulumi config rm deploy" in told


def test_the_operator_serves_classic_models_of_the_registry_with_a_key_too():
    raw = {**OPERATOR, **REGISTRY, "classic_models": "resnet50@1", "registry_access": "key"}
    plan = gke_ovms.plan(settings(raw), "gke-ovms")
    assert [server.name for server in plan.servers] == ["chat", "models"]


@pytest.mark.parametrize("spot", ["true", "false"])
def test_the_operators_pool_has_no_taint_and_that_is_said(spot: str):
    raw = {**OPERATOR, "spot": spot}
    assert gke_ovms.plan(settings(raw), "gke-ovms").taint is None
    assert "the pool of the models has none" in warnings(raw)
    assert CLUSTER in warnings({**raw, "cluster": CLUSTER})


def test_kserves_pool_keeps_its_taint():
    raw = {**KSERVE, "spot": "false"}
    taint = gke_ovms.plan(settings(raw), "gke-ovms").taint
    assert taint == Taint(POOL_LABEL, "llm-endpoint-gke-ovms")


@pytest.mark.parametrize("raw", [OPERATOR, KSERVE])
def test_nothing_parks_others_servers_and_that_is_said(raw: dict[str, str]):
    idle = {**raw, "idle_minutes": "60"}
    assert gke_ovms.plan(settings(idle), "gke-ovms").idle_minutes is None
    assert "idle_minutes 60 has no effect" in warnings(idle)
    assert "has no effect" not in warnings({**raw, "idle_minutes": "0"})


def test_who_has_no_operator_is_told_how_to_get_it():
    assert "operator_subscription true" in warnings(OPERATOR)
    asked = {**OPERATOR, "operator_subscription": "true"}
    assert "operator_subscription true installs" not in warnings(asked)
    assert gke_ovms.plan(settings(asked), "gke-ovms").operator_subscription


@pytest.mark.parametrize("raw", [OPERATOR, {**OPERATOR, "operator_subscription": "true"}, KSERVE])
def test_a_cluster_that_is_made_can_not_have_it_yet(raw: dict[str, str]):
    assert "the next goes on from there" in warnings(raw)
    assert "the first up" not in warnings({**raw, "cluster": CLUSTER})


def test_a_subscription_without_the_operator_is_refused():
    said = refusal({"operator_subscription": "true"})
    assert "deploy is 'deployment'" in said
    assert "scripts/pulumi config rm operator_subscription" in said


def test_kserve_serves_no_classic_models():
    said = refusal({**KSERVE, **REGISTRY, "classic_models": "resnet50@1"})
    assert "each server has one model" in said
    assert "scripts/pulumi config rm classic_models" in said


def test_kserve_takes_no_key_of_a_service_account():
    raw = {**KSERVE, **REGISTRY, "model": "registry:chat-model-ov@3"}
    assert settings(raw).deploy == "kserve"
    assert "it takes workload_identity" in refusal({**raw, "registry_access": "key"})


def test_kserve_scales_out_and_embeds():
    raw = {**KSERVE, "replicas": "2", "max_replicas": "3", "max_nodes": "3"}
    (chat,) = gke_ovms.plan(settings(raw), "gke-ovms").servers
    assert (chat.replicas, chat.most_replicas) == (2, 3)
    both = gke_ovms.plan(settings({**KSERVE, "embeddings_model": EMBEDDINGS}), "gke-ovms")
    assert [server.name for server in both.servers] == ["chat", "embeddings"]


def test_no_quota_of_disks_is_needed_for_models_that_kserve_fetches():
    def disks_gb(raw: dict[str, str]) -> float:
        vcpus = {"node_machine_type": 22, "system_machine_type": 2}
        needed = needs(settings(raw), vcpus, "europe-west4", {})
        return sum(need.amount for need in needed if "TOTAL_GB" in need.metric)

    assert disks_gb({}) - disks_gb(KSERVE) == settings({}).disk_gb()


def test_keys_of_disks_have_no_effect_with_kserve():
    raw = {**KSERVE, "cache_gb": "80", "keep_data": "true"}
    assert "cache_gb and keep_data have no effect on models" in warnings(raw)
    assert "storage_class has no effect" in warnings({**KSERVE, "storage_class": "premium-rwo"})
    assert "no effect on models" not in warnings(KSERVE)


def test_the_operator_has_a_graph_of_what_would_be_flags_and_nobody_else_has():
    (chat,) = gke_ovms.plan(settings({**OPERATOR, "slots": "7"}), "gke-ovms").servers
    assert "max_num_seqs: 7" in (chat.graph or "")
    for raw in ({}, KSERVE):
        (chat,) = gke_ovms.plan(settings(raw), "gke-ovms").servers
        assert chat.graph is None
