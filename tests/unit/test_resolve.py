"""What a stack names loosely, looked up: an image's digest, the image of a family."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_google_apis import FakeApis, refusal
from fake_registry import FakeRegistry

from scripts.resolve import __main__ as resolving
from scripts.resolve.__main__ import main
from scripts.resolve.boot_images import family_of

IMAGES = "projects/ubuntu-os-accelerator-images/global/images"
FAMILY = f"compute/v1/{IMAGES}/family/ubuntu-accelerator-2404-amd64-with-nvidia-580"
INSTANCE = "compute/v1/projects/my-project/zones/europe-west4-a/instances/llm-endpoint-gpu-vm"
NEWEST = "ubuntu-accelerator-2404-amd64-with-nvidia-580-v20261120"
DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture
def google() -> Iterator[FakeApis]:
    with FakeApis() as google:
        google.on(FAMILY, (200, {"name": NEWEST, "status": "READY"}))
        yield google


class Stack:
    """A stack's file, and what looking things up for it prints."""

    def __init__(self, google: FakeApis, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._environment = google.environment
        self._folder = folder
        self._capsys = capsys
        self.said = ""

    def resolve(self, *words: str, name: str = "gpu-vm", **keys: str) -> dict[str, str] | None:
        """Return what is to be recorded, or None where something can't be looked up."""
        own = {f"llm-endpoint:{key}": value for key, value in keys.items()}
        config = {"gcp:project": "my-project", "gcp:zone": "europe-west4-a", **own}
        (self._folder / f"Pulumi.{name}.yaml").write_text(json.dumps({"config": config}))
        status = main([name, *words], self._environment, self._folder)
        printed = self._capsys.readouterr()
        self.said = printed.err
        return json.loads(printed.out) if status == 0 else None


@pytest.fixture
def stack(google: FakeApis, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Stack:
    return Stack(google, tmp_path, capsys)


def test_the_image_that_the_family_stands_for_is_recorded(stack: Stack):
    assert stack.resolve() == {"image": f"{IMAGES}/{NEWEST}"}


def test_a_family_by_its_path_is_looked_up_and_an_image_is_left_alone(
    stack: Stack, google: FakeApis
):
    path = "projects/my-images/global/images"
    google.on(f"compute/v1/{path}/family/mine", (200, {"name": "mine-3"}))
    assert stack.resolve(image=f"{path}/family/mine") == {"image": f"{path}/mine-3"}
    assert stack.resolve(image=f"{path}/mine-2") == {}
    assert family_of("debian-12") == "projects/debian-cloud/global/images/family/debian-12"


def test_an_existing_machine_s_image_is_never_touched(stack: Stack, google: FakeApis):
    assert stack.resolve("--has-machine") == {}
    assert google.asked == []
    google.on(INSTANCE, (200, {"status": "TERMINATED"}))
    assert stack.resolve() == {}


def test_where_compute_engine_can_t_be_asked_a_note_is_enough(stack: Stack, google: FakeApis):
    google.on(FAMILY, refusal(403, "Compute Engine API has not been used", "SERVICE_DISABLED"))
    assert stack.resolve() == {}
    assert stack.said.startswith("note: image stays the family")
    assert "has not been used" in stack.said


def test_a_family_that_is_not_there_stops_up_before_it_begins(stack: Stack):
    path = "projects/my-images/global/images/family/none"
    assert stack.resolve(image=path) is None
    assert "no image family none in my-images\nnext: " in stack.said


def test_an_image_without_a_digest_gets_the_one_that_its_tag_stands_for(stack: Stack):
    with FakeRegistry() as registry:
        digest = registry.publish("owner/engine:server-1")
        tagged = f"{registry.host}/owner/engine:server-1"
        found = stack.resolve("--has-machine", container_image=tagged)
    assert found == {"container_image": f"{tagged}@{digest}"}


def test_a_program_without_machines_of_its_own_has_no_boot_image_to_look_up(
    stack: Stack, google: FakeApis
):
    assert stack.resolve(name="gke-ovms") == {}
    with FakeRegistry() as registry:
        digest = registry.publish("owner/model_server:2026.4.0")
        tagged = f"{registry.host}/owner/model_server:2026.4.0"
        found = stack.resolve(name="gke-ovms", container_image=tagged)
    assert found == {"container_image": f"{tagged}@{digest}"}
    assert google.asked == []


@pytest.mark.parametrize("given", [f"ghcr.io/o/x:1@{DIGEST}", "build", "no image at all"])
def test_no_registry_is_asked_where_there_is_nothing_to_look_up(stack: Stack, given: str):
    assert stack.resolve("--has-machine", container_image=given) == {}


def test_a_registry_that_can_t_be_reached_is_an_error_with_two_ways_on(stack: Stack):
    with FakeRegistry() as registry:
        tagged = f"{registry.host}/owner/engine:server-1"
        registry.broken = 503
        registry.publish("owner/engine:server-1")
        assert stack.resolve("--has-machine", container_image=tagged) is None
    assert f"container_image is '{tagged}'" in stack.said
    assert "next: scripts/up gpu-vm again where the registry can be reached" in stack.said
    assert f"config set container_image {tagged}@sha256:… --stack gpu-vm" in stack.said


def test_a_tag_that_is_not_there_asks_for_another_one(stack: Stack):
    with FakeRegistry() as registry:
        tagged = f"{registry.host}/owner/engine:none"
        assert stack.resolve("--has-machine", container_image=tagged) is None
    assert "has no such tag\nnext: scripts/pulumi config set container_image" in stack.said


def test_the_runtime_s_image_gets_its_digest_pinned_or_one_s_own(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
):
    with FakeRegistry() as registry:
        digest = registry.publish("owner/cpu-runtime:release-1")
        tagged = f"{registry.host}/owner/cpu-runtime:release-1"
        assert stack.resolve(name="gke-colab", runtime_image=tagged) == {
            "runtime_image": f"{tagged}@{digest}"
        }
        monkeypatch.setattr(resolving, "pinned_colab_image", lambda: tagged)
        assert stack.resolve(name="gke-colab") == {"runtime_image": f"{tagged}@{digest}"}
        monkeypatch.setattr(resolving, "pinned_colab_image", lambda: f"{tagged}@{digest}")
        assert stack.resolve(name="gke-colab") == {}


def test_the_pinned_runtime_s_image_stays_a_tag_where_its_registry_does_not_tell(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
):
    with FakeRegistry() as registry:
        registry.broken = 503
        tagged = f"{registry.host}/owner/cpu-runtime:release-1"
        monkeypatch.setattr(resolving, "pinned_colab_image", lambda: tagged)
        assert stack.resolve(name="gke-colab") == {}
        assert stack.said.startswith("note: the runtime's image stays a tag: runtime_image is")
        assert stack.resolve(name="gke-colab", runtime_image=tagged) is None


def test_a_program_without_containers_records_nothing(stack: Stack, google: FakeApis):
    assert stack.resolve(name="cpu-vm") == {}
    assert google.asked == []


def test_a_stack_that_is_no_program_s_is_said_to_be(stack: Stack):
    assert stack.resolve(name="mine") is None
    assert "the programs are" in stack.said
    assert "scripts/pulumi config set program local --stack mine\n" in stack.said
    assert "scripts/pulumi stack init mine\n" in stack.said


def test_a_stack_without_a_project_is_the_program_s_to_refuse(
    google: FakeApis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["gpu-vm"], google.environment, tmp_path) == 0
    assert json.loads(capsys.readouterr().out) == {}
    assert google.asked == []


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["a", "--now"]])
def test_other_arguments_are_refused(arguments: list[str], tmp_path: Path):
    assert main(arguments, {}, tmp_path) == 2
