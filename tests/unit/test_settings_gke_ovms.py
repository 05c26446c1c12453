"""The configuration of `gke-ovms`: engines, models and pods, and what it refuses at once."""

import pytest
from gke_ovms_settings import DIGEST, EMBEDDINGS, GOOD, LLAMA, refusal, settings

from components.engines import ovms
from components.models.reference import parse_model_reference
from components.settings import ConfigurationError, GkeOvmsSettings, load
from components.settings.gke_engine import ovms_version

IMAGE = "openvino/model_server"


def test_ovms_serves_unless_llama_cpp_is_asked_for():
    read = settings({})
    assert (read.engine, read.kv_type, read.container_image) == ("ovms", None, None)
    other = settings({**LLAMA, "kv_type": "q8_0", "embeddings_model": LLAMA["model"]})
    assert (other.engine, other.warnings()) == ("llama_cpp", ())


def test_what_the_keys_say_about_pods_is_what_is_wanted_of_them():
    asked = {"replicas": "2", "max_replicas": "3", "pod_cpus": "4", "pod_memory_gb": "16"}
    read = settings({**asked, "kv_cache_gb": "6", "embeddings_model": EMBEDDINGS})
    wanted = read.wanted_pods()
    assert (wanted.engine, wanted.kv_cache_gb) == ("ovms", 6)
    assert (wanted.replicas, wanted.most_replicas, wanted.most_pods) == (2, 3, 3)
    assert (wanted.pod_cpus, wanted.pod_memory_gb) == (4, 16)
    assert wanted.model == parse_model_reference(GOOD["model"])
    assert wanted.embeddings_model == parse_model_reference(EMBEDDINGS)


def test_a_model_that_also_embeds_has_no_pods_for_it():
    both = {**LLAMA, "embeddings_model": LLAMA["model"]}
    assert settings(both).wanted_pods().embeddings_model is None


def test_the_disk_is_sized_by_the_models_names():
    assert settings({}).disk_gb() == 50
    large = {"model": "OpenVINO/Some-70B-int4-ov", "node_machine_type": "c3-highmem-22"}
    assert settings(large).disk_gb() == 90
    assert settings({"cache_gb": "200"}).disk_gb() == 200


def test_the_images_version_is_told_by_its_tag():
    pinned = ovms_version(settings({}))
    assert pinned is not None
    assert pinned >= ovms.SERVES_A_FOLDER
    own = settings({"container_image": f"{IMAGE}:2026.2.1-gpu{DIGEST}"})
    assert ovms_version(own) == ovms.Version(2026, 2, 1)


