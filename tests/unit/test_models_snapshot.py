"""Whole repositories for engines of safetensors: what is taken, what is checked, what survives."""

import json
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_hub import FakeHub, Fault, sha256

from components.models.reference import HubFile, parse_model_reference
from scripts.models import download as downloading
from scripts.models.safetensors import choose
from scripts.models.snapshot import Snapshot, ensure_snapshot
from scripts.models.store import Store, Whole
from scripts.models.transport import ModelError, Obstacle, Patience

REPOSITORY = "owner/repo"
WEIGHTS = [random.Random(seed).randbytes(200_000) for seed in (1, 2)]
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model-00001-of-00002.safetensors": WEIGHTS[0],
    "model-00002-of-00002.safetensors": WEIGHTS[1],
    "model.safetensors.index.json": b'{"weight_map": {}}',
    "1_Pooling/config.json": b"{}",
    "merges.txt": b"",
}
LEFT = {"README.md": b"# A model", "modeling.py": b"1 / 0", "pytorch_model.bin": b"pickle"}
ROOT = HubFile("owner", "repo")


@dataclass
class Machine:
    """A cache, a hub that it pulls from, and what was reported."""

    hub: FakeHub
    cache: Path
    reports: list[str] = field(default_factory=list)

    def pull(self, reference: str = REPOSITORY, retries: int = 1) -> Snapshot:
        parsed = parse_model_reference(reference)
        assert isinstance(parsed, HubFile)
        patience = Patience(read_seconds=10.0, retries=retries, sleep=lambda _: None)
        return ensure_snapshot(
            parsed, cache=self.cache, report=self.reports.append, patience=patience
        )

    def fails(self, reference: str = REPOSITORY, retries: int = 1) -> str:
        with pytest.raises(ModelError) as caught:
            self.pull(reference, retries)
        assert "\nnext: " in str(caught.value)
        return str(caught.value)

    def fetched(self) -> list[str]:
        """Return the names of the files that came from the store, in order."""
        return [seen.path.split("?")[0].split("/", 5)[-1] for seen in self.hub.fetches()]

    def pin(self) -> Path:
        (found,) = (self.cache / "models" / "references").glob("*.json")
        return found


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Machine]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    hub = FakeHub()
    hub.put(REPOSITORY, {**FILES, **LEFT})
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    yield Machine(hub, tmp_path / "Zwischenspeicher für Modelle")
    hub.close()


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_repository_is_pulled_with_its_folders_and_described(machine: Machine):
    commit = machine.hub.branches[REPOSITORY]["main"]
    found = machine.pull()
    assert content(found.path) == FILES
    assert found.commit == commit
    assert found.size_bytes == sum(map(len, FILES.values()))
    assert {part.path.relative_to(found.path).as_posix(): part.sha256 for part in found.files} == {
        name: sha256(body) for name, body in FILES.items()
    }
    assert found.path.parent == machine.cache / "models" / "contents"


def test_a_second_run_needs_no_network(machine: Machine):
    first = machine.pull()
    machine.hub.close()
    assert machine.pull() == first


def test_nothing_but_the_files_and_their_pin_is_left_in_the_cache(machine: Machine):
    found = machine.pull()
    left = {path for path in machine.cache.rglob("*") if path.is_file()}
    ours = {part.path for part in found.files} | {machine.pin()}
    assert {path.suffix for path in left - ours} == {".lock"}
    assert list((machine.cache / "models" / "incoming").iterdir()) == []


def test_the_pin_says_what_was_pulled_and_from_where(machine: Machine):
    commit = machine.pull().commit
    pin = json.loads(machine.pin().read_text())
    assert (pin["reference"], pin["commit"]) == ("all of owner/repo", commit)
    assert pin["url"] == f"{machine.hub.url}/{REPOSITORY}/tree/{commit}"
    assert [file["name"] for file in pin["files"]] == sorted(FILES)


def test_only_the_file_that_was_damaged_is_pulled_again(machine: Machine):
    found = machine.pull()
    name = "model-00002-of-00002.safetensors"
    (found.path / name).write_bytes(WEIGHTS[1][:-5])
    before = len(machine.fetched())
    assert content(machine.pull().path) == FILES
    assert machine.fetched()[before:] == [name]
    assert any(f"{name} is damaged: its sha256 is" in line for line in machine.reports)


