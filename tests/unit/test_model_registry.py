"""The registry on each kind of storage: pushed, pulled, resumed, damaged, refused."""

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_registry_storage import (
    MODEL,
    SECRET,
    TOKEN,
    Storage,
    content,
    files_of,
    ir,
    storage,
)

from components.models.registry import RegistryModel, RegistryUrl
from scripts.model_registry.attempts import Patience
from scripts.model_registry.bucket import DiskFull, MissingBucket, MissingObject, RegistryFault
from scripts.model_registry.checking import check
from scripts.model_registry.listing import list_models
from scripts.model_registry.manifest import read_manifest
from scripts.model_registry.pull import pull
from scripts.model_registry.removing import remove

KINDS = ("s3", "gcs")
ONE = pytest.mark.parametrize("there", ["gcs"], indirect=True)
"""For what does not hang on the kind of storage: moto takes its time."""
VERSIONS = pytest.mark.parametrize("there", [*KINDS, "s3-versions"], indirect=True)
BIN = "models/resnet50/1/model.bin"


@pytest.fixture(autouse=True)
def disks_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture(params=KINDS)
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    made = storage(request.param, tmp_path)
    yield made
    made.close()


def fails(job: object, storage: Storage, *, lasting: bool) -> str:
    with pytest.raises(RegistryFault) as caught:
        job()  # type: ignore[operator]
    message = caught.value.message
    assert caught.value.lasting is lasting, message
    assert "\nnext: " in message
    assert SECRET not in message + "".join(storage.reports)
    assert TOKEN not in message + "".join(storage.reports)
    return message


