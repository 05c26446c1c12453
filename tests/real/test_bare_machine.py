"""A machine with Python and package registries alone: no Pulumi, no Go, no cache, no HOME."""

import json
import os
import shutil

import pytest
from checkout import Checkout, make

from scripts.models.stand_in import ANSWER

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]

WITHOUT = ("go", "pulumi", "llama-server")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    made = make(tmp_path_factory.mktemp("bare"))
    yield made
    for left in made.servers():
        left.kill()


def path_without(*programs: str) -> str:
    """Return PATH less the folders that hold any of `programs`."""
    folders = os.environ["PATH"].split(os.pathsep)
    kept = [f for f in folders if not any(shutil.which(p, path=f) for p in programs)]
    return os.pathsep.join(kept)


def test_the_readmes_two_commands_do_it_all(checkout: Checkout, tmp_path_factory):
    bare = {
        "PATH": path_without(*WITHOUT),
        "LLM_ENDPOINT_CACHE": str(tmp_path_factory.mktemp("cache")),
        "HF_ENDPOINT": "http://127.0.0.1:9",
    }
    up = checkout.run("scripts/up", **bare)
    assert up.status == 0, up.text
    line = next(line for line in up.text.splitlines() if "curl" in line)
    chat = checkout.run("bash", "-c", line[line.index("curl") :], **bare)
    assert json.loads(chat.stdout)["choices"][0]["message"]["content"] == ANSWER
    down = checkout.run("scripts/down", **bare)
    assert down.status == 0, down.text
    assert not checkout.servers()
