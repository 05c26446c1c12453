"""Stage `gpu`: driver, GPUs and containers, and why a server may not count on them."""

from pathlib import Path

import pytest
from fake_world import SERVERS, FakeMachine, fake_machine

from machine import gpus
from machine.commands import Command, Result
from machine.config import Config
from machine.errors import Permanent, StageError, Temporary
from machine.gpus import Gpu
from machine.stages import gpu

LINE = "NVIDIA L4, 580.95.05, 23034, 8.9\n"
LLAMA = f"ghcr.io/ggml-org/llama.cpp:server-cuda-b11459@sha256:{'f' * 64}"
LLAMA_13 = "ghcr.io/ggml-org/llama.cpp:server-cuda13-b11459"
VLLM = f"vllm/vllm-openai:v0.31.0@sha256:{'c' * 64}"
L4 = {"model": "nvidia-l4", "count": 1, "compute_capability": "8.9"}
NO_DRIVER = Result(
    125, "", 'docker: Error response from daemon: could not select device driver "" with '
    "capabilities: [[gpu]].\n"
)  # fmt: skip
NO_VENDOR = Result(
    125, "", "docker: Error response from daemon: failed to discover GPU vendor from CDI: no known "
    "GPU vendor found\n"
)  # fmt: skip
either_docker = pytest.mark.parametrize("refusal", [NO_DRIVER, NO_VENDOR])


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    made = fake_machine(tmp_path)
    made.run.answers = {"docker run": Result(0, LINE), "nvidia-smi": Result(0, LINE)}
    return made


def configured(
    machine: FakeMachine,
    image: str = LLAMA,
    cuda: str | None = "12.8",
    count: int = 1,
    lists_devices: tuple[str, ...] = (),
) -> Config:
    engines = {
        "llama-wheel": {
            "kind": "container",
            "image": {"kind": "pulled", "reference": image},
            "cuda": cuda,
            "lists_devices": list(lists_devices),
        }
    }
    return machine.config(engines=engines, gpus={**L4, "count": count}, servers=SERVERS)


def failure(machine: FakeMachine, config: Config | None = None) -> StageError:
    with pytest.raises(StageError) as caught:
        gpu.run(config or configured(machine), machine.world)
    return caught.value


def driven(machine: FakeMachine, driver: str, capability: str = "8.9", name: str = "NVIDIA L4"):
    machine.run.answers["nvidia-smi"] = Result(0, f"{name}, {driver}, 23034, {capability}\n")


def test_gpus_that_a_container_sees_too_are_ready(machine: FakeMachine):
    said = gpu.run(configured(machine), machine.world)
    assert said == "1 × NVIDIA L4, driver 580.95.05, for llama-wheel of CUDA 12.8"
    asked, made, described, tried, looked, linked = machine.run.lines()
    assert made == "nvidia-ctk system create-device-nodes --control-devices --load-kernel-modules"
    assert described == "systemctl restart nvidia-cdi-refresh.service"
    assert looked.endswith(f"--entrypoint=test {LLAMA} -c /dev/nvidia-uvm")
    assert asked.startswith("nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap")
    assert linked == "nvidia-ctk system create-dev-char-symlinks --create-all"
    assert tried.startswith("docker run --rm --pull=never --user=65534:65534 --read-only")
    for option in ("--gpus=all", "--network=none", f"--entrypoint=nvidia-smi {LLAMA}"):
        assert option in tried


def test_a_machine_without_gpus_is_asked_nothing(machine: FakeMachine):
    assert gpu.run(machine.config(), machine.world) == "the machine is to have no GPUs"
    assert machine.run.commands == []


