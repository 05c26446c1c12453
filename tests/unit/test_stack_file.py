"""A stack's own file, as it is read where Pulumi is not asked."""

from pathlib import Path

import pytest

from components.settings import ConfigurationError
from components.settings.secrets import ENCRYPTED
from scripts.stack_file import file_of, raw_values


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return file_of("organization/project/x", tmp_path)


def test_values_are_read_as_the_engine_hands_them_on(file: Path):
    file.write_text("""
encryptionsalt: v1:abc
config:
  gcp:project: my-project
  gcp:credentials: /a/file.json
  aws:region: nowhere
  llm-endpoint:spot: true
  llm-endpoint:slots: 2
  llm-endpoint:labels: {a: b}
  llm-endpoint:keys: [default, alice]
  llm-endpoint:token:
    secure: v1:AAAA
  llm-endpoint:registry_secret_key:
    secure: v1:BBBB
""")
    assert raw_values(file) == {
        "gcp:project": "my-project",
        "spot": "true",
        "slots": "2",
        "labels": '{"a": "b"}',
        "keys": '["default", "alice"]',
        # Of what is encrypted, a program's secret is known to be set, and nothing more of it.
        "registry_secret_key": ENCRYPTED,
    }


@pytest.mark.parametrize("text", ["", "encryptionsalt: v1:abc\n", "config:\n", "config: []\n"])
def test_a_stacks_file_may_hold_no_configuration(file: Path, text: str):
    file.write_text(text)
    assert raw_values(file) == {}


def test_a_stack_may_have_no_file(file: Path):
    assert raw_values(file) == {}


def test_a_file_that_is_no_yaml_is_named(file: Path):
    file.write_text("config: [")
    with pytest.raises(ConfigurationError, match=r"Pulumi\.x\.yaml can't be read"):
        raw_values(file)
