"""What `gpu-vm` says of a configuration that can't be judged here, and of how to mend one."""

import pytest
from gpu_vm_settings import CPU, DIGEST, SEVENTY, T4, VLLM, refusal, settings


def test_the_sources_command_in_the_documentation_is_taken():
    model = "TheBloke/vicuna-13B-v1.5-GGUF:vicuna-13b-v1.5.Q8_0.gguf"
    raw = {"model": model, "embeddings_model": model, "chat_template": "vicuna"}
    raw |= {"context_tokens": "512", "slots": "8"}
    read = settings({**raw, "engine_flags": "--threads-batch 8 --threads-http 8"})
    (said,) = read.warnings()
    assert "no tool calls" in said
    assert "are missing" in refusal({**raw, "context_tokens": "4096"})


def test_every_flag_that_another_key_sets_is_named_with_that_key():
    said = refusal({"engine_flags": "--port 1 --ctx-size 4096 -ngl 96 --threads-http 8"})
    assert "--port, --ctx-size, -ngl are not for engine_flags" in said
    assert "--ctx-size is context_tokens (of one slot) and slots, -ngl is gpu_layers" in said
    assert "4096" not in said
    said = refusal({**VLLM, "engine_flags": "--max-model-len=8192"})
    assert "--max-model-len is context_tokens" in said


@pytest.mark.parametrize(
    ("raw", "engine"),
    [
        ({"container_image": f"vllm/vllm-openai:v0.31.0@{DIGEST}"}, "vllm"),
        ({**VLLM, "container_image": f"ghcr.io/o/llama.cpp:server@{DIGEST}"}, "llama_cpp"),
    ],
)
def test_an_image_of_the_other_engine_is_refused(raw: dict[str, str], engine: str):
    said = refusal(raw)
    assert f"that is the image of {engine}, and engine is" in said
    assert f"or scripts/pulumi config set engine {engine}" in said


def test_an_image_without_cuda_on_gpus_is_a_warning():
    server = f"ghcr.io/ggml-org/llama.cpp:server-b1@{DIGEST}"
    (said,) = settings({"container_image": server}).warnings()
    assert "its tag does not say cuda" in said
    assert settings({**CPU, "container_image": server}).warnings() == ()
    cuda = server.replace("server-b1", "server-cuda-b1")
    assert settings({"container_image": cuda}).warnings() == ()


def test_a_name_that_tells_no_size_is_a_warning():
    (said,) = settings({"model": "o/mystery-GGUF:model.gguf"}).warnings()
    assert "its name does not tell its size" in said
    assert "the machine reckons with the model's own header" in said
    (said,) = settings({**VLLM, "model": "o/mystery"}).warnings()
    assert "vLLM finds out when it loads it" in said
    assert settings({**CPU, "model": "o/mystery-GGUF:model.gguf"}).warnings() == ()


@pytest.mark.parametrize("key", ["model", "embeddings_model"])
def test_a_repository_whose_name_does_not_tell_of_gguf_files_is_a_warning(key: str):
    (said,) = settings({key: "Qwen/Qwen2.5-7B-Instruct"}).warnings()
    assert said.startswith(f"{key} Qwen/Qwen2.5-7B-Instruct: llama.cpp loads GGUF files")


def test_vllm_does_not_reckon_with_a_gguf_file():
    said = refusal({"engine": "vllm"})
    assert said.count("llm-endpoint:model is") == 1
    assert "one problem" in said


@pytest.mark.parametrize(
    ("raw", "step"),
    [
        ({"machine_type": "n1-standard-8", "gpu": "l4"}, "machine_type g2-standard-8"),
        ({"machine_type": "n1-standard-8", "gpu": "a100"}, "machine_type a2-highgpu-1g"),
        ({"machine_type": "n2-standard-8", "gpu": "t4"}, "machine_type n1-standard-8"),
        ({"machine_type": "n1-standard-96", "gpu": "t4"}, "gpu_count 4"),
        ({"machine_type": "n1-standard-8", "gpu": "t4", "gpu_count": "3"}, "gpu_count 4"),
    ],
)
def test_the_next_step_of_a_gpu_that_cannot_be_attached_makes_it_good(
    raw: dict[str, str], step: str
):
    assert f"next: scripts/pulumi config set {step}\n" in refusal(raw) + "\n"
    key, value = step.split()
    mended = settings({**raw, key: value}).gpus()
    assert mended is not None
    assert mended[0].name == raw["gpu"]


def test_what_has_gpus_of_its_own_goes_without_the_key():
    said = refusal({**T4, "model": SEVENTY})
    assert "what has GPUs of its own goes without gpu" in said
    assert "goes without gpu" not in refusal({"model": SEVENTY})


def test_a_misspelt_value_s_next_step_is_the_value_that_was_meant():
    assert "next: scripts/pulumi config set gpu l4\n" in f"{refusal({'gpu': 'L4'})}\n"


def test_the_boot_disk_holds_the_image_of_the_engine():
    assert settings({}).boot_disk_gb == 60
    assert settings({"engine": "vllm", "model": VLLM["model"]}).boot_disk_gb == 120