def test_what_nvidia_smi_says_of_each_gpu_is_read():
    text = "NVIDIA RTX 6000, Ada, 570.26, 49140, 8.9\n\nNVIDIA GB10, 580.95.05, [N/A], 12.1\n"
    assert gpus.parse(text) == (
        Gpu("NVIDIA RTX 6000, Ada", "570.26", 49140 * 1024 * 1024, "8.9"),
        Gpu("NVIDIA GB10", "580.95.05", None, "12.1"),
    )
    assert gpus.parse("") == ()
    for damaged in ("NVIDIA L4, 580.95.05, 23034\n", "NVIDIA L4, soon, 23034, 8.9\n", "Error\n"):
        with pytest.raises(ValueError, match=damaged.strip()[:5]):
            gpus.parse(damaged)


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (Result(127), Permanent, "image ubuntu-24.04-nvidia-580"),
        (
            Result(2, 'Field "compute_cap" is not a valid field to query.'),
            Permanent,
            "since 510",
        ),
        (
            Result(18, "Failed to initialize NVML: Driver/library version mismatch"),
            Permanent,
            "restart the machine",
        ),
        (
            Result(9, "NVIDIA-SMI has failed because it couldn't communicate with the driver."),
            Temporary,
            "nvidia-smi ended with 9",
        ),
        (Result(0, "something else\n"), Temporary, "something else"),
        (Result(6, "No devices were found"), Permanent, "its driver sees none"),
    ],
)
def test_a_driver_that_does_not_answer_says_whether_another_try_helps(
    machine: FakeMachine, answer: Result, kind: type[StageError], told: str
):
    machine.run.answers["nvidia-smi"] = answer
    error = failure(machine)
    assert isinstance(error, kind)
    assert told in error.message
    assert not machine.run.lines("docker")


def test_fewer_gpus_than_planned_are_named(machine: FakeMachine):
    error = failure(machine, configured(machine, count=2))
    assert isinstance(error, Permanent)
    assert "2 GPUs (nvidia-l4), and its driver sees 1: NVIDIA L4" in error.message


# CUDA and drivers


@pytest.mark.parametrize(
    ("driver", "cuda", "fits"),
    [
        ("580.95.05", "12.8", True),
        ("570.26", "12.8.1", True),
        ("570.124.06", "12.8", True),
        ("565.57.01", "12.8", False),
        ("580.65.06", "13.0.2", True),
        ("580.173.02", "13.1", False),
        ("580.173.02", "13.4.1", False),
        ("615.10.01", "13.4", True),
        ("610.43.02", "13.9", False),
        ("560.35.03", "12.7", True),
        ("450.80.02", "11.4", True),
    ],
)
def test_a_driver_runs_the_cuda_that_it_came_with_and_older(driver: str, cuda: str, fits: bool):
    assert gpus.runs(driver, cuda) is fits


def test_a_driver_that_is_too_old_is_named_with_both_versions_and_what_would_do(
    machine: FakeMachine,
):
    driven(machine, "550.54.15")
    error = failure(machine)
    assert isinstance(error, Permanent)
    first, following = error.message.splitlines()
    assert LLAMA in first
    assert "CUDA 12.8, which needs the NVIDIA driver 570.26 or later" in first
    assert "the machine has 550.54.15" in first
    expected = "next: scripts/pulumi config set image ubuntu-24.04-nvidia-580, then scripts/up"
    assert following == expected
    assert not machine.run.lines("docker run")


def test_an_image_of_a_newer_cuda_is_told_the_tag_of_an_older_one(machine: FakeMachine):
    message = failure(machine, configured(machine, LLAMA_13, "13.4.1")).message
    assert "needs the NVIDIA driver 615 or later, and the machine has 580.95.05" in message
    older = "ghcr.io/ggml-org/llama.cpp:server-cuda-b11459"
    assert f"scripts/pulumi config set container_image {older}, or set image to one" in message


def test_vllm_for_an_older_driver_is_one_that_starts(machine: FakeMachine):
    driven(machine, "575.57.08")
    message = failure(machine, configured(machine, VLLM, "13.0")).message
    assert "set container_image vllm/vllm-openai:v0.30.0-cu129" in message
    assert "set image ubuntu-24.04-nvidia-580" in message


@pytest.mark.parametrize(
    ("image", "driver", "capability"),
    [
        (LLAMA, "550.54.15", "8.9"),
        (LLAMA_13, "550.54.15", "8.9"),
        (VLLM, "570.26", "8.9"),
        (VLLM, "580.95.05", "7.0"),
        ("vllm/vllm-openai:v0.30.0-cu129", "550.54.15", "8.9"),
        ("ghcr.io/someone/server:cuda13", "580.95.05", "8.9"),
    ],
)
def test_no_tag_is_named_that_would_not_run_either(image: str, driver: str, capability: str):
    assert gpus.older_image(image, driver, capability) is None


