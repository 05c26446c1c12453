"""What a pull finds that is not as it left it: links, other content, versions of other storage."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from model_registry_storage import MODEL, Storage, files_of, ir, storage

from components.models.registry import RegistryUrl
from scripts.model_registry.bucket import MissingObject
from scripts.model_registry.removing import remove
from scripts.model_registry.s3 import S3Bucket
from scripts.model_registry.uploads import Uploads


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Storage]:
    made = storage("gcs", tmp_path)
    yield made
    made.close()


def test_versions_of_other_storage_are_read_from_the_newest(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model")
    manifest = there.push(folder).manifest
    files = tuple(replace(file, object_version="3sL4kqtJ.rmSpXd") for file in manifest.files)
    copied = replace(manifest, files=files).to_json()
    there.overwrite("manifests/resnet50/1.json", copied.encode())
    assert files_of(there.pull().folder) == files_of(folder)


def test_s3_that_knows_no_such_version_at_all_is_asked_for_the_newest():
    class Client:
        def get_object(self, **_: str) -> object:
            refused: Any = {
                "Error": {"Code": "InvalidArgument"},
                "ResponseMetadata": {"HTTPStatusCode": 400},
            }
            raise ClientError(refused, "GetObject")

    client: Any = Client()
    bucket = S3Bucket(RegistryUrl("s3", "models"), lambda: client, Uploads())
    with pytest.raises(MissingObject), bucket.open("key", version="1700000000000001", start=0):
        pass


def test_another_content_of_a_removed_version_takes_the_place_of_the_first(
    there: Storage, tmp_path: Path
):
    first = ir(tmp_path / "first")
    (first / "labels").write_text("cat")
    there.push(first)
    pulled = there.pull().folder
    remove(there.bucket(), there.url, MODEL, there.reports.append)
    second = ir(tmp_path / "second", seed=2)
    (second / "labels").mkdir()
    (second / "labels" / "en").write_text("cat")
    (second / "extra" / "mapping_config.json").unlink()
    there.push(second)
    (pulled / "model.xml").unlink()
    assert files_of(there.pull().folder) == files_of(second)


def test_links_on_the_disk_are_replaced_and_not_followed(there: Storage, tmp_path: Path):
    folder = ir(tmp_path / "model")
    there.push(folder)
    theirs = ir(tmp_path / "theirs")
    (theirs / "notes.txt").write_text("mine")
    place = tmp_path / "pulled" / "resnet50" / "1"
    place.parent.mkdir(parents=True)
    place.symlink_to(theirs)
    before = files_of(theirs)
    assert files_of(there.pull().folder) == files_of(folder)
    assert files_of(theirs) == before
    (place / "model.bin").unlink()
    (place / "extra" / "mapping_config.json").unlink()
    (place / "extra").rmdir()
    (place / "extra").symlink_to(theirs / "extra")
    there.pull()
    assert not (place / "extra").is_symlink()
    assert files_of(place) == files_of(folder)
    assert files_of(theirs) == before
