"""The configuration of `gpu-vm`: what it takes, and what it refuses at once, by name."""

import pytest
from gpu_vm_settings import CPU, DIGEST, GOOD, SEVENTY, T4, VLLM, refusal, settings


def test_four_keys_are_enough_for_one_l4():
    read = settings({})
    gpus = read.gpus()
    assert gpus is not None
    assert (gpus[0].accelerator, gpus[1], read.attached) == ("nvidia-l4", 1, False)
    assert read.machine_type == "g2-standard-8"
    assert read.image == "ubuntu-24.04-nvidia-580"
    assert "/ubuntu-accelerator-2404-amd64-with-nvidia-580" in read.image_path
    assert read.offloaded_layers is None
    assert read.warnings() == ()


def test_an_n1_machine_has_the_gpus_that_are_attached_to_it():
    read = settings({**T4, "gpu_count": "2"})
    gpus = read.gpus()
    assert gpus is not None
    assert (gpus[0].name, gpus[1], read.attached) == ("t4", 2, True)
    (said,) = read.warnings()
    assert "Google ends the t4" in said


def test_zones_to_go_on_with_may_lie_in_another_region_where_none_is_set():
    more = {"zones": "europe-west4-b us-east1-b"}
    assert settings(more).zones == ("europe-west4-b", "us-east1-b")
    assert settings({"gcp:region": "europe-west4", "zones": "europe-west4-b"}).warnings() == ()


def test_without_a_gpu_the_same_containers_serve_on_any_machine():
    read = settings(CPU)
    assert (read.gpus(), read.attached) == (None, False)
    machine = read.machine()
    assert machine is not None
    tuned = read.tuned(None, machine)
    assert (tuned.threads, tuned.slots) == (machine.cores, 2)
    assert settings({"machine_type": "n1-standard-8", "gpu": "none"}).gpus() is None


def test_of_an_unknown_machine_type_the_gpu_is_what_is_said():
    newer = {"machine_type": "g5-standard-8"}
    said = refusal(newer)
    assert "gpu is not set: the catalogue does not know which GPUs g5-standard-8 has" in said
    assert "next: scripts/pulumi config set gpu l4" in said
    read = settings({**newer, "gpu": "l4", "gpu_count": "2"})
    gpus = read.gpus()
    assert gpus is not None
    assert (gpus[0].name, gpus[1], read.attached) == ("l4", 2, False)
    assert "does not know the machine type" in read.warnings()[0]


def test_all_of_a_bad_configuration_is_refused_at_once():
    bad = {
        "gcp:zone": "us-west3-a",
        "gcp:region": "us-west1",
        "gpu": "t4",
        "gpu_count": "4",
        "gpu_layers": "some",
        "image": "debian-12",
        "split_mode": "row",
        "chat_template": "vicunna",
        "tool_call_parser": "hermes",
        "container_image": "ghcr.io/ggml-org/llama.cpp:server-cuda",
        "kv_type": "fp8",
        "engine_flags": "--no-mmap",
        "gpus": "2",
    }
    said = refusal(bad)
    for key in bad:
        # An image of one's own may know other templates and flags, and a bad number of layers is
        # not judged together with the split.
        if key not in {"engine_flags", "chat_template", "split_mode"}:
            assert f"- {key if ':' in key else f'llm-endpoint:{key}'} is" in said, key
    assert "10 problems" in said
    assert said.count("next: ") == 10