def test_cuda_13_is_refused_for_gpus_that_it_has_no_code_for(machine: FakeMachine):
    driven(machine, "580.95.05", "7.0", "Tesla V100-SXM2-16GB")
    message = failure(machine, configured(machine, LLAMA_13, "13.0")).message
    assert "no code for the Tesla V100-SXM2-16GB (compute capability 7.0" in message
    assert "set container_image ghcr.io/ggml-org/llama.cpp:server-cuda-b11459, or take" in message
    gpu.run(configured(machine, LLAMA, "12.8"), machine.world)


def test_the_cuda_of_an_image_that_the_plan_does_not_know_is_read_from_it(machine: FakeMachine):
    variables = "PATH=/usr/bin\nCUDA_VERSION=13.1.0\nNVIDIA_REQUIRE_CUDA=cuda>=13.1\n"
    machine.run.answers = {"image inspect": Result(0, variables), **machine.run.answers}
    assert "CUDA 13.1.0" in failure(machine, configured(machine, cuda=None)).message
    machine.run.answers["image inspect"] = Result(0, "PATH=/usr/bin\n")
    said = gpu.run(configured(machine, cuda=None), machine.world)
    assert said.endswith("for llama-wheel of an unknown CUDA version")


# containers


@either_docker
def test_docker_that_was_there_before_the_toolkit_is_restarted_once(
    machine: FakeMachine, refusal: Result
):
    answers = [refusal, Result(0, LINE), Result(0)]
    machine.run.answers = {
        "docker run": lambda command: answers.pop(0),
        **{key: value for key, value in machine.run.answers.items() if key != "docker run"},
    }
    gpu.run(configured(machine), machine.world)
    assert machine.run.lines("restart docker") == ["systemctl restart docker.service"]
    assert answers == []


@either_docker
def test_docker_without_the_toolkit_is_permanent(machine: FakeMachine, refusal: Result):
    machine.run.answers["docker run"] = refusal
    error = failure(machine)
    assert isinstance(error, Permanent)
    assert "nvidia-container-toolkit" in error.message
    assert len(machine.run.lines("docker run")) == 2


def test_what_an_image_requires_of_the_driver_is_named_with_both_versions(machine: FakeMachine):
    machine.run.answers["docker run"] = Result(
        125,
        "",
        "docker: Error response from daemon: failed to create task for container: error running "
        "prestart hook #0: exit status 1, stdout: , stderr: Auto-detected mode as 'legacy'\n"
        "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.1, please update "
        "your driver to a newer version, or use an earlier cuda container: unknown\n",
    )
    error = failure(machine)
    assert isinstance(error, Permanent)
    assert "requires cuda>=13.1, and the machine has the NVIDIA driver 580.95.05" in error.message
    assert "set image to one with the NVIDIA driver 590.44.01" in error.message


@pytest.mark.parametrize(
    "answer",
    [
        Result(1, "Failed to initialize NVML: Unknown Error"),
        Result(125, "", f"docker: Error: No such image: {LLAMA}"),
        Result(0, ""),
        Result(0, "no table\n"),
    ],
)
def test_a_container_that_sees_no_gpus_is_tried_again(machine: FakeMachine, answer: Result):
    machine.run.answers["docker run"] = answer
    error = failure(machine)
    assert isinstance(error, Temporary)
    assert LLAMA in error.message


@pytest.mark.parametrize(("status", "is_refused"), [(0, False), (1, True), (127, False)])
def test_a_container_in_which_cuda_could_not_compute_is_tried_again(
    machine: FakeMachine, status: int, is_refused: bool
):
    machine.run.answers["docker run"] = lambda command: (
        Result(status) if "--entrypoint=test" in command.words else Result(0, LINE)
    )
    if not is_refused:
        gpu.run(configured(machine), machine.world)
        return
    error = failure(machine)
    assert isinstance(error, Temporary)
    assert f"a container of {LLAMA} has no /dev/nvidia-uvm" in error.message


# what the engine in the container finds

LISTS = ("/app/llama-server", "--list-devices")
CUDA0 = "Available devices:\n  CUDA0: NVIDIA L4 (22563 MiB, 22333 MiB free)\n"
NO_DEVICES = "Available devices:\n  (none)\n"