def test_a_lost_file_comes_from_the_commit_that_was_pulled_first(machine: Machine):
    found = machine.pull()
    machine.hub.put(REPOSITORY, {**FILES, "config.json": b'{"model_type": "other"}'})
    (found.path / "config.json").unlink()
    again = machine.pull()
    assert again.commit == found.commit
    assert content(again.path) == FILES
    told = f"pinned to the commit {found.commit}: pulling from there what is missing"
    assert any(told in line for line in machine.reports)
    machine.pin().unlink()
    assert machine.pull().commit == machine.hub.branches[REPOSITORY]["main"]


def test_a_pinned_commit_that_is_gone_says_how_to_take_what_there_is(machine: Machine):
    found = machine.pull()
    (found.path / "config.json").unlink()
    machine.hub.put(REPOSITORY, {**FILES, "config.json": b"{}"})
    del machine.hub.commits[REPOSITORY][found.commit]
    message = machine.fails()
    assert f"has no revision {found.commit}" in message
    assert f"if the hub has that commit no more, delete {machine.pin()}" in message


def test_a_file_with_another_time_but_the_same_content_is_kept(machine: Machine):
    found = machine.pull()
    (found.path / "config.json").touch()
    machine.hub.close()
    assert machine.pull() == found


def test_a_damaged_download_is_pulled_again(machine: Machine):
    machine.hub.faults = [Fault("/store/owner/repo", damage=True)]
    machine.hub.put(REPOSITORY, {"config.json": b"{ }", "model.safetensors": WEIGHTS[0]})
    assert content(machine.pull().path)["config.json"] == b"{ }"
    assert machine.fetched() == ["config.json", "config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("config.json", "gave a file whose object id in git is"),
        ("model-00001-of-00002.safetensors", f"where the hub says {sha256(WEIGHTS[0])}"),
    ],
)
def test_content_is_held_to_what_the_hub_says_of_it(machine: Machine, name: str, told: str):
    machine.hub.faults = [Fault(f"/{name}?X", damage=True) for _ in range(2)]
    message = machine.fails()
    assert f"/{name}" in message
    assert told in message
    assert not (machine.cache / "models" / "references").exists()


def test_a_file_that_the_hub_has_no_digest_of_is_held_to_what_came_first(machine: Machine):
    machine.hub.without_oid = {"config.json"}
    found = machine.pull()
    assert content(found.path) == FILES
    (found.path / "config.json").unlink()
    machine.hub.faults = [Fault("/config.json?X", damage=True) for _ in range(2)]
    message = machine.fails()
    assert f"it is pinned to {sha256(FILES['config.json'])}" in message
    assert str(machine.pin()) in message
    assert machine.pull() == found


def test_a_pull_that_was_broken_off_goes_on_where_it_was(machine: Machine):
    name = "model-00002-of-00002.safetensors"
    machine.hub.faults = [Fault(f"{name}?X", cut=120_000)]
    machine.fails(retries=0)
    assert content(machine.pull().path) == FILES
    assert machine.fetched().count("model-00001-of-00002.safetensors") == 1
    resumed = machine.hub.fetches(name)[-1]
    assert resumed.headers["Range"] == "bytes=120000-"
    assert resumed.sent == 80_000


def test_two_references_to_one_commit_share_its_files(machine: Machine):
    first = machine.pull()
    fetched = len(machine.fetched())
    again = machine.pull(f"{REPOSITORY}@{first.commit}")
    assert again == first
    assert len(machine.fetched()) == fetched


def test_the_same_contents_under_other_names_have_a_folder_of_their_own(machine: Machine):
    first = machine.pull()
    renamed = {name.replace("merges.txt", "merge.txt"): body for name, body in FILES.items()}
    machine.hub.put(REPOSITORY, renamed, branch="v2")
    second = machine.pull(f"{REPOSITORY}@v2")
    assert second.path != first.path
    assert content(first.path) == FILES
    assert content(second.path) == renamed


def test_a_gguf_model_of_the_same_repository_has_a_pin_of_its_own(tmp_path: Path):
    store = Store(tmp_path)
    assert store.pin_file(ROOT) != store.pin_file(Whole(ROOT))
    assert store.incoming(ROOT) != store.incoming(Whole(ROOT))


def test_room_for_all_files_is_checked_first(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    usage = shutil.disk_usage(machine.cache.parent)._replace(free=300_000)
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ModelError) as caught:
        machine.pull()
    assert "has 300 kB free, and the model needs 420 kB there, 120 kB more" in str(caught.value)
    assert caught.value.obstacle is Obstacle.SPACE
    assert machine.fetched() == []


def test_a_lock_is_waited_for_and_what_is_pulled_named(machine: Machine):
    with Store(machine.cache).locked(Whole(ROOT), Patience(), machine.reports.append):
        patience = Patience(lock_seconds=2.0, sleep=lambda _: None)
        with pytest.raises(ModelError, match="has been pulling all of owner/repo for more than"):
            ensure_snapshot(
                ROOT, cache=machine.cache, report=machine.reports.append, patience=patience
            )


