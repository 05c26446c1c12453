"""The program of `gpu-vm`: from settings to what the machine becomes."""

import json

import pytest

from components.launch import Accelerator
from components.rendering.machine.plan import MachineGpus, MachinePlan, PowerOff, ResizeGroup
from components.settings import CpuVmSettings, GpuVmSettings
from components.targets.gcp.args import Gpus
from stacks import PROGRAMS
from stacks.gpu_vm import engine_package, files, gpus, plan

GOOD = {
    "gcp:project": "my-project",
    "gcp:zone": "us-central1-a",
    "allowed_cidrs": "203.0.113.7/32",
}
SMALL = {"model": "bartowski/Qwen2.5-7B-Instruct-GGUF:Qwen2.5-7B-Instruct-Q4_K_M.gguf"}
EMBED = "nomic-ai/nomic-embed-text-v1.5-GGUF:nomic-embed-text-v1.5.Q8_0.gguf"


def settings(**raw: str) -> GpuVmSettings:
    read = PROGRAMS["gpu-vm"].settings({**GOOD, **raw})
    assert isinstance(read, GpuVmSettings)
    return read


def planned(**raw: str) -> MachinePlan:
    return plan(settings(**raw), "gpu-vm")


def test_the_machine_has_to_have_the_gpus_that_its_type_has():
    assert planned().gpus == MachineGpus("nvidia-l4", 1, "8.9")
    assert planned().accelerator is Accelerator.CUDA
    assert planned(machine_type="g2-standard-24").gpus == MachineGpus("nvidia-l4", 2, "8.9")


def test_google_is_asked_for_gpus_only_where_the_type_has_none():
    assert gpus(settings()) == Gpus("nvidia-l4", 1, attached=False)
    attached = settings(machine_type="n1-standard-8", gpu="t4", gpu_count="2", **SMALL)
    assert gpus(attached) == Gpus("nvidia-tesla-t4", 2, attached=True)


def test_what_is_planned_and_what_is_asked_for_agree():
    for raw in ({}, {"machine_type": "n1-standard-8", "gpu": "t4", **SMALL}):
        asked, found = gpus(settings(**raw)), planned(**raw).gpus
        assert asked is not None
        assert found is not None
        assert (asked.accelerator, asked.count) == (found.model, found.count)


def test_with_no_gpu_the_same_machine_serves_on_its_processor():
    raw = {"machine_type": "n1-standard-16", "gpu": "none", **SMALL}
    assert planned(**raw).gpus is None
    assert planned(**raw).accelerator is Accelerator.CPU
    assert gpus(settings(**raw)) is None


def test_a_machine_with_gpus_is_an_ordinary_one_unless_spot_is_chosen():
    assert not settings().spot
    assert planned().stop == PowerOff()
    grouped = planned(spot="true", spot_recovery="mig")
    assert grouped.stop == ResizeGroup("llm-endpoint-gpu-vm")


def test_a_gpu_that_nobody_uses_is_stopped_after_an_hour():
    assert planned().idle_minutes == 60


def test_the_gateway_lets_some_wait_for_each_slot_of_all_servers():
    assert planned(slots="8").limits.active_requests == 32
    assert planned(slots="8", embeddings_model=EMBED).limits.active_requests == 48
    assert planned(slots="1").limits.active_requests == 16


def test_slots_of_vllm_are_counted_too():
    raw = {"engine": "vllm", "model": "Qwen/Qwen2.5-7B-Instruct", "boot_gb": "150"}
    assert planned(**raw, slots="64").limits.active_requests == 256


def test_the_receipt_names_the_image_or_what_it_was_built_from():
    assert engine_package(planned()).startswith("ghcr.io/ggml-org/llama.cpp:server-cuda-b")
    assert "@sha256:" in engine_package(planned())
    built = engine_package(planned(container_image="build"))
    assert built == "https://github.com/ggml-org/llama.cpp .devops/cuda.Dockerfile f498f864fbc0"


def test_what_the_machine_becomes_hangs_on_no_zone_project_or_range():
    other = {"gcp:zone": "europe-west4-a", "gcp:project": "other-project", "allowed_cidrs": "world"}
    assert planned(**other) == planned()


def test_what_the_machine_is_handed_names_its_image_gpus_and_servers():
    handed = files(settings(embeddings_model=EMBED), "gpu-vm")
    told = json.loads(handed["machine/etc/llm-endpoint/machine.json"])
    assert told["gpus"] == {"model": "nvidia-l4", "count": 1, "compute_capability": "8.9"}
    assert [server["name"] for server in told["servers"]] == ["chat", "embeddings"]
    (engine,) = told["engines"].values()
    assert engine["image"]["reference"] == engine_package(planned())
    for server in ("chat", "embeddings"):
        unit = handed[f"machine/etc/systemd/system/llm-endpoint-server-{server}.service"]
        assert f" {engine['image']['reference']} " in unit


def test_the_program_takes_its_own_settings_alone():
    cpu = PROGRAMS["cpu-vm"].settings(GOOD)
    assert isinstance(cpu, CpuVmSettings)
    with pytest.raises(TypeError, match="GpuVmSettings"):
        plan(cpu, "gpu-vm")
