"""Container images of engines: there, pulled, or built at their commit, or why that can't be."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_world import FakeMachine, fake_machine

from machine.commands import Command, Result
from machine.config import BuiltImage, Config, Container
from machine.errors import Permanent, StageError, Temporary
from machine.stages import engine, images

REFERENCE = f"ghcr.io/ggml-org/llama.cpp:server-cuda-b11459@sha256:{'f' * 64}"
PULLED = {"kind": "pulled", "reference": REFERENCE}
COMMIT = "c" * 40
BUILT = {
    "kind": "built",
    "name": "llm-endpoint/llama-cpp:cccccccccccc",
    "source": {"url": "https://example.org/llama.cpp", "commit": COMMIT, "subdirectory": ""},
    "dockerfile": ".devops/cuda.Dockerfile",
    "stage": "server",
    "arguments": {"CUDA_DOCKER_ARCH": "89", "GCC_VERSION": "14"},
}
NO_IMAGE = Result(1, "[]\n", f"Error: No such image: {REFERENCE}\n")
ANSWERS = {
    "docker info": Result(0, "20.10.24 systemd 2\n"),
    "IPAddressDeny": Result(0, "::/0 0.0.0.0/0\n"),
    "rev-parse": Result(0, f"{COMMIT}\n"),
}


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    made = fake_machine(tmp_path)
    made.run.answers = {**ANSWERS, "image inspect": NO_IMAGE}
    return made


def configured(machine: FakeMachine, image: object = PULLED) -> Config:
    container = {"kind": "container", "image": image, "cuda": "12.8", "lists_devices": []}
    return machine.config(engines={"llama-wheel": container})


def failure(machine: FakeMachine, image: object = PULLED) -> StageError:
    with pytest.raises(StageError) as caught:
        engine.run(configured(machine, image), machine.world)
    return caught.value


def test_an_image_is_pulled_by_its_digest_once(machine: FakeMachine):
    def pull(command: Command) -> Result:
        machine.run.answers["image inspect"] = Result(0, "sha256:00\n")
        return Result(0)

    machine.run.answers["docker pull"] = pull
    config = configured(machine)
    assert engine.run(config, machine.world) == "pulled the image of llama-wheel"
    assert machine.run.lines("docker pull") == [f"docker pull {REFERENCE}"]
    assert engine.run(config, machine.world) == "the image of llama-wheel is there"
    assert len(machine.run.lines("docker pull")) == 1
    assert not machine.run.lines("pip")


def test_a_pull_says_how_many_layers_are_there():
    begun = "b1: Pulling from x/y\n0123456789ab: Pulling fs layer\nfedcba987654: Already exists\n"
    assert images.layers(begun) == "1 of 2 layers are there"
    assert images.layers(begun + "0123456789ab: Download complete\n") == images.layers(begun)
    assert images.layers(begun + "0123456789ab: Pull complete\n") == "2 of 2 layers are there"
    assert images.layers("b1: Pulling from x/y\n") == ""


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        (
            f"Error response from daemon: manifest for {REFERENCE} not found: manifest unknown",
            Permanent,
            "container_image",
        ),
        (
            f'Error response from daemon: failed to resolve reference "{REFERENCE}": '
            f"{REFERENCE}: not found",
            Permanent,
            "is not in its registry",
        ),
        (
            "Error response from daemon: pull access denied for x/y, repository does not exist or "
            "may require 'docker login': denied: requested access to the resource is denied",
            Permanent,
            "not given without a login",
        ),
        (
            "Error response from daemon: Head https://ghcr.io/v2/x/manifests/t: unauthorized",
            Permanent,
            "container_image",
        ),
        (
            "no matching manifest for linux/arm64/v8 in the manifest list entries",
            Permanent,
            "no variant for this machine's processors",
        ),
        (
            "failed to register layer: Error processing tar file(exit status 1): write /usr/lib/x: "
            "no space left on device",
            Permanent,
            "set boot_gb",
        ),
        (
            "toomanyrequests: You have reached your unauthenticated pull rate limit: denied",
            Temporary,
            "tried again by itself",
        ),
        (
            "Error response from daemon: Get https://ghcr.io/v2/: dial tcp: lookup ghcr.io on "
            "127.0.0.53:53: no such host",
            Temporary,
            "reaches the registry",
        ),
        (
            "error pulling image configuration: received unexpected HTTP status: 503 Service "
            "Unavailable",
            Temporary,
            "reaches the registry",
        ),
        (
            "failed to copy: httpReadSeeker: failed open: unexpected status from GET request to "
            "https://layers.example.org/blobs/sha256/00/data: 403 Forbidden",
            Temporary,
            "tried again by itself",
        ),
        (
            "filesystem layer verification failed for digest sha256:00",
            Temporary,
            "tried again by itself",
        ),
    ],
)
def test_a_pull_that_fails_says_whether_another_try_helps(
    machine: FakeMachine, said: str, kind: type[StageError], told: str
):
    machine.run.answers["docker pull"] = Result(1, "b11459: Pulling from x/y\n", said)
    error = failure(machine)
    assert isinstance(error, kind)
    assert told in error.message
    assert said in error.log


def test_docker_that_is_not_up_yet_is_started(machine: FakeMachine):
    def start(command: Command) -> Result:
        machine.run.answers["docker info"] = ANSWERS["docker info"]
        return Result(0)

    machine.run.answers |= {"docker info": Result(0, "  \n"), "systemctl start": start}
    assert engine.run(configured(machine), machine.world) == "pulled the image of llama-wheel"
    assert machine.run.lines("systemctl start") == ["systemctl start docker.service"]


def test_docker_that_does_not_start_is_tried_again_with_its_journal(machine: FakeMachine):
    machine.run.answers |= {
        "docker info": Result(1, "", "Cannot connect to the Docker daemon"),
        "systemctl start": Result(1, "", "Job for docker.service failed"),
        "journalctl": Result(0, "failed to load daemon.json\n"),
    }
    error = failure(machine)
    assert isinstance(error, Temporary)
    assert "Docker does not answer" in error.message
    assert error.log == ("Job for docker.service failed", "failed to load daemon.json")


def test_a_slice_that_can_t_be_asked_about_is_not_taken_for_one_that_holds(machine: FakeMachine):
    machine.run.answers |= {"IPAddressDeny": Result(1, "", "Failed to connect to bus\n")}
    error = failure(machine)
    assert isinstance(error, Temporary)
    assert "does not tell what llm-endpoint-engines.slice denies" in error.message


@pytest.mark.parametrize(
    "change",
    [
        {"docker info": Result(0, "20.10.24 cgroupfs 2\n")},
        {"docker info": Result(0, "20.10.24 systemd 1\n")},
        {"IPAddressDeny": Result(0, "\n")},
    ],
)
def test_containers_that_nothing_keeps_off_the_network_are_refused(
    machine: FakeMachine, change: dict[str, Result | Callable[[Command], Result]]
):
    machine.run.answers |= change
    error = failure(machine)
    assert isinstance(error, Permanent)
    assert "llm-endpoint-engines.slice" in error.message
    assert not machine.run.lines("docker pull")


def test_docker_that_can_not_tell_of_an_image_is_not_one_without_it(machine: FakeMachine):
    machine.run.answers["image inspect"] = Result(1, "", "Cannot connect to the Docker daemon")
    assert isinstance(failure(machine), Temporary)
    assert not machine.run.lines("docker pull")


# built here


def recipe(machine: FakeMachine, image: object = BUILT) -> str:
    container = configured(machine, image).engines["llama-wheel"]
    assert isinstance(container, Container)
    assert isinstance(container.image, BuiltImage)
    return images.recipe(container.image)


def test_an_image_is_built_at_its_commit_by_its_dockerfile(machine: FakeMachine):
    assert engine.run(configured(machine, BUILT), machine.world) == "built the image of llama-wheel"
    (build,) = [c for c in machine.run.commands if c.words[:2] == ("docker", "build")]
    checkout = machine.paths.engine("llama-wheel") / "source"
    assert build.words[2:] == (
        "--network=host",
        f"--file={checkout}/.devops/cuda.Dockerfile",
        "--target=server",
        f"--label=llm-endpoint.recipe={recipe(machine)}",
        "--build-arg=CUDA_DOCKER_ARCH=89",
        "--build-arg=GCC_VERSION=14",
        "--tag=llm-endpoint/llama-cpp:cccccccccccc",
        str(checkout),
    )
    (fetch,) = machine.run.lines("git fetch")
    assert fetch.endswith(f"https://example.org/llama.cpp {COMMIT}")
    assert not checkout.exists()


@pytest.mark.parametrize(
    ("version", "environment"),
    [("20.10.24+dfsg1", {"DOCKER_BUILDKIT": "1"}), ("29.1.3", {})],
)
def test_only_stages_that_are_needed_are_built(
    machine: FakeMachine, version: str, environment: dict[str, str]
):
    machine.run.answers["docker info"] = Result(0, f"{version} systemd 2\n")
    engine.run(configured(machine, BUILT), machine.world)
    (build,) = [c for c in machine.run.commands if c.words[:2] == ("docker", "build")]
    assert build.environment == environment


def test_an_image_that_was_built_of_the_same_is_there(machine: FakeMachine):
    machine.run.answers["image inspect"] = Result(0, recipe(machine) + "\n")
    config = configured(machine, BUILT)
    assert engine.run(config, machine.world) == "the image of llama-wheel is there"
    assert not machine.run.lines("docker build")
    other = {**BUILT, "arguments": {"CUDA_DOCKER_ARCH": "75"}}
    config = configured(machine, other)
    assert engine.run(config, machine.world) == "built the image of llama-wheel"


def test_a_build_that_was_cut_off_begins_anew(machine: FakeMachine):
    left = machine.put(machine.paths.engine("llama-wheel") / "source" / "left", "")
    machine.run.answers["docker build"] = Result(1, "Step 5/9 : RUN cmake", "killed")
    error = failure(machine, BUILT)
    assert isinstance(error, Temporary)
    assert error.log == ("Step 5/9 : RUN cmake", "killed")
    assert not left.exists()


def test_a_build_without_room_names_the_boot_disk(machine: FakeMachine):
    machine.run.answers["docker build"] = Result(1, "", "write /x: no space left on device")
    error = failure(machine, BUILT)
    assert isinstance(error, Permanent)
    assert "set boot_gb" in error.message


def test_an_image_of_another_commit_is_not_built(machine: FakeMachine):
    machine.run.answers["rev-parse"] = Result(0, "d" * 40)
    assert isinstance(failure(machine, BUILT), Permanent)
    assert not machine.run.lines("docker build")


def test_a_build_says_the_step_that_it_is_at():
    assert images.last_step("Step 1/9 : FROM x\nStep 2/9 : RUN y\n\n") == "Step 2/9 : RUN y"
    assert images.last_step("") == ""
    assert len(images.last_step("x" * 500)) == 100