@pytest.mark.parametrize(
    ("raw", "said", "next_step"),
    [
        (
            {"gcp:zone": "us-west3-a"},
            "us-west3-a has no g2-standard-8, as of",
            "set gcp:zone VALUE",
        ),
        (
            {**T4, "gcp:zone": "us-west1-c"},
            "us-west1-c has no t4, as of 2026-09-22: it is in us-west1-a, us-west1-b;",
            "set gcp:zone VALUE",
        ),
        (
            {"zones": "europe-west4-b us-west3-a"},
            "zones is 'europe-west4-b us-west3-a': us-west3-a has no g2-standard-8",
            "set zones VALUE",
        ),
        (
            {"gcp:region": "europe-west4", "zones": "europe-west4-b us-east1-b"},
            "gcp:region is 'europe-west4': zones has us-east1-b",
            "rm gcp:region",
        ),
        (
            {
                "network": "n",
                "subnetwork": "projects/p/regions/europe-west4/subnetworks/s",
                "zones": "us-east1-b",
            },
            "it lies in europe-west4, and zones has us-east1-b",
            "set subnetwork VALUE",
        ),
        ({"gpu": "t4"}, "gpu is 't4': g2-standard-8 has its GPUs built in (1 l4)", "rm gpu"),
        ({"gpu": "none"}, "would be paid for and not used", "rm gpu, or"),
        ({"gpu_count": "2"}, "gpu_count is '2': g2-standard-8 has its GPUs built", "rm gpu_count"),
        ({**CPU, "gpu_count": "1"}, "gpu_count is '1': gpu is none", "rm gpu_count"),
        (
            {"machine_type": "n1-standard-8"},
            "gpu is not set: n1-standard-8 has no GPU built in, but takes one",
            "set gpu t4, or scripts/pulumi config set gpu none",
        ),
        (
            {"machine_type": "e2-standard-8"},
            "gpu is not set: e2-standard-8 has no GPU built in; with none it serves on its",
            "set machine_type g2-standard-8, or scripts/pulumi config set gpu none",
        ),
        (
            {"machine_type": "e2-standard-8", "gpu": "t4"},
            "only n1 machines take a GPU, and e2-standard-8 is none",
            "set machine_type n1-standard-8",
        ),
        (
            {**T4, "gpu_count": "3"},
            "gpu_count is '3': a machine takes 1, 2 or 4 t4, not 3",
            "set gpu_count 4",
        ),
        (
            {**T4, "machine_type": "n1-standard-64"},
            "gpu is 't4': with 1 t4 a machine has at most 48 vCPUs",
            "set gpu_count 4",
        ),
        (
            {**T4, "gpu": "l4"},
            "the l4 is built into machines such as g2-standard-4",
            "set machine_type g2-standard-8",
        ),
        (
            {"image": "ubuntu-24.04"},
            "it has no NVIDIA driver",
            "set image ubuntu-24.04-nvidia-580",
        ),
        ({"split_mode": "row"}, "the machine has one GPU (l4)", "rm split_mode"),
        ({**CPU, "split_mode": "row"}, "split_mode is 'row': gpu is none", "rm split_mode"),
        ({**CPU, "gpu_layers": "9"}, "gpu_layers is '9': gpu is none", "rm gpu_layers"),
        (
            {**VLLM, **CPU},
            "engine is 'vllm': vLLM serves on NVIDIA GPUs, and gpu is none",
            "rm gpu, or scripts/pulumi config set engine llama_cpp",
        ),
        (
            {**VLLM, **T4, "gpu": "v100", "model": "Qwen/Qwen2.5-0.5B-Instruct"},
            "vLLM takes GPUs of compute capability 7.5 and more, and the v100 has 7.0",
            "set gpu t4, or scripts/pulumi config set machine_type g2-standard-8",
        ),
        (
            {"container_image": "build", "spot": "true", "spot_recovery": "mig"},
            "spot_recovery is 'mig': a build (container_image) can outlast the hour",
            "rm spot_recovery",
        ),
        ({**VLLM, "boot_gb": "60"}, "boot_gb is '60': vLLM's image has 9 GB", "set boot_gb 120"),
        (
            {**VLLM, "model": GOOD["model"]},
            "vLLM loads no GGUF files",
            "set model Qwen/Qwen2.5-7B-Instruct, or",
        ),
        ({**VLLM, "model": "o/m-7B-GGUF"}, "vLLM loads no GGUF files", "set model"),
        (
            {**VLLM, "embeddings_model": VLLM["model"]},
            "beside vLLM, which serves one model",
            "rm embeddings_model",
        ),
        ({**VLLM, "embeddings_model": "BAAI/bge-m3"}, "takes a GGUF file", "rm embeddings_model"),
        ({**VLLM, "flash_attention": "on"}, "it is for llama_cpp, and engine is 'vllm'", "rm fl"),
        ({**VLLM, "gpu_layers": "all"}, "it is for llama_cpp", "rm gpu_layers, or"),
        ({**VLLM, "split_mode": "none"}, "it is for llama_cpp", "rm split_mode"),
        ({**VLLM, "threads": "4"}, "threads is '4': it is for llama_cpp", "rm threads"),
        ({"tool_call_parser": "hermes"}, "it is for vllm, and engine is 'llama_cpp'", "rm tool"),
        ({"quantization": "fp8"}, "it is for vllm", "rm quantization, or"),
        ({"kv_type": "fp8"}, "with engine 'llama_cpp' it takes one of llama.cpp's", "rm kv_type"),
        ({**VLLM, "kv_type": "q8_0"}, "with engine 'vllm' it takes fp8", "set kv_type fp8"),
        (
            {"kv_type": "q8_0", "flash_attention": "off"},
            "llama.cpp keeps a q8_0 cache only with flash attention",
            "set flash_attention auto",
        ),
        (
            {**VLLM, "tool_call_parser": "hremes"},
            "the pinned image knows none of that name: did you mean hermes?",
            "set tool_call_parser hermes",
        ),
        (
            {**VLLM, "quantization": "zzz"},
            "it takes auto_awq, auto_gptq, awq",
            "set quantization VALUE",
        ),
        (
            {"chat_template": "vicunna"},
            "did you mean vicuna or vicuna-orca? (or one line of Jinja)",
            "set chat_template vicuna",
        ),
        ({**VLLM, "chat_template": "vicuna"}, "vLLM has no templates of its own", "rm chat_templ"),
        (
            {"engine_flags": "--treads-batch 8"},
            "has no flag --treads-batch; did you mean --threads-batch",
            "set engine_flags -- 'VALUE'",
        ),
        (
            {"container_image": "ghcr.io/ggml-org/llama.cpp:server-cuda"},
            "'ghcr.io/ggml-org/llama.cpp:server-cuda': it has no digest",
            "scripts.resolve",
        ),
        (
            {**VLLM, "container_image": "build"},
            "only llama.cpp's image is built here, and engine is 'vllm'",
            "rm container_image",
        ),
        (
            {"machine_type": "e2-highcpu-4", "gpu": "none", "model": SEVENTY},
            "machine_type is 'e2-highcpu-4': it has 4 GB of memory",
            "set machine_type VALUE",
        ),
    ],
)
def test_keys_that_do_not_fit_together_are_refused(raw: dict[str, str], said: str, next_step: str):
    message = refusal(raw)
    assert said in message
    assert next_step in message.partition(said)[2].partition("next: ")[2].partition("\n")[0]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("machine_type", "g2-standrd-8", "did you mean g2-standard-8"),
        ("machine_type", "e2-standrd-8", "did you mean e2-standard-8"),
        ("machine_type", "c4a-standard-8", "an Arm machine"),
        ("machine_type", "ct5lp-hightpu-1t", "TPUs"),
        ("gpu", "nvidia-l4", "did you mean l4?"),
        ("gpu", "p100", "Google ended the p100"),
        ("gpu_count", "0", "it takes a whole number, from 1, to 16"),
        ("gpu_layers", "0", "it takes auto, all, or a whole number, from 1, to 1000"),
        ("gpu_layers", "-1", "it takes auto, all, or a whole number"),
        ("boot_gb", "20", "it takes a whole number, from 30"),
        ("engine", "localllm", "it takes `llama_cpp`, `vllm`"),
        ("split_mode", "tensor", "it takes `layer`, `row`, `none`"),
        ("container_image", "llama.cpp", "an image with its tag and digest"),
        ("container_image", f"ghcr.io/x/y@{DIGEST}", "an image with its tag and digest"),
        ("container_image", "ghcr.io/x/y:z@sha256:12", "an image with its tag and digest"),
        ("container_image", "x y:z", "an image with its tag and digest"),
        ("chat_template", "{% for m in messages %}\n{{ m }}", "it takes one line"),
        ("engine_flags", "--gpu-layers 9", "--gpu-layers is not for engine_flags"),
        ("engine_flags", "--api-key x", "--api-key is not for engine_flags"),
        ("image", "debian-13", "it takes ubuntu-24.04-nvidia-580, ubuntu-24.04, debian-12, or"),
    ],
)
def test_a_value_that_will_not_do_is_refused_with_what_would(key: str, value: str, said: str):
    message = refusal({key: value})
    assert f"{key} is" in message
    assert said in message
    assert "next: scripts/pulumi config set" in message


