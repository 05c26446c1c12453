"""Model files: the cache, the pins, and what survives."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_hub import FakeHub, Fault, gguf_bytes, sha256

from components.models.reference import parse_model_reference
from scripts.models import download as downloading
from scripts.models import ensure as models
from scripts.models import store as model_store
from scripts.models.ensure import ModelError, ModelFile, Patience, ensure_model
from scripts.models.stand_in import write_stand_in

CHECKOUT = Path(__file__).resolve().parents[2]
REPOSITORY = "owner/repo-GGUF"
REFERENCE = f"{REPOSITORY}:Q4_K_M"
CONTENT = gguf_bytes(1)
PULL = """
import sys
from pathlib import Path
from components.models.reference import parse_model_reference
from scripts.models.ensure import ensure_model
found = ensure_model(
    parse_model_reference(sys.argv[1]), cache=Path(sys.argv[2]),
    report=lambda line: print(line, file=sys.stderr),
)
print(found.sha256)
"""


@dataclass
class Machine:
    """A cache, a hub that it pulls from, and what was reported."""

    hub: FakeHub
    cache: Path
    reports: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def pull(self, reference: str = REFERENCE, lock_seconds: float = 3600.0) -> ModelFile:
        patience = Patience(
            read_seconds=10.0, retries=1, lock_seconds=lock_seconds, sleep=self.pauses.append
        )
        return ensure_model(
            parse_model_reference(reference),
            cache=self.cache,
            report=self.reports.append,
            patience=patience,
        )

    def fails(self, reference: str = REFERENCE, lock_seconds: float = 3600.0) -> str:
        with pytest.raises(ModelError) as caught:
            self.pull(reference, lock_seconds)
        assert "\nnext: " in str(caught.value)
        return str(caught.value)

    def pull_elsewhere(self, reference: str = REFERENCE) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PULL, reference, str(self.cache)],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def pins(self) -> list[Path]:
        return list((self.cache / "models" / "references").glob("*.json"))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Machine]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    hub = FakeHub()
    hub.put(REPOSITORY, {"m-q4_k_m.gguf": CONTENT, "m-q8_0.gguf": gguf_bytes(2), "README.md": b""})
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    yield Machine(hub, tmp_path / "Zwischenspeicher für Modelle")
    hub.close()


def test_a_model_is_pulled_and_described(machine: Machine):
    found = machine.pull()
    assert found.path.name == "m-q4_k_m.gguf"
    assert found.path.read_bytes() == CONTENT
    assert (found.sha256, found.size_bytes) == (sha256(CONTENT), len(CONTENT))
    assert (found.reference, found.stand_in) == (REFERENCE, False)
    assert [part.path for part in found.parts] == [found.path]
    assert found.path.is_relative_to(machine.cache)


def test_a_second_run_needs_no_network(machine: Machine):
    first = machine.pull()
    machine.hub.close()
    assert machine.pull() == first


def test_nothing_but_the_model_and_its_pin_is_left_in_the_cache(machine: Machine):
    found = machine.pull()
    left = {path for path in machine.cache.rglob("*") if path.is_file()}
    assert {path.suffix for path in left} == {".gguf", ".json", ".lock"}
    assert left - {found.path} - set(machine.pins()) == set(machine.cache.rglob("*.lock"))


def test_the_pin_says_what_was_pulled_and_from_where(machine: Machine):
    commit = machine.hub.put(REPOSITORY, {"m-q4_k_m.gguf": CONTENT})
    machine.pull()
    pin = json.loads(machine.pins()[0].read_text())
    assert (pin["reference"], pin["commit"]) == (REFERENCE, commit)
    assert pin["url"] == f"{machine.hub.url}/{REPOSITORY}/resolve/{commit}/m-q4_k_m.gguf"
    assert pin["files"][0]["sha256"] == sha256(CONTENT)


def test_a_damaged_file_in_the_cache_is_pulled_again(machine: Machine):
    found = machine.pull()
    found.path.write_bytes(CONTENT[:-5])
    assert machine.pull().path.read_bytes() == CONTENT
    assert any("is damaged" in line for line in machine.reports)


def test_a_file_with_another_time_but_the_same_content_is_kept(machine: Machine):
    found = machine.pull()
    os.utime(found.path, (1, 1))
    machine.hub.close()
    assert machine.pull() == found
    assert '"mtime_ns": 1000000000' in machine.pins()[0].read_text()


def test_a_model_that_changed_on_the_hub_is_refused_with_both_digests(machine: Machine):
    old = machine.hub.branches[REPOSITORY]["main"]
    found = machine.pull()
    other = gguf_bytes(3)
    machine.hub.put(REPOSITORY, {"m-q4_k_m.gguf": other})
    assert machine.pull() == found
    found.path.unlink()
    message = machine.fails()
    assert sha256(CONTENT) in message
    assert sha256(other) in message
    assert f"name its commit: {REPOSITORY}@{old}:Q4_K_M" in message
    assert f"delete {machine.pins()[0]}" in message
    assert machine.pull(f"{REPOSITORY}@{old}:Q4_K_M").sha256 == sha256(CONTENT)
    machine.pins()[0].unlink()
    machine.pins()[0].unlink()
    assert machine.pull().sha256 == sha256(other)


def test_a_new_commit_with_the_same_file_is_no_change(machine: Machine):
    machine.pull().path.unlink()
    machine.hub.put(REPOSITORY, {"m-q4_k_m.gguf": CONTENT, "README.md": b"new"})
    assert machine.pull().sha256 == sha256(CONTENT)


def test_a_damaged_pin_is_named_rather_than_ignored(machine: Machine):
    machine.pull()
    machine.pins()[0].write_text("{")
    assert f"{machine.pins()[0]} is damaged\nnext: delete it" in machine.fails()


def test_two_references_to_one_content_share_it(machine: Machine):
    first = machine.pull()
    second = machine.pull(f"{REPOSITORY}:m-q4_k_m.gguf")
    assert second.path == first.path
    assert len(machine.hub.fetches()) == 1


def test_a_split_model_comes_with_all_its_parts(machine: Machine):
    names = [f"Q4_0/m-Q4_0-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    parts = {name: gguf_bytes(n, 5000 + n) for n, name in enumerate(names)}
    machine.hub.put(REPOSITORY, parts)
    found = machine.pull(f"{REPOSITORY}:Q4_0")
    assert [part.path.name for part in found.parts] == [Path(name).name for name in names]
    assert [part.path.read_bytes() for part in found.parts] == list(parts.values())
    assert len({part.path.parent for part in found.parts}) == 1
    assert (found.path, found.size_bytes) == (found.parts[0].path, 15003)
    machine.hub.close()
    assert machine.pull(f"{REPOSITORY}:Q4_0") == found


def test_a_file_that_the_hub_has_no_digest_of_is_pinned_when_it_comes(machine: Machine):
    machine.hub.not_lfs = {"m-q4_k_m.gguf"}
    found = machine.pull()
    assert any(f"it is pinned to {sha256(CONTENT)}" in line for line in machine.reports)
    found.path.unlink()
    machine.hub.put(REPOSITORY, {"m-q4_k_m.gguf": gguf_bytes(3)})
    assert f"it is pinned to {sha256(CONTENT)}" in machine.fails()


def test_a_url_is_trusted_once_and_then_held_to(machine: Machine):
    machine.hub.plain["ein Modell.gguf"] = CONTENT
    reference = f"{machine.hub.url}/plain/ein%20Modell.gguf?signature=a-secret"
    found = machine.pull(reference)
    assert found.path.name == "ein Modell.gguf"
    assert any(f"add #sha256={sha256(CONTENT)}" in line for line in machine.reports)
    found.path.unlink()
    other = machine.hub.plain["ein Modell.gguf"] = gguf_bytes(3)
    message = machine.fails(reference)
    assert sha256(other) in message
    assert f"it is pinned to {sha256(CONTENT)}" in message
    assert str(machine.pins()[0]) in message
    seen = message + "".join(machine.reports) + machine.pins()[0].read_text()
    assert "a-secret" not in seen


def test_a_url_with_a_digest_is_held_to_it(machine: Machine):
    machine.hub.plain["m.gguf"] = CONTENT
    url = f"{machine.hub.url}/plain/m.gguf#sha256="
    assert machine.pull(url + sha256(CONTENT)).sha256 == sha256(CONTENT)
    assert not any("add #sha256" in line for line in machine.reports)
    assert f"the reference says {'0' * 64}" in machine.fails(url + "0" * 64)


def test_a_path_is_used_where_it_lies(machine: Machine, tmp_path: Path):
    file = tmp_path / "mein Modell ü.gguf"
    file.write_bytes(CONTENT)
    found = machine.pull(str(file))
    assert (found.path, found.sha256, found.stand_in) == (file, sha256(CONTENT), False)
    assert [each.name for each in tmp_path.iterdir() if each != machine.cache] == [file.name]
    file.write_bytes(gguf_bytes(4))
    assert machine.pull(str(file)).sha256 == sha256(gguf_bytes(4))


def test_a_path_is_hashed_once(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "m.gguf"
    file.write_bytes(CONTENT)
    first = machine.pull(str(file))
    monkeypatch.setattr(models, "hash_file", lambda *_: pytest.fail("hashed again"))
    assert machine.pull(str(file)) == first


def test_a_relative_path_starts_at_the_current_folder_and_a_tilde_at_home(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "m.gguf").write_bytes(CONTENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert machine.pull("./m.gguf").path == tmp_path / "m.gguf"
    assert machine.pull("~/m.gguf").path == tmp_path / "m.gguf"


def test_a_split_model_at_a_path_needs_all_its_parts(machine: Machine, tmp_path: Path):
    first, second = (tmp_path / f"m-0000{n}-of-00002.gguf" for n in (1, 2))
    first.write_bytes(CONTENT)
    assert f"{second}: there is no such file" in machine.fails(str(first))
    second.write_bytes(CONTENT)
    assert machine.pull(str(first)).size_bytes == 2 * len(CONTENT)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "it is empty"), (b"PK\x03\x04....", "zip archive"), (None, "is a directory")],
)
def test_a_path_to_something_else_says_what_it_is(
    machine: Machine, tmp_path: Path, content: bytes | None, told: str
):
    place = tmp_path / "m.gguf"
    if content is None:
        place.mkdir()
    else:
        place.write_bytes(content)
    message = machine.fails(str(place))
    assert str(place) in message
    assert told in message


def test_the_stand_in_is_made_once_and_says_what_it_is(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    digest = write_stand_in(tmp_path / "expected.gguf")
    found = machine.pull("builtin:stand-in")
    assert (found.sha256, found.stand_in, found.path.name) == (digest, True, "stand-in.gguf")
    modified = found.path.stat().st_mtime_ns
    assert machine.pull("builtin:stand-in") == found
    assert found.path.stat().st_mtime_ns == modified
    found.path.write_bytes(b"damaged")
    assert machine.pull("builtin:stand-in").path.read_bytes() != b"damaged"
    monkeypatch.setattr(models, "_recipe", lambda: "another")
    assert machine.pull("builtin:stand-in").path != found.path


def test_a_folder_that_can_not_be_written_is_named(machine: Machine):
    machine.cache.write_text("a file where the cache should be")
    message = machine.fails()
    assert str(machine.cache) in message
    assert "LLM_ENDPOINT_CACHE" in message


def test_room_for_all_parts_is_checked_first(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    names = [f"m-Q4_0-0000{n}-of-00002.gguf" for n in (1, 2)]
    machine.hub.put(REPOSITORY, {name: gguf_bytes(1, 1_000_000) for name in names})
    usage = shutil.disk_usage(machine.cache.parent)._replace(free=1_500_000)
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: usage)
    message = machine.fails(f"{REPOSITORY}:Q4_0")
    assert "has 1.5 MB free, and the model needs 2.1 MB there, 600 kB more" in message
    assert machine.hub.fetches() == []


def test_a_lock_is_waited_for_and_its_holder_named(machine: Machine):
    store = model_store.Store(machine.cache)
    reference = parse_model_reference(REFERENCE)
    with store.locked(reference, Patience(), machine.reports.append):
        message = machine.fails(lock_seconds=60.0)
    assert f"another process ({os.getpid()}) has been pulling {REFERENCE}" in message
    assert len(machine.pauses) == 61
    assert sum("waiting for it" in line for line in machine.reports) == 3
    assert machine.pull().sha256 == sha256(CONTENT)


def test_two_processes_at_once_pull_once(machine: Machine):
    machine.hub.faults = [Fault("/store/", hang=1000)]
    first = machine.pull_elsewhere()
    assert machine.hub.hanging.wait(20)
    second = machine.pull_elsewhere()
    assert second.stderr is not None
    assert f"another process ({first.pid}) is pulling" in second.stderr.readline()
    machine.hub.let_go()
    for process in (first, second):
        out, err = process.communicate(timeout=30)
        assert out.strip() == sha256(CONTENT), err
    fetched = sum(seen.sent for seen in machine.hub.fetches())
    assert fetched == len(CONTENT)


def test_a_pull_that_was_killed_goes_on_where_it_was(machine: Machine):
    machine.hub.faults = [Fault("/store/", hang=500_000)]
    process = machine.pull_elsewhere()
    assert machine.hub.hanging.wait(20)
    partial = _wait_for_bytes(machine.cache, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    had = partial.stat().st_size
    assert machine.pull().sha256 == sha256(CONTENT)
    resumed = machine.hub.fetches()[-1]
    assert resumed.headers["Range"] == f"bytes={had}-"
    assert resumed.sent == len(CONTENT) - had


def _wait_for_bytes(cache: Path, process: subprocess.Popen[str]) -> Path:
    """Return the partial file once the process has written to it."""
    for _ in range(2000):
        for partial in cache.rglob("*.partial"):
            if partial.stat().st_size > 0:
                return partial
        try:
            process.wait(timeout=0.01)
        except subprocess.TimeoutExpired:
            continue
        break
    pytest.fail("nothing was written")
