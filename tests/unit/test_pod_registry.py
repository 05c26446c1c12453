"""The init container of a server whose models a registry has: pulled, placed, told, and removed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from components.models.registry import RegistryModel, RegistryUrl
from machine.commands import Command, Result
from machine.pod import model as pod_model
from machine.pod import packages, registry, registry_placing
from machine.pod.registry_wanted import (
    MODEL_VARIABLE,
    REGISTRY_VARIABLE,
    Access,
    Form,
    Wanted,
    parse,
)
from machine.pod.told import Told
from machine.table import WrongError
from scripts.model_registry.bucket import (
    Denied,
    DiskFull,
    MissingObject,
    RegistryFault,
    Report,
    Stored,
)
from scripts.model_registry.manifest import Manifest, ManifestFile

CHECKOUT = Path(__file__).parents[2]
REGISTRY = RegistryUrl("s3", "bucket", "of/mine", "https://s3.example.org")
NET = {"model.xml": b"<net/>", "model.bin": b"w" * 300_000}
LLM = {
    "openvino_model.xml": b"<net/>",
    "openvino_model.bin": b"w" * 1000,
    "openvino_tokenizer.xml": b"<net/>",
    "openvino_tokenizer.bin": b"t",
}


@dataclass
class FakeBucket:
    """Objects in memory, as `scripts.model_registry.bucket` reads a bucket."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def list(self, prefix: str) -> Iterator[Stored]:
        for key in sorted(self.objects):
            if key.startswith(prefix):
                yield Stored(key, len(self.objects[key]), None, None)

    def stat(self, key: str) -> Stored | None:
        return next((each for each in self.list(key) if each.key == key), None)

    @contextmanager
    def open(self, key: str, *, version: str | None, start: int) -> Generator[Iterator[bytes]]:
        if key not in self.objects:
            raise MissingObject(f"{key} is not there\nnext: push it")
        yield iter([self.objects[key][start:]])

    def put_file(self, key: str, path: Path, sha256: str, report: Report) -> Stored:
        raise NotImplementedError

    def put_bytes(self, key: str, data: bytes, *, only_new: bool) -> Stored:
        raise NotImplementedError

    def delete(self, key: str) -> None:
        raise NotImplementedError


@dataclass
class Pod:
    """A registry, a volume, and what the container's log has."""

    folder: Path
    lock: Path
    bucket: FakeBucket = field(default_factory=FakeBucket)
    url: RegistryUrl = REGISTRY
    lines: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    @property
    def volume(self) -> Path:
        return self.folder / "models"

    def push(self, text: str, files: Mapping[str, bytes]) -> None:
        name, _, version = text.partition("@")
        model = RegistryModel(name, int(version))
        listed: list[ManifestFile] = []
        for file, content in files.items():
            self.bucket.objects[self.url.key(f"{model.folder}/{file}")] = content
            digest = hashlib.sha256(content).hexdigest()
            listed.append(ManifestFile(file, len(content), digest, None))
        manifest = Manifest(model, "2026-11-21T00:00:00Z", tuple(listed))
        self.bucket.objects[self.url.key(model.manifest)] = manifest.to_json().encode()

    def environment(self, *models: str, form: str = "classic", access: str = "secret") -> Any:
        what = {"models": models} if form == "classic" else {"model": f"registry:{models[0]}"}
        server = "models" if form == "classic" else "chat"
        return {
            MODEL_VARIABLE: json.dumps({"server": server, "form": form, **what}),
            REGISTRY_VARIABLE: json.dumps({"url": str(self.url), "access": access}),
        }

    def run(self, *models: str, **how: str) -> int:
        told = Told(self.lines.append)
        environment = self.environment(*models, **how)
        return registry.run(environment, self.lock, self.volume, told, self.slept.append)

    def last(self) -> tuple[str, str, str]:
        record = json.loads(self.lines[-1].removeprefix("llm-endpoint: "))
        return record["stage"], record["state"], record["message"]

    @property
    def served(self) -> Path:
        return self.volume / "served" / "models"

    def links(self) -> set[str]:
        return {str(each.relative_to(self.served)) for each in self.served.glob("*/*")}

    def kept(self) -> set[str]:
        store = self.volume / "registry"
        return {str(each.relative_to(store)) for each in store.glob("*/[0-9]*")}


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pod:
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(registry_placing, "PAUSES_SECONDS", ())
    lock = tmp_path / "registry.txt"
    lock.write_text("tiny==1.0 --hash=sha256:00\n")
    pod = Pod(tmp_path, lock)
    monkeypatch.setattr(registry_placing, "open_bucket", lambda _url, _environ: pod.bucket)
    folder = pod_model.packages_folder(lock, pod.volume)
    folder.mkdir(parents=True)
    (folder / packages.STAMP).write_text(packages.stamp_of(lock.read_bytes()))
    return pod


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_classic_models_are_links_by_name_and_version(pod: Pod):
    pod.push("sum@1", NET)
    pod.push("sum@2", {**NET, "model.bin": b"v2"})
    pod.push("pair@7", NET)
    assert pod.run("sum@1", "sum@2", "pair@7") == 0
    assert pod.links() == {"sum/1", "sum/2", "pair/7"}
    assert content(pod.served / "sum/2") == {**NET, "model.bin": b"v2"}
    link = pod.served / "pair" / "7"
    assert str(link.readlink()) == "../../../registry/pair/7"
    stage, state, message = pod.last()
    assert (stage, state) == ("model", "done")
    assert message.startswith("sum@1: 300 kB, sha256 ")
    assert "; pair@7: 300 kB, sha256 " in message