def test_all_of_a_bad_configuration_is_refused_at_once():
    bad = {
        "model": "Qwen/Qwen3-8B",
        "expose": "load_balancer",
        "tls": "acme",
        "idle_minutes": "soon",
        "node_disk_type": "pd-standard",
        "kv_type": "q8_0",
        "tool_call_parser": "hermes",
        "engine_flags": "--rest_port 1",
        "node_machine_tpye": "c3-standard-44",
    }
    said = refusal(bad)
    for key in ("model", "tls", "idle_minutes", "node_disk_type", "kv_type", "tool_call_parser"):
        assert f"llm-endpoint:{key} is {bad[key]!r}" in said
    assert "engine_flags is not as it should be: --rest_port is not for engine_flags" in said
    assert "node_machine_tpye is unknown here: did you mean node_machine_type?" in said
    assert "allowed_cidrs is not set" in said
    assert "9 problems" in said
    assert said.count("next:") == 9


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            "Qwen/Qwen3-8B",
            "Qwen publishes safetensors, and OpenVINO Model Server serves models in OpenVINO's "
            "format: OpenVINO/Qwen3-8B-int4-ov is what such a one of it is often called\n"
            "    next: scripts/pulumi config set model OpenVINO/Qwen3-8B-int4-ov",
        ),
        ("someone/Qwen3-8B-AWQ", "its name tells of safetensors"),
        ("someone/Qwen3-8B-GPTQ-Int4", "its name tells of safetensors"),
        ("mlx-community/Qwen3-8B-mlx", "its name tells of MLX"),
        (
            "bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M",
            "OpenVINO Model Server is given no GGUF files here",
        ),
        ("https://example.org/model.gguf", "or scripts/pulumi config set engine llama_cpp"),
        (
            "OpenVINO/Qwen3-8B-int4-ov@main:openvino_model.xml",
            "next: scripts/pulumi config set model OpenVINO/Qwen3-8B-int4-ov@main",
        ),
        ("./model", "name a hub repository (owner/repo), a hub file"),
        ("builtin:stand-in", "the stand-in only tries things out on this machine"),
    ],
)
def test_a_model_that_ovms_does_not_serve_is_refused_with_what_would_do(model: str, said: str):
    refused = refusal({"model": model})
    assert said in refused
    assert "one problem" in refused


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            {"engine": "llama_cpp"},
            "its name tells of OpenVINO's format, as that of OpenVINO/Qwen3-8B-int4-ov does, and "
            "llama.cpp loads GGUF files",
        ),
        ({"embeddings_model": GOOD["model"]}, "it takes another repository\n    next: scripts/"),
        ({"embeddings_model": "BAAI/bge-m3"}, "OpenVINO/bge-m3-int8-ov is what such a one"),
        ({**LLAMA, "embeddings_model": EMBEDDINGS}, "its name tells of OpenVINO's format"),
        ({"kv_type": "q8_0"}, "with engine 'ovms' it takes u8, f16, bf16, f32"),
        ({**LLAMA, "kv_type": "u8"}, "with engine 'llama_cpp' it takes llama.cpp's, such as f16"),
        ({**LLAMA, "kv_cache_gb": "4"}, "it is for ovms, and engine is 'llama_cpp'"),
        ({**LLAMA, "reasoning_parser": "qwen3"}, "it is for ovms, and engine is 'llama_cpp'"),
        (
            {"tool_call_parser": "hermes"},
            "OpenVINO Model Server 2026.3.1 has none of that name: it takes",
        ),
        (
            {"container_image": f"{IMAGE}:2026.1{DIGEST}"},
            "OpenVINO Model Server 2026.1 is too old for serving a folder that it may not write "
            "to, which came with 2026.2\n    next: scripts/pulumi config rm container_image",
        ),
        (
            {"container_image": f"{IMAGE}:2026.2{DIGEST}", "tool_call_parser": "minicpm5"},
            "OpenVINO Model Server 2026.2 has no tool_call_parser minicpm5, which came with 2026.3",
        ),
        ({"container_image": f"{IMAGE}:2026.3"}, "it has no digest"),
        (
            {"container_image": f"ghcr.io/ggml-org/llama.cpp:server{DIGEST}"},
            "that is the image of llama_cpp, and engine is 'ovms'\n    next: scripts/pulumi config "
            "rm container_image, or scripts/pulumi config set engine llama_cpp",
        ),
        (
            {"container_image": f"vllm/vllm-openai:v1{DIGEST}"},
            "that is the image of vllm, and engine is 'ovms'\n    next: scripts/pulumi config rm "
            "container_image",
        ),
        ({"container_image": "build"}, "a cluster builds none"),
        ({"container_image": IMAGE}, "it takes an image with its tag and digest"),
        (
            {"engine": "llama_cpp"},
            "next: scripts/pulumi config set engine ovms, or scripts/pulumi config set model "
            "bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M",
        ),
        (
            {"model": "A/Foo-8B-int4-ov", "embeddings_model": "B/Foo-8B-int4-ov"},
            "clients ask for it as Foo-8B-int4-ov, the repository's name alone, and so they do for "
            "the one that chats, A/Foo-8B-int4-ov (model)",
        ),
        ({"engine_flags": "--cache_size=3"}, "or it would open the server"),
        (
            {"engine_flags": "--cache_size=3"},
            "next: scripts/pulumi config set engine_flags -- 'VALUE'",
        ),
        ({"engine_flags": "--cache_size=3"}, "--cache_size is kv_cache_gb"),
        ({"engine_flags": "--dynamic_splt_fuse true"}, "did you mean --dynamic_split_fuse?"),
        ({"engine_flags": "--pooling CLS"}, "--pooling is for other tasks"),
        ({**LLAMA, "engine_flags": "--host 0.0.0.0"}, "--host is not for engine_flags"),
        (
            {"model": "OpenVINO/X-70B-int4-ov", "cache_gb": "20"},
            "cache_gb is '20': the models take about 40.2 GB by their names",
        ),
    ],
)
def test_keys_that_are_not_the_engines_are_refused(raw: dict[str, str], said: str):
    refused = refusal(raw)
    assert said in refused
    assert "one problem" in refused


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            {"pod_cpus": "22"},
            "pod_cpus is '22': a pod that asks for 22 processors and 77 GB finds no node: a node "
            "of c3-standard-22 (22 processors, 88 GB) has 21 processors and 77 GB left",
        ),
        ({"pod_memory_gb": "80"}, "next: scripts/pulumi config set pod_memory_gb 77"),
        ({"node_machine_type": "e2-medium"}, "nothing is left for a pod that serves a model"),
        (
            {"replicas": "2"},
            "max_nodes is not set: 2 pods of 21 processors and 77 GB take 2 nodes, and max_nodes "
            "is 1",
        ),
        (
            {"max_replicas": "5", "max_nodes": "2", "pod_cpus": "10", "pod_memory_gb": "38"},
            "next: scripts/pulumi config set max_nodes 3, or "
            "scripts/pulumi config set max_replicas 4",
        ),
        (
            {"node_machine_type": "c9-standard-8"},
            "pod_cpus is not set: c9-standard-8: the catalogue does not know the nodes' machine "
            "type, and so not what one has left: set both pod_cpus and pod_memory_gb",
        ),
        (
            {"model": "OpenVINO/Some-235B-int8-ov"},
            "its pod has 77.0 GB",
        ),
        ({"kv_cache_gb": "90"}, "90.0 GB KV cache"),
        (
            {"kv_cache_gb": "1", "context_tokens": "32768"},
            "a request of 32768 tokens takes at least 2.4 GB of KV cache in u8, and there are 1.0",
        ),
    ],
)
def test_what_the_nodes_and_pods_can_not_hold_is_refused_with_numbers(
    raw: dict[str, str], said: str
):
    refused = refusal(raw)
    assert said in refused
    assert "one problem" in refused
    assert "next: scripts/pulumi config set" in refused


