"""The init container of a server: its model on the volume, told in its log, and found again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_hub import FakeHub, Fault, gguf_bytes, sha256

from machine.commands import Command, Result
from machine.pod import model, packages, placing
from machine.pod.told import Told
from machine.pod.wanted import VARIABLE, Form, Wanted, parse
from machine.table import WrongError
from scripts.models import download as downloading

CHECKOUT = Path(__file__).parents[2]
OPENVINO = "OpenVINO/tiny-int4-ov"
GGUF = "owner/repo-GGUF"
WEIGHTS = random.Random(1).randbytes(400_000)
FOLDER = {
    "config.json": b"{}",
    "openvino_model.bin": WEIGHTS,
    "openvino_model.xml": b"<net/>",
    "openvino_tokenizer.bin": b"t",
    "openvino_tokenizer.xml": b"<net/>",
}
ONE = gguf_bytes(1, 100_000)
PARTS = {f"big-Q8_0-0000{part}-of-00002.gguf": gguf_bytes(part, 100_000) for part in (1, 2)}


@dataclass
class Pod:
    """A volume, a hub that is pulled from, and what the container's log has."""

    hub: FakeHub
    volume: Path
    lock: Path
    lines: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def wants(self, reference: str, form: str) -> dict[str, str]:
        return {VARIABLE: json.dumps({"server": "chat", "model": reference, "form": form})}

    def run(self, reference: str = OPENVINO, form: str = "openvino") -> int:
        told = Told(self.lines.append)
        wants = self.wants(reference, form)
        return model.run(wants, self.lock, self.volume, told, self.slept.append)

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line.removeprefix("llm-endpoint: ")) for line in self.lines]

    def last(self) -> tuple[str, str, str]:
        record = self.records[-1]
        return record["stage"], record["state"], record["message"]

    @property
    def served(self) -> Path:
        return self.volume / "served" / "chat"


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Pod]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    hub = FakeHub()
    hub.put(OPENVINO, {**FOLDER, "modeling.py": b"1 / 0"})
    hub.put(GGUF, {"tiny-Q4_K_M.gguf": ONE, **PARTS})
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setattr(sys, "path", sys.path[:])
    lock = tmp_path / "machine.txt"
    lock.write_text("tiny==1.0 --hash=sha256:00\n")
    have_packages(lock, tmp_path / "models")
    yield Pod(hub, tmp_path / "models", lock)
    hub.close()


def have_packages(lock: Path, volume: Path) -> None:
    """Have the folder of packages as an earlier start of the pod left it."""
    folder = model.packages_folder(lock, volume)
    folder.mkdir(parents=True)
    (folder / packages.STAMP).write_text(packages.stamp_of(lock.read_bytes()))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_openvino_model_is_a_link_to_its_folder(pod: Pod):
    assert pod.run() == 0
    assert content(pod.served) == FOLDER
    link = pod.served.readlink()
    assert not link.is_absolute()
    assert link.parts[:2] == ("..", "store")
    commit = pod.hub.branches[OPENVINO]["main"]
    assert pod.last() == ("model", "done", f"{OPENVINO}: 400 kB, commit {commit}")


def test_a_gguf_model_is_a_folder_of_links(pod: Pod):
    assert pod.run(GGUF, "gguf") == 0
    assert content(pod.served) == {"tiny-Q4_K_M.gguf": ONE, "model.gguf": ONE}
    assert all(not path.readlink().is_absolute() for path in pod.served.iterdir())
    assert pod.last() == ("model", "done", f"{GGUF}: 100 kB, sha256 {sha256(ONE)}")


def test_a_model_in_parts_has_each_under_its_own_name(pod: Pod):
    first = next(iter(PARTS))
    assert pod.run(f"{GGUF}:{first}", "gguf") == 0
    assert content(pod.served) == PARTS


def test_a_model_in_parts_that_no_file_is_named_of_says_which_to_name(pod: Pod):
    assert pod.run(f"{GGUF}:Q8_0", "gguf") == 78
    stage, state, message = pod.last()
    assert (stage, state) == ("model", "failed")
    assert message.endswith(f"next: set model to {GGUF}:{next(iter(PARTS))}")
    assert not pod.served.exists()