def test_an_openvino_model_is_a_link_to_its_folder(pod: Pod):
    pod.push("qwen@3", LLM)
    assert pod.run("qwen@3", form="openvino") == 0
    served = pod.volume / "served" / "chat"
    assert str(served.readlink()) == "../registry/qwen/3"
    assert content(served) == LLM


def test_a_gguf_model_is_a_folder_of_links(pod: Pod):
    pod.push("tiny@1", {"tiny-Q4.gguf": b"GGUF", "README.md": b"#"})
    assert pod.run("tiny@1", form="gguf") == 0
    served = pod.volume / "served" / "chat"
    assert content(served) == {"tiny-Q4.gguf": b"GGUF", "model.gguf": b"GGUF"}
    assert all(not path.readlink().is_absolute() for path in served.iterdir())


@pytest.mark.parametrize(
    ("files", "found"),
    [({"a.bin": b"x"}, "and has none"), ({"a.gguf": b"x", "b.gguf": b"x"}, "and has a.gguf, b.")],
)
def test_a_model_without_one_gguf_file_ends_it_for_good(
    pod: Pod, files: dict[str, bytes], found: str
):
    pod.push("tiny@1", files)
    assert pod.run("tiny@1", form="gguf") == 78
    assert found in pod.last()[2]
    assert "push a folder with that file alone as another version" in pod.last()[2]


def test_models_that_are_there_need_neither_network_nor_packages(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
):
    pod.push("sum@1", NET)
    assert pod.run("sum@1") == 0

    def no_programs(command: Command) -> Result:
        raise AssertionError(command.what)

    monkeypatch.setattr(pod_model, "runner", lambda _say: no_programs)
    pod.bucket.objects.clear()
    assert pod.run("sum@1") == 0
    assert pod.slept == []


def test_old_versions_go_once_the_new_ones_are_whole(pod: Pod):
    for model in ("sum@1", "sum@2", "pair@1"):
        pod.push(model, NET)
    assert pod.run("sum@1", "pair@1") == 0
    assert pod.run("sum@2", "pair@2") == 78
    assert pod.kept() == {"sum/1", "sum/2", "pair/1"}
    assert pod.links() == {"sum/1", "pair/1"}
    assert pod.run("sum@2") == 0
    assert pod.kept() == pod.links() == {"sum/2"}
    assert sorted(each.name for each in (pod.volume / "registry" / "sum").iterdir()) == [
        *(".2.json", ".2.lock", "2")
    ]


def test_a_version_that_is_missing_ends_it_for_good_by_its_name(pod: Pod):
    assert pod.run("sum@3") == 78
    stage, state, message = pod.last()
    assert (stage, state) == ("model", "failed")
    assert "sum@3" in message
    assert "\nnext: " in message


def test_a_storage_that_is_away_is_left_to_the_next_start(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
):
    faults = [RegistryFault("it is away\nnext: wait", lasting=False) for _ in range(3)]
    raises(monkeypatch, faults)
    monkeypatch.setattr(registry_placing, "PAUSES_SECONDS", (1.0, 2.0))
    assert pod.run("sum@1") == 75
    assert pod.slept == [1.0, 2.0]
    assert pod.last()[:2] == ("model", "retrying")
    assert faults == []


def raises(monkeypatch: pytest.MonkeyPatch, faults: list[RegistryFault]) -> None:
    def fake(*_: object) -> Any:
        raise faults.pop(0)

    monkeypatch.setattr(registry_placing, "pull", fake)


@pytest.mark.parametrize(
    ("access", "status"), [("workload_identity", 75), ("key", 75), ("secret", 78)]
)
def test_a_role_may_have_been_granted_just_now_and_a_secret_may_not(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, access: str, status: int
):
    raises(monkeypatch, [Denied("refused\nnext: grant it", lasting=True)])
    assert pod.run("sum@1", access=access) == status
    assert "refused" in pod.last()[2]