def test_a_command_for_a_stack_keeps_its_options_before_a_value_with_a_dash():
    with pytest.raises(ConfigurationError) as caught:
        load(GkeOvmsSettings, {**GOOD, "engine_flags": "--cache_size=3"}, {})
    step = "scripts/pulumi config set engine_flags --stack mine -- 'VALUE'"
    assert f"next: {step}" in str(caught.value.for_stack("mine"))


def test_what_does_only_together_is_two_commands():
    with pytest.raises(ConfigurationError) as caught:
        load(GkeOvmsSettings, {**GOOD, "pod_cpus": "30", "pod_memory_gb": "100"}, {})
    both = (
        "next: scripts/pulumi config set pod_cpus 21 --stack mine && "
        "scripts/pulumi config set pod_memory_gb 77 --stack mine, or "
    )
    assert both in str(caught.value.for_stack("mine"))


@pytest.mark.parametrize(
    ("size", "unset"), [("pod_cpus", "pod_memory_gb"), ("pod_memory_gb", "pod_cpus")]
)
def test_of_a_pod_s_size_on_unknown_nodes_what_is_unset_is_asked_for(size: str, unset: str):
    refused = refusal({"node_machine_type": "z9-standard-8", size: "8"})
    assert f"{unset} is not set" in refused
    assert f"next: scripts/pulumi config set {unset} VALUE" in refused


def test_more_pods_than_nodes_are_told_beside_a_cache_of_another_engine():
    refused = refusal({"replicas": "2", "kv_type": "q8_0"})
    assert "2 problems" in refused
    assert "take 2 nodes" in refused


@pytest.mark.parametrize(
    ("model", "tag", "warned"),
    [
        ("someone/own-embedding-0.6B-int8-ov", "2026.2", True),
        ("someone/own-embedding-0.6B-int8-ov", "latest", True),
        ("someone/own-embedding-0.6B-int8-ov", "2026.3", False),
        (EMBEDDINGS, "2026.2", False),
    ],
)
def test_a_pooling_that_neither_name_nor_image_tells_is_a_warning(
    model: str, tag: str, warned: bool
):
    read = settings({"embeddings_model": model, "container_image": f"{IMAGE}:{tag}{DIGEST}"})
    assert any(f"{model}: its name does not tell how" in said for said in read.warnings()) == warned


def test_memory_is_not_reckoned_for_a_model_or_cache_that_the_engine_does_not_take():
    small = {"node_machine_type": "c3-standard-4"}
    refused = refusal({**small, "model": "Qwen/Qwen3-235B", "kv_type": "q8_0"})
    assert "2 problems" in refused
    assert "missing" not in refused


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            {"model": "someone/Model-8B-int4"},
            ("its name does not tell of OpenVINO's format",),
        ),
        (
            {"model": "someone/unnamed-ov"},
            ("its name does not tell its size",),
        ),
        (
            {**LLAMA, "model": "someone/Model-8B"},
            ("someone/Model-8B-GGUF is what a repository that has them is often called",),
        ),
        (
            {**LLAMA, "model": "https://example.org/m-7B-Q4_K_M.gguf?token=s3cret"},
            ("a model's URL has a query, which stands in the pods' description",),
        ),
        (
            {"container_image": f"{IMAGE}:latest{DIGEST}", "engine_flags": "--new_flag 1"},
            ("has no flag --new_flag", "its tag tells no version"),
        ),
        (
            {"model": "OpenVINO/Some-14B-int4-ov", "pod_memory_gb": "11"},
            ("may be missing",),
        ),
    ],
)
def test_what_only_the_pod_finds_out_is_a_warning(raw: dict[str, str], said: tuple[str, ...]):
    warnings = settings(raw).warnings()
    assert len(warnings) == len(said)
    for warning, part in zip(warnings, said, strict=True):
        assert part in warning
        assert "s3cret" not in warning