def listing(machine: FakeMachine, answer: Result, count: int = 1) -> Config:
    """A machine with `count` GPUs, on which llama.cpp's answer to `LISTS` is `answer`."""
    machine.run.answers = {
        "--list-devices": answer,
        "docker run": Result(0, LINE * count),
        "nvidia-smi": Result(0, LINE * count),
    }
    return configured(machine, count=count, lists_devices=LISTS)


def test_an_engine_that_can_list_its_devices_is_asked_as_it_serves(machine: FakeMachine):
    gpu.run(listing(machine, Result(0, CUDA0)), machine.world)
    (asked,) = machine.run.lines("--list-devices")
    assert "--pull=never --user=65534:65534 --read-only" in asked
    assert "--gpus=all --network=none" in asked
    assert asked.endswith(f"--entrypoint=/app/llama-server {LLAMA} --list-devices")
    # An image decides for itself what of the driver it is given.
    assert "NVIDIA_DRIVER_CAPABILITIES" not in asked


def test_only_cudas_devices_count():
    others = "  Vulkan0: NVIDIA L4 (1 MiB, 1 MiB free)\n  BLAS: OpenBLAS (0 MiB, 0 MiB free)\n"
    assert gpus.listed(CUDA0 + others + CUDA0.replace("0:", "1:")) == ("CUDA0", "CUDA1")
    assert gpus.listed(NO_DEVICES) == gpus.listed("") == ()
    # As llama.cpp's own program prints it; ggml's account of what it found is none of it.
    assert gpus.listed("ggml_cuda_init: found 1 CUDA devices:\n  Device 0: NVIDIA L4\n") == ()


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (Result(0, NO_DEVICES), Permanent, "rm container_image takes the pinned one"),
        (Result(0, ""), Permanent, "--list-devices in IMAGE printed nothing; with no CUDA device"),
        (
            Result(0, NO_DEVICES, "ggml_cuda_init: failed to initialize CUDA: unknown error\n"),
            Temporary,
            "failed to initialize CUDA: unknown error",
        ),
        (
            Result(
                0,
                NO_DEVICES,
                "ggml_cuda_init: failed to initialize CUDA: CUDA driver version is insufficient "
                "for CUDA runtime version\n",
            ),
            Permanent,
            "the machine has the NVIDIA driver 580.95.05\nnext: ",
        ),
        (Result(139, "", "CUDA error: out of memory\n"), Temporary, "docker ended with 139"),
        (Result(127, "", "exec: no such file"), Permanent, "has to have /app/llama-server"),
        (
            Result(1, "", "error: invalid argument: --list-devices\n"),
            Permanent,
            "of a build that knows --list-devices",
        ),
    ],
)
def test_an_engine_that_lists_no_gpu_is_refused_by_what_it_printed(
    machine: FakeMachine, answer: Result, kind: type[StageError], told: str
):
    error = failure(machine, listing(machine, answer))
    assert isinstance(error, kind)
    assert error.message.startswith(f"/app/llama-server --list-devices in {LLAMA} printed ")
    assert told.replace("IMAGE", LLAMA) in error.message


def test_an_engine_that_lists_fewer_gpus_than_planned_is_permanent(machine: FakeMachine):
    error = failure(machine, listing(machine, Result(0, CUDA0), count=2))
    assert isinstance(error, Permanent)
    assert "CUDA0: NVIDIA L4 (22563 MiB, 22333 MiB free)'; that is 1 of the 2" in error.message
    assert "CUDA_VISIBLE_DEVICES" in error.message


def test_an_engine_that_never_answers_leaves_no_container_behind(machine: FakeMachine):
    def hangs(command: Command) -> Result:
        raise Temporary(f"{command.what} took more than {command.seconds:.0f} s")

    config = listing(machine, Result(0, CUDA0))
    machine.run.answers["--list-devices"] = hangs
    assert "took more than 300 s" in failure(machine, config).message
    lines = machine.run.lines("docker")
    assert lines[-1] == "docker rm --force llm-endpoint-devices"
    assert "--name=llm-endpoint-devices" in lines[-2]


def test_devices_that_could_not_be_linked_are_told_and_fail_nothing(machine: FakeMachine):
    def by_program(command: Command) -> Result:
        return Result(1, "", "missing required device major")

    machine.run.answers["nvidia-ctk"] = by_program
    assert "nvidia-ctk ended with 1" in gpu.run(configured(machine), machine.world)
