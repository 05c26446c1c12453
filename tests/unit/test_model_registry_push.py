"""Pushing: what goes in, large files in parts, what was cut off, what else is refused."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_registry_storage import (
    MODEL,
    PART,
    Storage,
    content,
    files_of,
    ir,
    s3_client,
    storage,
)

from components.models.registry import RegistryModel
from scripts.model_registry.bucket import RegistryFault
from scripts.model_registry.checking import check
from scripts.model_registry.listing import list_models
from scripts.model_registry.manifest import Manifest, ManifestError, content_digest, parse_manifest
from scripts.model_registry.push import push
from scripts.model_registry.sending import FileChanged, parts

BIN = "models/resnet50/1/model.bin"
LARGE = PART * 3 + 100_000


@pytest.fixture(autouse=True)
def disks_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture(params=["s3", "gcs"])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    made = storage(request.param, tmp_path)
    yield made
    made.close()


def test_a_large_file_is_sent_in_parts(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model", size=LARGE)
    pushed = there.push(folder)
    assert files_of(there.pull().folder) == files_of(folder)
    again = there.push(folder)
    assert not again.changed
    assert again.manifest == pushed.manifest
    assert not list((tmp_path / "uploads").iterdir())


@pytest.mark.parametrize("cut", [2_500, 400_000, 850_000])
def test_an_upload_cut_at_any_byte_is_resumed(there: Storage, tmp_path: Path, cut: int):
    folder = ir(tmp_path / "model", size=LARGE)
    there.proxy.requests = [cut]
    pushed = there.push(folder)
    assert there.proxy.cuts == 1
    assert there.pauses == [1.0]
    assert files_of(there.pull().folder) == files_of(folder)
    assert len(pushed.sent) == 3


def test_an_upload_that_gave_up_goes_on_in_the_next_process(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model", size=LARGE)
    there.proxy.requests = [620_000, 1, 1, 1]
    with pytest.raises(RegistryFault) as caught:
        there.push(folder)
    assert not caught.value.lasting
    (note,) = (tmp_path / "uploads").iterdir()
    assert note.stat().st_mode & 0o777 == 0o600
    unfinished = list_models(there.bucket(), there.url)
    assert unfinished.models == ()
    assert unfinished.unfinished == (MODEL,)
    with pytest.raises(RegistryFault, match="its upload was begun and did not end"):
        there.pull()
    there.proxy.requests = [850_000]
    there.push(folder)
    assert there.proxy.requests, "what was there was sent again"
    assert files_of(there.pull().folder) == files_of(folder)


def test_an_upload_whose_note_is_lost_begins_anew(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model", size=LARGE)
    there.proxy.requests = [620_000, 1, 1, 1]
    with pytest.raises(RegistryFault):
        there.push(folder)
    for note in (tmp_path / "uploads").iterdir():
        note.unlink()
    there.proxy.reset()
    there.push(folder)
    assert files_of(there.pull().folder) == files_of(folder)


def test_an_upload_that_the_storage_forgot_begins_anew(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model", size=LARGE)
    there.proxy.requests = [620_000, 1, 1, 1]
    with pytest.raises(RegistryFault):
        there.push(folder)
    if there.gcs is not None:
        there.gcs.sessions.clear()
    else:
        client = s3_client()
        (upload,) = client.list_multipart_uploads(Bucket=there.url.bucket)["Uploads"]
        client.abort_multipart_upload(
            Bucket=there.url.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
        )
    there.proxy.reset()
    there.push(folder)
    assert files_of(there.pull().folder) == files_of(folder)


def test_another_content_does_not_go_on_with_an_unfinished_upload(there: Storage, tmp_path: Path):
    there.proxy.requests = [620_000, 1, 1, 1]
    with pytest.raises(RegistryFault):
        there.push(ir(tmp_path / "model", size=LARGE))
    there.proxy.reset()
    other = ir(tmp_path / "other", size=LARGE, seed=2)
    (other / "extra" / "mapping_config.json").rename(other / "extra" / "other.json")
    there.push(other)
    assert files_of(there.pull().folder) == files_of(other)
    assert not any(key.endswith("mapping_config.json") for key in there.names())


def test_an_answer_that_was_lost_after_the_manifest_was_written(tmp_path: Path):
    there = storage("gcs", tmp_path)
    folder = ir(tmp_path / "model")
    bucket = there.bucket()
    write = bucket.put_bytes

    def lose_the_answer(key: str, data: bytes, *, only_new: bool) -> object:
        stored = write(key, data, only_new=only_new)
        if not there.pauses:
            raise RegistryFault("the connection broke\nnext: try again", lasting=False)
        return stored

    bucket.put_bytes = lose_the_answer  # type: ignore[method-assign,assignment]
    push(bucket, there.url, MODEL, folder, there.reports.append, patience=there.patience)
    assert there.pauses == [1.0]
    assert files_of(there.pull().folder) == files_of(folder)
    there.close()


def test_a_version_that_someone_else_pushed_meanwhile_is_not_overwritten(
    there: Storage, tmp_path: Path
):
    mine, other = ir(tmp_path / "mine"), ir(tmp_path / "other", seed=2)
    bucket = there.bucket()
    write = bucket.put_bytes

    def be_late(key: str, data: bytes, *, only_new: bool) -> object:
        there.push(other)
        return write(key, data, only_new=only_new)

    bucket.put_bytes = be_late  # type: ignore[method-assign,assignment]
    with pytest.raises(RegistryFault, match=r"someone else meanwhile.*\n.*resnet50@2"):
        push(bucket, there.url, MODEL, mine, there.reports.append, patience=there.patience)
    assert files_of(there.pull().folder) == files_of(other)


def test_a_version_that_was_pushed_while_files_were_sent_keeps_all_its_files(
    there: Storage, tmp_path: Path
):
    mine, other = ir(tmp_path / "mine"), ir(tmp_path / "other", seed=2)
    (other / "labels.txt").write_text("cat")
    bucket = there.bucket()
    send = bucket.put_file

    def be_late(key: str, path: Path, sha256: str, report: object) -> object:
        if path.name == "model.xml":
            there.push(other)
        return send(key, path, sha256, report)  # type: ignore[arg-type]

    bucket.put_file = be_late  # type: ignore[method-assign,assignment]
    with pytest.raises(RegistryFault, match=r"someone else meanwhile.*\n.*resnet50@2"):
        push(bucket, there.url, MODEL, mine, there.reports.append, patience=there.patience)
    assert there.url.key("models/resnet50/1/labels.txt") in there.names()


def test_files_that_another_push_replaced_by_as_long_ones_are_not_made_a_version(
    there: Storage, tmp_path: Path
):
    mine = ir(tmp_path / "mine")
    bucket = there.bucket()
    send = bucket.put_file

    def be_replaced(key: str, path: Path, sha256: str, report: object) -> object:
        stored = send(key, path, sha256, report)  # type: ignore[arg-type]
        if path.name == "model.bin":
            other = ir(tmp_path / "other", seed=2) / "model.bin"
            claimed = hashlib.sha256(other.read_bytes()).hexdigest()
            send(key, other, claimed, there.reports.append)
        return stored

    bucket.put_file = be_replaced  # type: ignore[method-assign,assignment]
    with pytest.raises(RegistryFault, match="another push of resnet50@1 is running"):
        push(bucket, there.url, MODEL, mine, there.reports.append, patience=there.patience)
    assert list_models(there.bucket(), there.url).models == ()


def test_an_object_that_was_written_twice_is_mended_by_the_same_push(tmp_path: Path):
    there = storage("gcs", tmp_path)
    folder = ir(tmp_path / "model")
    there.push(folder)
    there.overwrite(BIN, (folder / "model.bin").read_bytes())
    assert not check(there.bucket(), there.url, (), there.reports.append).passed
    assert there.push(folder).sent == ("model.bin",)
    assert check(there.bucket(), there.url, (), there.reports.append).passed
    there.close()


def test_a_file_that_changes_while_it_is_pushed_is_not_stored(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model", size=LARGE)
    changed = content(3, LARGE)
    bucket = there.bucket()
    send = bucket.put_file

    def change_then_send(key: str, path: Path, sha256: str, report: object) -> object:
        if path.name == "model.bin":
            path.write_bytes(changed)
        return send(key, path, sha256, report)  # type: ignore[arg-type]

    bucket.put_file = change_then_send  # type: ignore[method-assign,assignment]
    with pytest.raises(FileChanged, match="changed while it was being pushed"):
        push(bucket, there.url, MODEL, folder, there.reports.append, patience=there.patience)
    assert not any(key.endswith("model.bin") for key in there.names())
    assert not list((tmp_path / "uploads").iterdir())


def test_the_last_part_is_held_back_until_the_digest_is_right(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"abcdef")
    given: list[bytes] = []
    with pytest.raises(FileChanged):
        given.extend(parts(path, "0" * 64, 2))
    iterator = parts(path, "0" * 64, 2)
    assert [next(iterator), next(iterator)] == [b"ab", b"cd"]
    with pytest.raises(FileChanged):
        next(iterator)


def refused(there: Storage, folder: Path) -> str:
    with pytest.raises(RegistryFault) as caught:
        there.push(folder)
    assert caught.value.lasting
    assert there.names() == []
    return caught.value.message


@pytest.fixture
def gcs(tmp_path: Path) -> Iterator[Storage]:
    made = storage("gcs", tmp_path)
    yield made
    made.close()


def test_what_is_no_model_is_refused(gcs: Storage, tmp_path: Path):
    folder = tmp_path / "model"
    assert "is not there" in refused(gcs, folder)
    folder.mkdir()
    assert "has no files" in refused(gcs, folder)
    (folder / "readme.md").write_text("a model")
    assert "has no model that can be served" in refused(gcs, folder)
    (folder / "model.xml").write_text("<net/>")
    assert "is without its weights" in refused(gcs, folder)
    assert "is a file" in refused(gcs, folder / "readme.md")


@pytest.mark.parametrize(
    "names",
    [
        ["m.onnx"],
        ["m.tflite"],
        ["inference.pdmodel", "inference.pdiparams"],
        ["saved_model.pb", "variables/variables.index"],
        ["openvino_model.xml", "openvino_model.bin", "tokenizer.json"],
        ["Qwen3-0.6B-Q4_K_M.gguf"],
    ],
)
def test_models_of_every_kind_are_taken(gcs: Storage, tmp_path: Path, names: list[str]):
    for name in names:
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    pushed = gcs.push(tmp_path / "model")
    assert [file.path for file in pushed.manifest.files] == sorted(names)


def test_a_folder_of_versions_is_refused_with_how_to_push_one(gcs: Storage, tmp_path: Path):
    (tmp_path / "model" / "1").mkdir(parents=True)
    (tmp_path / "model" / "1" / "notes.txt").write_text("x")
    assert "push each version by itself" in refused(gcs, tmp_path / "model")


def test_hidden_files_are_left_out_and_said(gcs: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("x")
    (folder / ".DS_Store").write_text("x")
    pushed = gcs.push(folder)
    assert len(pushed.manifest.files) == 3
    assert "left out, since hidden: .DS_Store, .git" in gcs.reports


def test_links_out_of_the_folder_are_refused(gcs: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model")
    (tmp_path / "secret").write_text("x")
    (folder / "link").symlink_to(tmp_path / "secret")
    assert "is a link out of the folder" in refused(gcs, folder)
    (folder / "link").unlink()
    (folder / "inside").symlink_to("model.xml")
    assert len(gcs.push(folder).manifest.files) == 4


def test_links_to_folders_are_refused(gcs: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model")
    (folder / "again").symlink_to("extra")
    assert "is a link to a folder" in refused(gcs, folder)


def test_empty_files_and_odd_names_come_back(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model")
    (folder / "empty").write_bytes(b"")
    (folder / "Ein Größe & más #1?+%20.txt").write_text("ü")
    there.push(folder)
    assert files_of(there.pull().folder) == files_of(folder)


def manifest_text(**changes: object) -> str:
    sha256 = "a" * 64
    fields: dict[str, object] = {
        "schema_version": 1,
        "name": "resnet50",
        "version": 1,
        "created": "2026-01-01T00:00:00+00:00",
        "files": [{"path": "m.onnx", "bytes": 3, "sha256": sha256, "object_version": None}],
        "sha256": content_digest([("m.onnx", 3, sha256)]),
    }
    import json

    return json.dumps({**fields, **changes})


def test_a_manifest_is_read_as_it_was_written():
    manifest = parse_manifest(manifest_text(), MODEL)
    assert manifest.size_bytes == 3
    assert parse_manifest(manifest.to_json(), MODEL) == manifest


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"schema_version": 2}, "schema_version is 2"),
        ({"version": 2}, "names another model"),
        ({"files": []}, "lists no files"),
        ({"sha256": "b" * 64}, "its own sha256"),
        ({"files": [{"path": "../m.onnx", "bytes": 3, "sha256": "a" * 64}]}, "is no path"),
        ({"files": [{"path": "/m.onnx", "bytes": 3, "sha256": "a" * 64}]}, "is no path"),
        ({"files": [{"path": "a//m.onnx", "bytes": 3, "sha256": "a" * 64}]}, "is no path"),
        ({"files": [{"path": "a\\m", "bytes": 3, "sha256": "a" * 64}]}, "is no path"),
        ({"files": [{"path": ".hidden", "bytes": 3, "sha256": "a" * 64}]}, "is no path"),
        ({"files": [{"path": "\ud800", "bytes": 3, "sha256": "a" * 64}]}, "not written in UTF-8"),
        ({"files": [{"path": "m", "bytes": 10**400, "sha256": "a" * 64}]}, "has no size"),
        ({"files": [{"path": "m", "bytes": -1, "sha256": "a" * 64}]}, "has no size"),
        ({"files": [{"path": "m", "bytes": True, "sha256": "a" * 64}]}, "has no size"),
        ({"files": [{"path": "m", "bytes": 1, "sha256": "xyz"}]}, "has no sha256"),
        (
            {
                "files": [
                    {"path": "m", "bytes": 1, "sha256": "a" * 64},
                    {"path": "m/n", "bytes": 1, "sha256": "a" * 64},
                ]
            },
            "comes twice",
        ),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(changes: dict[str, object], why: str):
    with pytest.raises(ManifestError, match=why):
        parse_manifest(manifest_text(**changes), MODEL)


def test_a_manifest_of_nothing_but_brackets_is_refused():
    with pytest.raises(ManifestError, match="is no JSON"):
        parse_manifest("[" * 200_000, MODEL)


def test_a_manifest_brings_nothing_to_a_terminal_but_text():
    assert parse_manifest(manifest_text(created="\x1b]0;x\x07"), MODEL).created == ""


def test_the_order_of_files_does_not_change_the_digest():
    one, two = ("a", 1, "a" * 64), ("b", 2, "b" * 64)
    assert content_digest([one, two]) == content_digest([two, one])
    assert content_digest([one, two]) != content_digest([one, ("c", 2, "b" * 64)])
    assert Manifest(RegistryModel("m", 1), "", ()).sha256 == content_digest([])
