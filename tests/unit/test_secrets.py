"""Secrets in a configuration: how they come in, what refuses them, and that nothing shows them."""

import asyncio
import json

import pytest
from pydantic import SecretStr

from components.settings import ConfigurationError, ModelRegistrySettings, load
from components.settings.loading import raw_configuration, takes
from components.settings.secrets import (
    ENCRYPTED,
    MarkedSecret,
    as_output,
    is_secret,
    secret_keys,
)

SECRET = "wJalrXUtnFEMI/K7MDENG"
S3 = {"registry": "s3://models?endpoint=https://s3.example.org&region=r"}
KEYS = {"registry_key_id": "AKID", "registry_secret_key": MarkedSecret(SECRET)}


def settings(**raw: str) -> ModelRegistrySettings:
    return load(ModelRegistrySettings, raw, {})


def refusal(**raw: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        settings(**raw)
    return str(caught.value.for_stack("mine"))


def test_what_was_set_as_a_secret_comes_marked(monkeypatch: pytest.MonkeyPatch):
    given = {
        "llm-endpoint:registry_secret_key": SECRET,
        "llm-endpoint:registry": "s3://b",
        "aws:secret": "other",
        "gcp:project": "p",
    }
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(given))
    monkeypatch.setenv(
        "PULUMI_CONFIG_SECRET_KEYS", '["llm-endpoint:registry_secret_key", "aws:secret"]'
    )
    raw = raw_configuration()
    assert raw == {"registry_secret_key": SECRET, "registry": "s3://b", "gcp:project": "p"}
    assert [key for key, value in raw.items() if isinstance(value, MarkedSecret)] == [
        "registry_secret_key"
    ]
    assert SECRET not in repr(raw)


def test_a_secret_is_read_and_settings_do_not_show_it():
    read = settings(**S3, **KEYS)
    assert read.registry_secret_key is not None
    assert read.registry_secret_key.get_secret_value() == SECRET
    assert read.registry_key_id is not None
    for shown in (repr(read), str(read), read.model_dump_json()):
        assert SECRET not in shown
        assert "AKID" not in shown


def test_a_secret_in_the_clear_is_refused_with_the_command_that_asks_for_it():
    said = refusal(**S3, registry_key_id="AKID", registry_secret_key=SECRET)
    assert "llm-endpoint:registry_secret_key is not as it should be: it stands" in said
    assert "next: scripts/pulumi config set registry_secret_key --secret --stack mine" in said
    assert SECRET not in said


@pytest.mark.parametrize("bad", ["", " x", "x\n", "x\ny"])
def test_a_secret_with_what_a_paste_leaves_at_its_ends_is_refused(bad: str):
    said = refusal(**S3, registry_key_id="AKID", registry_secret_key=MarkedSecret(bad))
    assert "a line end or a space at one of its ends" in said


def test_half_of_a_pair_is_refused_without_the_other_half_in_the_words():
    said = refusal(**S3, registry_key_id=MarkedSecret("AKIDAKID"))
    assert "llm-endpoint:registry_secret_key is not set: " in said
    assert "AKIDAKID" not in said


def test_no_refusal_of_any_key_repeats_what_was_set_as_a_secret():
    said = refusal(**S3, **KEYS, uploads=MarkedSecret("hunter2hunter2"), nonsense="x")
    assert "llm-endpoint:uploads is not as it should be" in said
    assert "2 problems" in said
    for secret in ("hunter2", SECRET):
        assert secret not in said


def test_an_encrypted_value_stands_for_the_secret_where_nothing_decrypts():
    read = settings(**S3, registry_key_id=ENCRYPTED, registry_secret_key=ENCRYPTED)
    assert read.registry_secret_key == SecretStr(str(ENCRYPTED))


def test_a_schema_tells_which_of_its_keys_are_secrets():
    assert secret_keys(ModelRegistrySettings) == {"registry_key_id", "registry_secret_key"}
    assert not is_secret(tuple[str, ...])
    field = ModelRegistrySettings.model_fields["registry_secret_key"]
    assert takes(field) == "a text that is shown nowhere"


async def _secretness(value: SecretStr) -> tuple[object, bool]:
    output = as_output(value)
    return await output.future(), await output.is_secret()


def test_what_leaves_settings_is_secret_to_the_engine():
    assert asyncio.run(_secretness(SecretStr(SECRET))) == (SECRET, True)