@VERSIONS
def test_what_was_pushed_is_pulled_with_every_byte(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model")
    pushed = there.push(folder)
    pulled = there.pull()
    assert files_of(pulled.folder) == files_of(folder)
    assert pulled.folder == tmp_path / "pulled" / "resnet50" / "1"
    assert pulled.manifest == pushed.manifest
    assert pulled.fetched_bytes == pushed.manifest.size_bytes == 300_000 + 16 + 2
    names = {path.name for path in pulled.folder.parent.iterdir()}
    assert names == {"1", ".1.json", ".1.lock"}
    versions = [file.object_version for file in pushed.manifest.files]
    assert all(versions) if there.kind != "s3" else not any(versions)


def test_the_registry_is_laid_out_as_a_model_server_reads_it(there: Storage, tmp_path: Path):
    there.push(ir(tmp_path / "model"))
    below = f"{there.url.folder}/" if there.url.folder else ""
    assert there.names() == [
        f"{below}manifests/resnet50/1.json",
        f"{below}models/resnet50/1/extra/mapping_config.json",
        f"{below}models/resnet50/1/model.bin",
        f"{below}models/resnet50/1/model.xml",
    ]


def test_the_same_content_again_changes_nothing(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model")
    first = there.push(folder)
    again = there.push(folder)
    assert not again.changed
    assert again.manifest == first.manifest
    assert "nothing changed" in there.reports[-1]


@ONE
def test_another_content_is_refused_with_the_next_version(there: Storage, tmp_path: Path):
    first = there.push(ir(tmp_path / "model"))
    folder = ir(tmp_path / "other", seed=2)
    message = fails(lambda: there.push(folder), there, lasting=True)
    assert "resnet50@2" in message
    assert "model.bin, model.xml" in message
    there.push(ir(tmp_path / "third", seed=3), RegistryModel("resnet50", 6))
    assert "resnet50@7" in fails(lambda: there.push(folder), there, lasting=True)
    assert read_manifest(there.bucket(), there.url, MODEL) == first.manifest
    assert there.pull().manifest == first.manifest


@VERSIONS
def test_an_object_that_vanished_is_mended_by_the_same_push(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model")
    first = there.push(folder)
    there.delete(BIN)
    message = fails(there.pull, there, lasting=True)
    assert "push the model again" in message
    again = there.push(folder)
    assert again.sent == ("model.bin",)
    assert again.manifest.sha256 == first.manifest.sha256
    assert again.manifest.created == first.manifest.created
    assert files_of(there.pull().folder) == files_of(folder)


def test_a_version_that_is_not_there_is_said_with_those_that_are(there: Storage, tmp_path: Path):
    empty = fails(there.pull, there, lasting=True)
    assert "it has no models" in empty
    there.push(ir(tmp_path / "model"))
    other = RegistryModel("resnet50", 7)
    message = fails(lambda: there.pull(other), there, lasting=True)
    assert "has no resnet50@7: it has resnet50@1" in message
    assert there.pauses == []


def test_a_bucket_that_is_not_there_is_said(there: Storage, tmp_path: Path):
    there.url = RegistryUrl(
        there.url.scheme, "no-such-bucket", "", there.url.endpoint, there.url.region
    )
    with pytest.raises(MissingBucket, match="there is no bucket no-such-bucket"):
        there.pull()
    with pytest.raises(MissingBucket, match="there is no bucket no-such-bucket"):
        there.push(ir(tmp_path / "model"))
    with pytest.raises(MissingBucket, match="there is no bucket no-such-bucket"):
        there.push(ir(tmp_path / "small", size=10))
    with pytest.raises(MissingBucket):
        list_models(there.bucket(), there.url)


@pytest.mark.parametrize("cut", [1, 400, 20_000, 150_000])
def test_a_download_cut_at_any_byte_is_resumed(there: Storage, tmp_path: Path, cut: int):
    folder = ir(tmp_path / "model")
    there.push(folder)
    there.proxy.answers = [cut, cut]
    pulled = there.pull()
    assert files_of(pulled.folder) == files_of(folder)
    assert there.proxy.cuts == 2
    assert there.pauses


def test_a_cut_download_does_not_fetch_the_bytes_twice(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model", size=1_000_000)
    there.push(folder)
    there.proxy.answers = [700_000]
    pulled = there.pull()
    assert there.proxy.cuts == 1
    assert pulled.fetched_bytes == pulled.manifest.size_bytes


def test_a_pull_that_gave_up_goes_on_in_the_next_process(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model", size=1_000_000)
    there.push(folder)
    there.proxy.answers = [700_000, 1, 1, 1]
    message = fails(there.pull, there, lasting=False)
    assert "(tried 4 times)" in message
    assert not (tmp_path / "pulled" / "resnet50" / "1").exists()
    partial = next((tmp_path / "pulled/resnet50/.1.part").glob("*.partial")).stat().st_size
    assert partial >= 256 * 1024
    there.proxy.answers = []
    pulled = there.pull()
    assert files_of(pulled.folder) == files_of(folder)
    assert pulled.fetched_bytes <= pulled.manifest.size_bytes - partial


@ONE
def test_a_damaged_beginning_on_disk_is_brought_anew(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model")
    pushed = there.push(folder)
    wanted = next(file for file in pushed.manifest.files if file.path == "model.bin")
    incoming = tmp_path / "pulled/resnet50/.1.part"
    incoming.mkdir(parents=True)
    (incoming / f"{wanted.sha256}.partial").write_bytes(bytes(100_000))
    pulled = there.pull()
    assert files_of(pulled.folder) == files_of(folder)
    assert any("model.bin is damaged" in line for line in there.reports)
    assert pulled.fetched_bytes == pulled.manifest.size_bytes + 200_000


@ONE
def test_a_beginning_that_is_too_long_is_brought_anew(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model")
    pushed = there.push(folder)
    wanted = next(file for file in pushed.manifest.files if file.path == "model.bin")
    incoming = tmp_path / "pulled/resnet50/.1.part"
    incoming.mkdir(parents=True)
    (incoming / f"{wanted.sha256}.partial").write_bytes(bytes(400_000))
    assert files_of(there.pull().folder) == files_of(folder)


@ONE
def test_what_is_there_whole_needs_no_network(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model")
    there.push(folder)
    there.pull()
    there.proxy.go_away()
    there.environ.clear()
    pulled = there.pull()
    assert pulled.fetched_bytes == 0
    assert files_of(pulled.folder) == files_of(folder)
    assert there.pauses == []


@ONE
def test_a_file_damaged_on_disk_is_pulled_again_and_the_others_are_not(
    there: Storage, tmp_path: Path
):
    folder = ir(tmp_path / "model")
    there.push(folder)
    place = there.pull().folder / "model.xml"
    place.write_text("<net name='xx'/>")
    pulled = there.pull()
    assert pulled.fetched_bytes == len((folder / "model.xml").read_bytes())
    assert files_of(pulled.folder) == files_of(folder)


@ONE
def test_a_file_that_was_only_touched_is_checked_and_stays(there: Storage, tmp_path: Path):
    there.push(ir(tmp_path / "model"))
    (there.pull().folder / "model.xml").touch()
    there.proxy.go_away()
    assert there.pull().fetched_bytes == 0


@ONE
def test_a_file_that_vanished_from_disk_is_pulled_again(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model")
    there.push(folder)
    (there.pull().folder / "extra" / "mapping_config.json").unlink()
    pulled = there.pull()
    assert pulled.fetched_bytes == 2
    assert files_of(pulled.folder) == files_of(folder)


@VERSIONS
def test_an_object_that_was_changed_is_refused_or_read_as_it_was(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model")
    there.push(folder)
    there.overwrite(BIN, content(9, 300_000))
    if there.kind == "s3":
        message = fails(there.pull, there, lasting=True)
        assert "model.bin in the registry has the sha256" in message
        assert any("pulling it again" in line for line in there.reports)
        assert not (tmp_path / "pulled" / "resnet50" / "1").exists()
    else:
        assert files_of(there.pull().folder) == files_of(folder)


def test_an_object_that_became_shorter_is_refused(tmp_path: Path):
    there = storage("s3", tmp_path)
    folder = ir(tmp_path / "model")
    there.push(folder)
    there.overwrite(BIN, (folder / "model.bin").read_bytes()[:1000])
    message = fails(there.pull, there, lasting=True)
    assert "has 1000 bytes, where its manifest says 300000" in message
    there.close()


def test_a_deleted_version_of_an_object_is_read_from_the_newest(tmp_path: Path):
    there = storage("gcs", tmp_path)
    assert there.gcs is not None
    folder = ir(tmp_path / "model")
    there.push(folder)
    newest = there.gcs.newest(BIN)
    assert newest is not None
    there.gcs.delete(BIN)
    there.gcs.put(BIN, newest.content, newest.metadata)
    assert files_of(there.pull().folder) == files_of(folder)
    there.close()


@ONE
def test_a_full_disk_is_said_before_anything_is_fetched(
    there: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    there.push(ir(tmp_path / "model"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1_000_000}))
    with pytest.raises(DiskFull, match=r"1\.0 MB free, and resnet50@1 needs 300 kB more"):
        there.pull()


def test_a_check_says_what_was_changed_behind(there: Storage, tmp_path: Path):
    there.push(ir(tmp_path / "model"))
    there.push(ir(tmp_path / "second", seed=2), RegistryModel("resnet50", 2))
    good = check(there.bucket(), there.url, (), there.reports.append)
    assert good.passed
    assert not any(one.language_model for one in good.models)
    assert [str(one.model) for one in good.models] == ["resnet50@1", "resnet50@2"]
    there.overwrite(BIN, content(9, 300_000))
    there.delete("models/resnet50/2/model.xml")
    bad = check(there.bucket(), there.url, (), there.reports.append)
    assert not bad.passed
    first, second = bad.models
    (problem,) = first.problems
    wrong = "has the sha256" if there.kind == "s3" else "was overwritten since"
    assert problem.startswith(f"model.bin {wrong}")
    assert second.problems == ("model.xml is not there",)
    receipt = bad.as_json()
    assert receipt["status"] == "failed"


@ONE
@pytest.mark.parametrize("name", ["openvino_tokenizer.xml", "model-q4_k_m.gguf"])
def test_a_check_tells_a_language_model(there: Storage, tmp_path: Path, name: str):
    folder = ir(tmp_path / "model")
    (folder / name).write_bytes(b"of a language model")
    there.push(folder)
    (checked,) = check(there.bucket(), there.url, (), there.reports.append).models
    assert checked.language_model
    assert checked.as_json()["language_model"] is True


@ONE
def test_a_check_of_a_version_that_is_not_there_fails(there: Storage):
    checked = check(there.bucket(), there.url, [MODEL], there.reports.append)
    assert not checked.passed
    assert "has no resnet50@1" in checked.models[0].problems[0]


@ONE
def test_a_damaged_manifest_is_no_version(there: Storage, tmp_path: Path):
    there.push(ir(tmp_path / "model"))
    there.overwrite("manifests/resnet50/1.json", b'{"schema_version": 1')
    message = fails(there.pull, there, lasting=True)
    assert "the manifest of resnet50@1" in message
    assert "it is no JSON" in message


def test_a_removed_version_can_not_be_pulled(there: Storage, tmp_path: Path):
    there.push(ir(tmp_path / "model"))
    assert remove(there.bucket(), there.url, MODEL, there.reports.append) == 4
    assert there.names() == []
    with pytest.raises(MissingObject):
        there.pull()
    with pytest.raises(MissingObject, match="nothing to remove"):
        remove(there.bucket(), there.url, MODEL, there.reports.append)


def test_trouble_that_passes_is_waited_for(tmp_path: Path):
    there = storage("gcs", tmp_path)
    assert there.gcs is not None
    there.push(ir(tmp_path / "model"))
    there.gcs.statuses = [503, 429, 500]
    there.pull()
    assert there.pauses == [1.0, 2.0, 4.0]
    assert "Google answered 503; trying again in 1 s (1 of 3)" in there.reports[-5]
    there.close()


@ONE
def test_a_pull_waits_for_another_process_that_pulls_the_same(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model")
    there.push(folder)
    place = tmp_path / "pulled" / "resnet50"
    place.mkdir(parents=True)
    other = os.open(place / ".1.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)

    def sleep(seconds: float) -> None:
        there.pauses.append(seconds)
        os.close(other)

    pulled = pull(
        there.bucket(),
        there.url,
        MODEL,
        tmp_path / "pulled",
        there.reports.append,
        patience=Patience(sleep=sleep),
    )
    assert there.pauses == [1.0]
    assert "another process is pulling resnet50@1: waiting for it" in there.reports
    assert files_of(pulled.folder) == files_of(folder)


@ONE
def test_a_pull_does_not_wait_for_ever(there: Storage, tmp_path: Path):
    there.push(ir(tmp_path / "model"))
    place = tmp_path / "pulled" / "resnet50"
    place.mkdir(parents=True)
    other = os.open(place / ".1.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    message = fails(there.pull, there, lasting=False)
    assert "for more than 60 min" in message
    assert len(there.pauses) == 3601
    os.close(other)


@ONE
def test_the_same_version_of_another_registry_is_not_taken_for_this_one(
    there: Storage, tmp_path: Path
):
    there.push(ir(tmp_path / "model"))
    there.pull()
    there.url = RegistryUrl("gs", there.url.bucket, "other")
    folder = ir(tmp_path / "other", seed=2)
    there.push(folder)
    assert files_of(there.pull().folder) == files_of(folder)
    names = {path.name for path in (tmp_path / "pulled" / "resnet50").iterdir()}
    assert names == {"1", ".1.json", ".1.lock"}


@ONE
def test_a_disk_that_fills_up_keeps_what_has_come(
    there: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = ir(tmp_path / "model", size=1_000_000)
    there.push(folder)
    write, written = os.write, 0

    def fill_up(descriptor: int, data: memoryview) -> int:
        nonlocal written
        if written > 500_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        written += len(data)
        return write(descriptor, data)

    with monkeypatch.context() as patched:
        patched.setattr("os.write", fill_up)
        with pytest.raises(DiskFull, match="filled up"):
            there.pull()
    pulled = there.pull()
    assert pulled.fetched_bytes < 500_000
    assert files_of(pulled.folder) == files_of(folder)