def test_a_gated_repository_says_how_to_get_in(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    machine.hub.gated.add(REPOSITORY)
    message = machine.fails()
    assert f"answered 401: {REPOSITORY} is gated" in message
    assert f"accept its licence at {machine.hub.url}/{REPOSITORY}, then set HF_TOKEN" in message
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    assert "with the account that HF_TOKEN is of" in machine.fails()


def test_the_token_goes_to_the_hub_alone(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    machine.pull()
    assert {("Authorization" in seen.headers, seen.server) for seen in machine.hub.seen} == {
        (True, "hub"),
        (False, "store"),
    }


def test_one_model_of_a_repository_is_no_snapshot(machine: Machine):
    message = machine.fails("owner/repo:Q4_K_M")
    assert "owner/repo:Q4_K_M names one model of a repository of GGUF files" in message
    assert machine.hub.seen == []


def test_a_folder_that_can_not_be_written_is_named(machine: Machine):
    machine.cache.write_text("a file where the cache should be")
    assert "LLM_ENDPOINT_CACHE" in machine.fails()


NEEDED = ("config.json", "model.safetensors")


@pytest.mark.parametrize(
    "path",
    [
        "generation_config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "additional_chat_templates/tool_use.jinja",
        "tokenizer.model",
        "tokenizer.model.v3",
        "qwen.tiktoken",
        "spiece.model",
        "vocab.txt",
        "1_Dense/model.safetensors",
    ],
)
def test_what_an_engine_reads_is_taken(path: str):
    assert choose(ROOT, [*NEEDED, path]) == (*NEEDED, path)


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "modeling_custom.py",
        "pytorch_model.bin",
        "consolidated.00.pth",
        "optimizer.pt",
        "model-Q8_0.gguf",
        "onnx/model.onnx",
        "onnx/config.json",
        "original/params.json",
        "original/consolidated.safetensors",
        "metal/model.bin",
        "checkpoint-500/model.safetensors",
        ".eval_results/a.json",
        "consolidated.safetensors",
        "consolidated.safetensors.index.json",
        "model.png",
        "../../README.md",
    ],
)
def test_code_and_other_forms_of_the_weights_are_left(path: str):
    assert choose(ROOT, [*NEEDED, path]) == NEEDED


def test_weights_in_the_form_of_mistral_alone_are_taken():
    paths = ("consolidated.safetensors", "params.json", "tekken.json")
    assert choose(ROOT, paths) == paths


def test_weights_in_a_folder_are_taken_where_an_index_names_them():
    paths = ("config.json", "model.safetensors.index.json", "weights/a.safetensors")
    assert choose(ROOT, paths) == paths


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (["m-Q4_0.gguf", "config.json"], "it has GGUF files, which the engine llama_cpp loads"),
        (["m-Q4_0.gguf"], "next: scripts/pulumi config set engine llama_cpp, or name"),
        (["pytorch_model.bin", "config.json"], "PyTorch weights, which can carry code"),
        (["onnx/model.onnx", "config.json"], "it has an ONNX model\nnext: name a repository"),
        (["README.md"], "it has no weights at all"),
        ([], "it has no weights at all"),
        (["unet/model.safetensors", "config.json"], "safetensors in unet, of another form"),
        (["model.safetensors"], "but no config.json or params.json"),
        (["adapter_config.json", "adapter_model.safetensors"], "an adapter for another model"),
    ],
)
def test_what_is_no_model_of_safetensors_is_told_what_there_is(paths: list[str], told: str):
    with pytest.raises(ModelError) as caught:
        choose(ROOT, paths)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "path", ["../x.json", "/x.json", "a/../../x.json", "a//x.json", "a\\x.json", "a\n.json"]
)
def test_a_name_that_would_leave_the_folder_is_refused(machine: Machine, path: str):
    machine.hub.put(REPOSITORY, {**FILES, path: b"{}"})
    message = machine.fails()
    assert f"has a file {path!r}, which is no name for a file in a folder" in message
    assert machine.fetched() == []


def test_a_pin_is_on_the_disk_before_it_has_its_name(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
):
    """A node that is lost would else leave an empty pin, which nobody could delete in a pod."""
    synced: list[str] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    machine.pull()
    pin = Store(machine.cache).pin_file(Whole(ROOT))
    assert pin.is_file()
    assert f"{pin}.{os.getpid()}.new" in synced
