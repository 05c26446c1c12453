"""Where a backend lies, read from the URL that the engine takes."""

from pathlib import Path

import pytest

from scripts.backend import place
from scripts.bootstrap.console import BootstrapError

HOME = {"HOME": "/home/ann"}


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file:///a/b", "/a/b"),
        ("file:///a%20b/%C3%A4?no_tmp_dir=true", "/a b/ä"),
        ("file://~", "/home/ann"),
        ("file://~/state", "/home/ann/state"),
    ],
)
def test_a_folder_is_read_as_the_engine_reads_it(url: str, folder: str):
    assert place.parse(url, HOME).folder == Path(folder)


def test_the_url_of_a_folder_names_it_whatever_is_in_its_name():
    folder = Path("/ä b#c?d%20e/.state/backend")
    assert place.local_folder(place.folder_url(folder), {}) == folder


@pytest.mark.parametrize(
    ("url", "bucket", "folder", "endpoint", "region"),
    [
        ("gs://state-1a2b", "state-1a2b", "", None, None),
        ("gs://state//team/a/", "state", "team/a", None, None),
        ("s3://state?region=eu-north-1", "state", "", None, "eu-north-1"),
        (
            "s3://state/a?region=r&endpoint=127.0.0.1:9000&disableSSL=true&s3ForcePathStyle=true",
            "state",
            "a",
            "http://127.0.0.1:9000",
            "r",
        ),
        ("s3://state?endpoint=storage.example", "state", "", "https://storage.example", None),
        ("s3://state?endpoint=http://h:1/", "state", "", "http://h:1", None),
    ],
)
def test_a_bucket_is_read_with_its_endpoint(
    url: str, bucket: str, folder: str, endpoint: str | None, region: str | None
):
    read = place.parse(url, HOME).bucket
    assert read is not None
    assert (read.bucket, read.folder, read.endpoint, read.region) == (
        bucket,
        folder,
        endpoint,
        region,
    )


def test_the_login_that_opens_a_bucket_is_read_too():
    assert place.parse("s3://state?profile=team", HOME).profile == "team"


def test_pulumi_cloud_is_a_service():
    assert place.parse("https://api.pulumi.com/", HOME).service == "https://api.pulumi.com"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("gs://state/a", "gs://state/a/", True),
        ("gs://state/a", "gs://state/b", False),
        ("gs://state", "s3://state", False),
        ("s3://s?endpoint=h&region=r", "s3://s?region=r&endpoint=https://h/", True),
        ("s3://s?endpoint=h", "s3://s?endpoint=other", False),
        ("s3://s?region=a", "s3://s", True),
        ("file:///a/b", "file:///a/./b?no_tmp_dir=true", True),
        ("https://api.pulumi.com", "https://api.pulumi.com/", True),
    ],
)
def test_a_place_is_known_however_its_url_is_written(one: str, other: str, same: bool):
    left, right = place.parse(one, HOME), place.parse(other, HOME)
    assert (left.identity == right.identity) is same


@pytest.mark.parametrize(
    "url", ["", "here", "file://./here", "azblob://container", "s3://", "gs:state", "https://"]
)
def test_what_names_no_place_is_refused_with_what_would_do(url: str):
    with pytest.raises(BootstrapError) as refused:
        place.parse(url, HOME)
    assert "gs://BUCKET" in refused.value.next_step


@pytest.mark.parametrize("url", ["s3://ann:secret@state", "https://ann:secret@host", "https://["])
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str):
    with pytest.raises(BootstrapError) as refused:
        place.parse(url, HOME)
    assert "secret" not in str(refused.value)
