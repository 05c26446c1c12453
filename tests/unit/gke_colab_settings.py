"""Configurations of `gke-colab`, read and refused: what the tests of its settings share."""

import pytest

from components.settings import ConfigurationError, GkeColabSettings
from components.settings.secrets import MarkedSecret
from stacks import PROGRAMS

GOOD = {"gcp:project": "my-project", "gcp:zone": "europe-west4-a"}
S3 = "s3://backups?endpoint=https://hb.ru-msk.vkcloud-storage.ru&region=ru-msk"
KEY = "the-secret-key-of-the-test"
STORAGE = {
    "runtime_backup": S3,
    "runtime_backup_key_id": "an-id",
    "runtime_backup_secret_key": MarkedSecret(KEY),
}
DIGEST = "@sha256:" + 64 * "a"
IMAGE = f"us-docker.pkg.dev/colab-images/public/cpu-runtime:latest{DIGEST}"


def settings(raw: dict[str, str]) -> GkeColabSettings:
    read = PROGRAMS["gke-colab"].settings({**GOOD, **raw})
    assert isinstance(read, GkeColabSettings)
    return read


def refusal(raw: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        settings(raw)
    return str(caught.value)
