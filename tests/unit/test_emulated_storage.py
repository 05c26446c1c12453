"""The emulated cloud's buckets: found by both of their ids, and deleted as the provider does it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_gcs import FakeGcs

from emulator.gcp.cloud import Cloud
from emulator.gcp.kind import Fields, Where
from emulator.gcp.storage import ACCOUNT_KEY, BUCKET
from emulator.plugin.errors import PluginError

WHERE = Where("my-project", "europe-west4", "europe-west4-a")


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGcs]:
    storage = FakeGcs("models")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{storage.port}")
    for name in ("a", "b/c", "d e"):
        storage.put(name, b"content")
    yield storage
    storage.close()


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return Cloud(tmp_path, (), "203.0.113.7")


def bucket(*, force: bool) -> Fields:
    return {"name": "models", "location": "europe-west4", "forceDestroy": force}


def test_a_bucket_is_found_by_its_name_and_by_what_an_import_takes(cloud: Cloud):
    made = cloud.create(BUCKET, bucket(force=False), WHERE)
    assert made.identity == "models"
    assert cloud.read(BUCKET, "my-project/models") == made


def test_a_full_bucket_goes_only_by_force(cloud: Cloud, storage: FakeGcs):
    cloud.create(BUCKET, bucket(force=False), WHERE)
    with pytest.raises(PluginError, match="without `force_destroy` set to true"):
        cloud.delete(BUCKET, "models")
    assert len(storage.objects) == 3
    cloud.update(BUCKET, "models", bucket(force=True), WHERE)
    cloud.delete(BUCKET, "models")
    assert storage.objects == {}
    assert cloud.read(BUCKET, "models") is None


def test_two_keys_of_one_account_are_two(cloud: Cloud):
    account: Fields = {"serviceAccountId": "projects/my-project/serviceAccounts/a@b"}
    keys = [cloud.create(ACCOUNT_KEY, account, WHERE) for _ in range(2)]
    assert len({key.identity for key in keys}) == 2
    assert all("/serviceAccounts/a@b/keys/" in key.identity for key in keys)
