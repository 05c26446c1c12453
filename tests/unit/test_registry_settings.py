"""The configuration of `model-registry`: what it takes, and what it refuses in which words."""

import pytest

from components.settings import ConfigurationError, ModelRegistrySettings, load
from components.settings.secrets import MarkedSecret
from stacks.planning import bucket_name, google_bucket

GOOGLE = {"gcp:project": "my-project", "gcp:region": "europe-west4"}
S3 = {"registry": "s3://models?endpoint=https://s3.example.org&region=ru-msk"}
KEYS = {"registry_key_id": "AKID", "registry_secret_key": MarkedSecret("the-secret")}


def settings(raw: dict[str, str]) -> ModelRegistrySettings:
    return load(ModelRegistrySettings, raw, {})


def refusal(raw: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        settings(raw)
    return str(caught.value)


def test_a_bucket_of_googles_takes_a_project_and_a_region():
    read = settings(GOOGLE)
    assert read.url() is None
    assert google_bucket(read, "model-registry") == "my-project-llm-endpoint-model-registry-models"
    assert google_bucket(settings({**GOOGLE, "bucket_name": "mine"}), "x") == "mine"


def test_what_is_missing_is_named_with_the_command_that_sets_it():
    said = refusal({})
    assert "gcp:project is not set: a bucket of Google's is made there, unless registry" in said
    assert "next: scripts/pulumi config set gcp:region europe-west4" in said


def test_storage_that_speaks_s3_takes_no_project():
    read = settings({**S3, **KEYS, "gcp:zone": "europe-west4-a"})
    url = read.url()
    assert url is not None
    assert (url.bucket, url.endpoint) == ("models", "https://s3.example.org")


def test_without_an_access_key_the_deployers_own_is_taken():
    assert settings(S3).registry_secret_key is None


@pytest.mark.parametrize(
    ("raw", "said", "step"),
    [
        (
            {**S3, "bucket_name": "b-b"},
            "'b-b': it is for a bucket of Google's",
            "rm",
        ),
        ({**S3, "labels": "a=b"}, "it is for a bucket of Google's", "config rm labels"),
        ({**GOOGLE, **KEYS}, "it is for a registry in storage that speaks S3", "config rm"),
        ({"registry": "gs://mine"}, "leave this unset, and name the bucket", "config rm registry"),
        ({"registry": "https://x"}, "names no registry", "config set registry"),
        ({**GOOGLE, "gcp:region": "europe-west4-a"}, "take europe-west4", "set gcp:region europe"),
        ({**GOOGLE, "gcp:region": "europe-wset4"}, "did you mean europe-west4?", "europe-west4"),
        ({**GOOGLE, "gcp:region": "nowhere"}, "no region of that name", "config set gcp:region"),
        ({**GOOGLE, "bucket_name": "My.Bucket"}, "3 to 63 lower-case letters", "bucket_name"),
        ({**GOOGLE, "bucket_name": "a-google-b"}, "without Google's own name", "bucket_name"),
    ],
)
def test_what_would_not_do_is_refused(raw: dict[str, str], said: str, step: str):
    refused = refusal(raw)
    assert said in refused
    assert step in refused.partition("next: ")[2]


def test_uploads_are_versions_with_their_folders():
    read = settings({**GOOGLE, "uploads": "resnet50@1=a/b resnet50@2=/c=d"})
    assert {str(model): folder for model, folder in read.wanted().items()} == {
        "resnet50@1": "a/b",
        "resnet50@2": "/c=d",
    }
    spaced = settings({**GOOGLE, "uploads": '["x@1=a folder"]'})
    assert list(spaced.wanted().values()) == ["a folder"]


def test_a_password_in_a_registrys_url_is_refused_and_not_repeated():
    said = refusal({"registry": "s3://models?endpoint=https://me:hunter2@s3.example.org"})
    assert "'s3://models' names no registry" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("uploads", "said"),
    [
        ("resnet50@1", "write NAME@VERSION=FOLDER"),
        ("resnet50@1=", "write NAME@VERSION=FOLDER"),
        ("Res@1=x", "'Res@1' names no model of a registry"),
        ("res=x", "'res' names no version"),
        ("a@1=x a@01=y", "'a@01' names no version"),
        ("a@1=x a@1=y", "a@1 stands there twice"),
    ],
)
def test_an_upload_without_model_version_or_folder_is_refused(uploads: str, said: str):
    assert said in refusal({**GOOGLE, "uploads": uploads})


def test_storage_in_the_clear_and_a_new_region_are_warnings():
    (clear,) = settings({"registry": "s3://models?endpoint=http://10.0.0.1:9000"}).warnings()
    assert "in the clear" in clear
    (new,) = settings({**GOOGLE, "gcp:region": "europe-west14"}).warnings()
    assert "does not know the region europe-west14" in new


def test_a_buckets_name_is_one_that_google_takes_and_two_stacks_get_two():
    assert bucket_name("p-1", "gke-colab", "backups") == "p-1-llm-endpoint-gke-colab-backups"
    names = {
        bucket_name("example.com:a-project-of-thirty-letters", stack, "models")
        for stack in ("model-registry", "model-registry-2", "Model_Registry")
    }
    assert len(names) == 3
    for name in names:
        assert len(name) <= 63
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert name.endswith("-models")