def test_a_model_that_exceeds_the_gpu_is_refused_with_what_would_fit():
    said = refusal({"model": SEVENTY, "cache_gb": "200"})
    assert f"model is '{SEVENTY}': by its name it takes at least" in said
    assert "1 l4 has 23.6 GB for it" in said
    assert "GB are missing; any of these would fit: machine_type" in said
    assert "next: scripts/pulumi config set machine_type a2-ultragpu-1g" in said


def test_contexts_and_slots_that_exceed_it_are_refused_with_fewer_of_them():
    said = refusal({"context_tokens": "32768", "slots": "32", "kv_type": "f16"})
    assert "KV cache in f16 for 32 slots of 32768 tokens" in said
    for step in ("context_tokens ", "slots ", "machine_type "):
        assert f"scripts/pulumi config set {step}" in said


def test_what_may_fit_is_only_a_warning():
    (said,) = settings(
        {"model": "o/foo-8B-GGUF:Q8_0", "context_tokens": "32768", "slots": "8"}
    ).warnings()
    assert "GB may be missing" in said
    assert "the model's own header" in said


def test_a_warning_does_not_repeat_the_query_of_a_models_url():
    url = "https://example.org/foo-8B-Q8_0.gguf?token=hunter2"
    said = settings({"model": url, "context_tokens": "32768", "slots": "8"}).warnings()
    assert any("model https://example.org/foo-8B-Q8_0.gguf: by its name" in one for one in said)
    assert not any("hunter2" in one for one in said)