def test_pauses_are_longer_than_google_takes_to_tell_of_a_grant():
    assert sum(registry_placing.PAUSES_SECONDS) >= 7 * 60


@pytest.mark.parametrize(
    ("form", "key"), [("classic", "classic_disk_gb"), ("openvino", "cache_gb")]
)
def test_a_full_volume_ends_it_for_good_with_the_key_to_set(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, form: str, key: str
):
    raises(monkeypatch, [DiskFull("it is full\nnext: x") for _ in range(2)])
    assert pod.run("sum@1", form=form) == 78
    assert f"it is full\nnext: set {key} higher" in pod.last()[2]


def test_models_that_are_served_no_more_make_room(pod: Pod, monkeypatch: pytest.MonkeyPatch):
    pod.push("sum@1", NET)
    pod.push("sum@2", NET)
    assert pod.run("sum@1") == 0
    pull = registry_placing.pull

    def fake(*given: Any) -> Any:
        if "sum/1" in pod.kept():
            raise DiskFull("it is full\nnext: x")
        return pull(*given)

    monkeypatch.setattr(registry_placing, "pull", fake)
    assert pod.run("sum@2") == 0
    assert pod.kept() == {"sum/2"}


def test_what_is_wanted_is_read_whole():
    registry_text = '{"url": "gs://bucket/models", "access": "workload_identity"}'
    text = '{"server": "models", "models": ["a@1", "b-c@12"], "form": "classic"}'
    assert parse(text, registry_text) == Wanted(
        "models",
        (RegistryModel("a", 1), RegistryModel("b-c", 12)),
        Form.CLASSIC,
        RegistryUrl("gs", "bucket", "models"),
        Access.WORKLOAD_IDENTITY,
    )
    text = '{"server": "chat", "model": "registry:qwen@2", "form": "openvino"}'
    assert parse(text, registry_text).models == (RegistryModel("qwen", 2),)


MODELS = '{"server": "models", "models": ["a@1"], "form": "classic"}'
URL = '{"url": "s3://bucket", "access": "secret"}'


@pytest.mark.parametrize(
    ("text", "where", "told"),
    [
        (None, URL, "LLM_ENDPOINT_POD_MODEL is not set"),
        (MODELS, None, "LLM_ENDPOINT_POD_REGISTRY is not set"),
        ("{", URL, "LLM_ENDPOINT_POD_MODEL: it is not JSON"),
        (MODELS, "[]", "LLM_ENDPOINT_POD_REGISTRY has to be an object, and is a list"),
        (MODELS.replace("classic", "onnx"), URL, "form is 'onnx', and has to be openvino or gguf"),
        (MODELS.replace("classic", "gguf"), URL, "LLM_ENDPOINT_POD_MODEL.models is not known here"),
        (MODELS.replace('"a@1"', ""), URL, "models is [], and has to be a list of one or more"),
        (MODELS.replace('"a@1"', '"a@1", "a@1"'), URL, "each named once"),
        (MODELS.replace("a@1", "../a@1"), URL, "names no model of a registry"),
        (MODELS.replace('"models", "m', '"../x", "m'), URL, "server is '../x'"),
        (
            '{"server": "chat", "model": "a@1", "form": "gguf"}',
            URL,
            "model is 'a@1', and has to be registry:NAME@VERSION",
        ),
        (MODELS, URL.replace("s3:", "ftp:"), "LLM_ENDPOINT_POD_REGISTRY.url is 'ftp://bucket'"),
        (MODELS, URL.replace("secret", "public"), "access is 'public', and has to be workload_id"),
    ],
)
def test_wrong_settings_end_it_for_good_by_their_name(
    pod: Pod, text: str | None, where: str | None, told: str
):
    given = {MODEL_VARIABLE: text, REGISTRY_VARIABLE: where}
    environment = {name: value for name, value in given.items() if value is not None}
    assert registry.run(environment, pod.lock, pod.volume, Told(pod.lines.append)) == 78
    assert told in pod.last()[2]
    with pytest.raises(WrongError):
        parse(text or "{}", where or "{}")


def test_it_begins_without_any_package(pod: Pod):
    done = subprocess.run(
        [sys.executable, "-S", "-m", registry.__name__, "--lock", str(pod.folder / "missing.txt")],
        env={**pod.environment("sum@1"), "PYTHONPATH": str(CHECKOUT)},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 78, done.stderr
    assert "missing.txt can't be read" in done.stdout.splitlines()[-1]