def test_a_file_behind_a_url_is_model_gguf(pod: Pod):
    pod.hub.plain["tiny.gguf"] = ONE
    url = f"{pod.hub.url}/plain/tiny.gguf#sha256={sha256(ONE)}"
    assert pod.run(url, "gguf") == 0
    assert content(pod.served) == {"tiny.gguf": ONE, "model.gguf": ONE}


@pytest.mark.parametrize(("reference", "form"), [(OPENVINO, "openvino"), (GGUF, "gguf")])
def test_a_model_that_is_there_needs_no_network(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, reference: str, form: str
):
    assert pod.run(reference, form) == 0
    served = content(pod.served)
    pod.hub.close()
    monkeypatch.setattr(model, "runner", lambda _say: no_programs)
    assert pod.run(reference, form) == 0
    assert content(pod.served) == served
    assert pod.slept == []


def no_programs(command: Command) -> Result:
    raise AssertionError(command.what)


def test_another_model_takes_the_place_of_the_one_before(pod: Pod):
    assert pod.run() == 0
    assert pod.run(GGUF, "gguf") == 0
    assert set(content(pod.served)) == {"tiny-Q4_K_M.gguf", "model.gguf"}
    assert pod.run(f"{GGUF}:{next(iter(PARTS))}", "gguf") == 0
    assert content(pod.served) == PARTS
    assert pod.run() == 0
    assert content(pod.served) == FOLDER
    assert [path.name for path in pod.served.parent.iterdir()] == ["chat"]


def test_each_stage_is_told_from_its_beginning_to_its_end(pod: Pod):
    pod.run()
    assert [(record["stage"], record["state"]) for record in pod.records] == [
        ("packages", "running"),
        ("packages", "done"),
        ("model", "running"),
        ("model", "done"),
    ]
    assert {record["boot"] for record in pod.records} == {""}


def test_a_model_that_the_engine_can_not_load_ends_it_for_good(pod: Pod):
    assert pod.run(GGUF, "openvino") == 78
    stage, state, message = pod.last()
    assert (stage, state) == ("model", "failed")
    assert "it has GGUF files, which the engine llama_cpp loads" in message
    assert pod.slept == []


@pytest.mark.parametrize(
    ("reference", "form", "told"),
    [
        ("builtin:stand-in", "gguf", "is not on any server that a pod could pull it from"),
        ("/models/a.gguf", "gguf", "is not on any server that a pod could pull it from"),
        ("https://example.org/a.gguf", "openvino", "is one file, and OpenVINO Model Server"),
        ("nonsense", "gguf", "'nonsense' is not a model reference"),
    ],
)
def test_what_no_pod_can_pull_ends_it_for_good(pod: Pod, reference: str, form: str, told: str):
    assert pod.run(reference, form) == 78
    assert told in pod.last()[2]


def test_a_hub_that_is_away_is_waited_for_and_then_left_to_the_next_start(pod: Pod):
    pod.hub.close()
    assert pod.run() == 75
    stage, state, message = pod.last()
    assert (stage, state) == ("model", "retrying")
    assert "can't be reached" in message
    assert [pause for pause in pod.slept if pause >= 15] == [16.0, *_and_16(15.0, 60.0, 120.0)]


def _and_16(*pauses: float) -> list[float]:
    """Return the pauses between tries, each before a try whose own last pause is 16 s."""
    return [pause for each in pauses for pause in (each, 16.0)]


def test_a_hub_that_comes_back_is_gone_on_with(pod: Pod, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(placing, "PAUSES_SECONDS", (0.5,))
    pod.hub.faults = [Fault("/revision/main", status=503) for _ in range(6)]
    assert pod.run() == 0
    assert pod.slept == [1.0, 2.0, 4.0, 8.0, 16.0, 0.5]
    assert content(pod.served) == FOLDER


def test_a_full_volume_ends_it_for_good_with_the_next_step(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
):
    usage = downloading.shutil.disk_usage(pod.volume)._replace(free=100_000)
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: usage)
    assert pod.run() == 78
    message = pod.last()[2]
    assert "has 100 kB free, and the model needs 420 kB there" in message
    assert "next: set cache_gb higher, which makes larger volumes" in message
    assert "LLM_ENDPOINT_CACHE" not in message