def test_only_machines_that_can_be_had_are_offered():
    big = {"model": SEVENTY, "cache_gb": "200"}
    west = {**big, "gcp:zone": "us-west1-a"}
    assert "a3-highgpu-1g" not in refusal(west)
    assert "a3-highgpu-1g" in refusal({**west, "spot": "true"})
    assert "a2-ultragpu-1g" not in refusal(west)
    edge = refusal({**big, "gcp:zone": "europe-west2-b", "spot": "true"})
    assert "g2-standard-48" in edge
    assert "a3-highgpu-1g" not in edge


def test_a_gpu_that_google_ends_is_offered_only_to_who_has_it():
    large = {"model": "o/m-22B-GGUF:Q6_K", "gcp:zone": "asia-southeast2-a"}
    assert "n1-standard-8 + 2 t4" in refusal({**T4, **large})
    on_an_l4 = refusal({**large, "model": SEVENTY, "cache_gb": "200"})
    assert "GB are missing; take a smaller model\n" in on_an_l4


def test_more_machine_or_fewer_layers_make_it_fit():
    assert settings({"model": SEVENTY, "machine_type": "g2-standard-48"}).warnings() == ()
    read = settings({"model": SEVENTY, "gpu_layers": "30"})
    assert read.offloaded_layers == 30
    assert read.warnings() == ()


def test_what_is_left_to_the_processor_has_to_fit_its_memory():
    said = refusal({"model": SEVENTY, "gpu_layers": "5", "machine_type": "g2-standard-4"})
    assert "machine_type is 'g2-standard-4': it has 16 GB of memory" in said
    assert "gpu_layers 5 leaves to the processor" in said


