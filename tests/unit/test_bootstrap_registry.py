"""The look at a model registry with which scripts/up ends, and by whose credentials."""

import json
import subprocess
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from scripts.bootstrap import registry, stack

CONFIGURED = {"registry_key_id": "AKID", "registry_secret_key": "the-secret-key"}
MINE = {"AWS_ACCESS_KEY_ID": "MINE", "AWS_SESSION_TOKEN": "of-my-own-login"}


def environment_of_look(
    monkeypatch: pytest.MonkeyPatch, configured: dict[str, str]
) -> dict[str, str]:
    """Return the environment in which a registry with no models is looked at."""
    seen: list[tuple[Sequence[str], dict[str, str]]] = []

    def configuration(_checkout: Any, _cli: Any, _variables: Any, words: Sequence[str]) -> Any:
        value = configured.get(words[2].rpartition(":")[2])
        return subprocess.CompletedProcess([], 0 if value else 1, value or "", "")

    def lists(words: Sequence[str], **options: Any) -> Any:
        seen.append((words, options["env"]))
        return subprocess.CompletedProcess([], 0, json.dumps({"models": []}), "")

    monkeypatch.setattr(stack, "run", configuration)
    monkeypatch.setattr(registry.subprocess, "run", lists)
    ready: Any = SimpleNamespace(
        checkout=SimpleNamespace(root="."), cli=None, python="python", variables=MINE
    )
    outputs: Any = SimpleNamespace(registry="s3://models", models=[])
    registry.look(ready, "model-registry", outputs)
    ((words, environment),) = seen
    assert "the-secret-key" not in words
    return environment


def test_a_configured_key_is_not_mixed_with_the_deployers_own_login(
    monkeypatch: pytest.MonkeyPatch,
):
    environment = environment_of_look(monkeypatch, CONFIGURED)
    assert environment["AWS_ACCESS_KEY_ID"] == "AKID"
    assert environment["AWS_SECRET_ACCESS_KEY"] == "the-secret-key"
    assert environment["AWS_SESSION_TOKEN"] == ""


def test_without_a_configured_key_the_deployers_own_login_is_used(
    monkeypatch: pytest.MonkeyPatch,
):
    assert MINE.items() <= environment_of_look(monkeypatch, {}).items()