def test_an_error_that_nobody_knows_is_told_by_its_place_alone(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> str:
        raise KeyError("a-secret")

    monkeypatch.setattr(placing, "place", broken)
    assert pod.run() == 75
    assert pod.last()[2] == "an error that no stage expects: KeyError"
    assert "a-secret" not in pod.lines[-1]


def test_packages_that_can_not_be_had_end_it_before_the_model(pod: Pod, tmp_path: Path):
    pod.lock = tmp_path / "other.txt"
    assert pod.run() == 78
    assert pod.last()[:2] == ("packages", "failed")
    assert pod.hub.seen == []


def test_packages_of_an_earlier_lock_are_removed(pod: Pod, monkeypatch: pytest.MonkeyPatch):
    earlier = model.packages_folder(pod.lock, pod.volume)
    pod.lock.write_text("tiny==2.0 --hash=sha256:00\n")

    def installs(command: Command) -> Result:
        (target,) = (word for word in command.words if word.startswith("--target="))
        folder = Path(target.removeprefix("--target="))
        folder.mkdir()
        (folder / "a_tiny_package.py").write_text("ANSWER = 42\n")
        return Result(0)

    monkeypatch.setattr(model, "runner", lambda _say: installs)
    assert pod.run() == 0
    now = model.packages_folder(pod.lock, pod.volume)
    assert earlier != now
    assert list((pod.volume / ".packages").iterdir()) == [now]
    assert sys.path[0] == str(now)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "LLM_ENDPOINT_POD_MODEL is not set"),
        ("{", "LLM_ENDPOINT_POD_MODEL: it is not JSON"),
        ('{"server": "chat", "model": "a/b"}', "form is missing"),
        (
            '{"server": "chat", "model": "a/b", "form": "onnx"}',
            "form is 'onnx', and has to be openvino or gguf",
        ),
        ('{"server": "../x", "model": "a/b", "form": "gguf"}', "server is '../x', and has to be"),
        ('{"server": "chat", "model": "a/b", "form": "gguf", "x": 1}', "x is not known here"),
    ],
)
def test_wrong_settings_end_it_for_good_by_their_name(pod: Pod, text: str | None, told: str):
    environment = {} if text is None else {VARIABLE: text}
    assert model.run(environment, pod.lock, pod.volume, Told(pod.lines.append)) == 78
    assert pod.last()[:2] == ("model", "failed")
    assert told in pod.last()[2]


def test_what_is_wanted_is_read_whole():
    text = '{"server": "chat", "model": "a/b@c", "form": "openvino"}'
    assert parse(text) == Wanted("chat", "a/b@c", Form.OPENVINO)
    with pytest.raises(WrongError):
        parse("[]")


def sizes(pod: Pod) -> list[int]:
    """Return how much has come of the weights."""
    incoming = pod.volume / "store" / "models" / "incoming"
    return [path.stat().st_size for path in incoming.rglob("openvino_model.bin.partial")]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_pod_that_has_to_go_keeps_what_came_for_the_next(pod: Pod):
    pod.hub.faults = [Fault("openvino_model.bin?X", hang=200_000)]
    environment = {
        **os.environ,
        **pod.wants(OPENVINO, "openvino"),
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    words = ["--lock", str(pod.lock), "--volume", str(pod.volume)]
    with subprocess.Popen(
        [sys.executable, "-m", "machine.pod.model", *words],
        env=environment,
        cwd="/",
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert pod.hub.hanging.wait(20)
        until(lambda: sizes(pod) == [200_000])
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 75
    assert '"state": "retrying"' in output.splitlines()[-1]
    assert sizes(pod) == [200_000]
    pod.hub.let_go()
    assert pod.run() == 0
    assert pod.hub.fetches("openvino_model.bin")[-1].headers["Range"] == "bytes=200000-"