def test_with_one_gpu_for_the_model_the_others_do_not_count():
    two = {"machine_type": "g2-standard-24", "model": "o/Qwen2.5-32B-Instruct-GGUF:Q8_0"}
    assert settings(two).warnings() == ()
    said = refusal({**two, "split_mode": "none"})
    assert "1 l4 has 23.6 GB for it" in said
    assert "(1 a100-80gb)" in said
    assert "(2 l4)" not in said


def test_vllm_reckons_with_the_whole_repository():
    assert settings(VLLM).models_bytes() == 14_000_000_000
    assert settings({}).models_bytes() == int(7e9 * 4.89 / 8)
    both = settings({**VLLM, "embeddings_model": "o/bge-0.5B-GGUF:Q8_0", "threads": "2"})
    assert both.models_bytes() == 14_000_000_000 + 531_250_000
    assert both.beside().likely > 1e9


def test_a_bare_repository_is_llama_cpps_to_choose_from():
    assert settings({"model": "bartowski/Qwen2.5-7B-Instruct-GGUF"}).warnings() == ()


def test_an_image_of_ones_own_may_know_other_flags():
    own = f"ghcr.io/someone/llama.cpp:nightly@{DIGEST}"
    (said,) = settings({"container_image": own, "engine_flags": "--brand-new 1"}).warnings()
    assert "has no flag --brand-new" in said
    assert "may differ" in said
    registry = f"127.0.0.1:5000/llama.cpp:server@{DIGEST}"
    assert settings({"container_image": registry, "chat_template": "newest"}).has_own_image
    assert not settings({"container_image": "build"}).has_own_image
    older = {**VLLM, **T4, "gpu": "v100", "model": "Qwen/Qwen2.5-0.5B-Instruct"}
    older["container_image"] = f"ghcr.io/someone/vllm:v0.9@{DIGEST}"
    assert settings(older).gpus() is not None


def test_a_template_that_makes_no_tool_calls_is_a_warning():
    plain = "{% for m in messages %}{{ m['content'] }}{{ '\\n' }}{% endfor %}"
    for template in ("vicuna", "chatml", plain):
        (said,) = settings({"chat_template": template}).warnings()
        assert "makes no tool calls" in said
    with_tools = "{% if tools %}{{ tools | tojson }}{% endif %}" + plain
    assert settings({"chat_template": with_tools}).warnings() == ()
    assert settings({**VLLM, "chat_template": plain}).chat_template == plain


def test_a_type_that_an_ordinary_request_gets_only_as_spot_is_a_warning():
    small = {"machine_type": "a3-highgpu-1g", "gcp:zone": "europe-west4-b"}
    (said,) = settings(small).warnings()
    assert "only as Spot" in said
    assert settings({**small, "spot": "true"}).warnings() == ()


def test_a_family_of_gpus_that_the_pinned_image_no_longer_supports_is_refused(
    monkeypatch: pytest.MonkeyPatch,
):
    p4 = {"machine_type": "n1-standard-8", "gpu": "p4", "gcp:zone": "europe-west4-b"}
    small = {**p4, "model": "o/m-1B-GGUF:Q4_K_M"}
    assert settings(small).gpus() is not None
    pinned = {"images": {"llama_cpp_cuda": {"repository": "r", "tag": "t", "digest": DIGEST}}}
    pinned["images"]["llama_cpp_cuda"]["cuda"] = "13.0"
    monkeypatch.setattr("components.container_images._pins", lambda: pinned)
    assert "made with CUDA 13.0, and the p4 (Pascal) is supported up to CUDA 12" in refusal(small)
    b200 = {"machine_type": "a4-highgpu-8g", "gcp:zone": "us-central1-b", "spot": "true"}
    pinned["images"]["llama_cpp_cuda"]["cuda"] = "12.4"
    assert "(Blackwell) takes 12.8 or later" in refusal(b200)
