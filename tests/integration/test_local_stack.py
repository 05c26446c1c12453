"""The local stack on the real engine, from a clean checkout to an empty machine, as people use it.

The tests run in order on one checkout: each starts from what the one before it left.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from pathlib import Path

import checkout as checkouts
import pytest
import requests
from checkout import Checkout

from scripts.models.stand_in import ANSWER

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    made = checkouts.make(tmp_path_factory.mktemp("local-stack"))
    yield made
    for left in made.servers():
        left.kill()


@pytest.fixture(scope="module")
def first_up(checkout: Checkout):
    """The first thing a person types. No hub is there, whatever this machine can reach."""
    return checkout.good("scripts/up", HF_ENDPOINT="http://127.0.0.1:9")


def chat(outputs, key=None, **changed) -> requests.Response:
    body = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 64, **changed}
    return requests.post(
        f"{outputs['openai_base_url']}/chat/completions",
        headers={"Authorization": f"Bearer {key or outputs['api_key']}"},
        json=body,
        timeout=60,
    )


def no_changes(checkout: Checkout) -> None:
    done = checkout.run(
        "scripts/pulumi", "preview", "--expect-no-changes", "--stack", "local", "--non-interactive"
    )
    assert done.status == 0, done.text


def wait_until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"it did not come about within {seconds:.0f} s")


def test_the_first_up_says_loudly_that_a_stand_in_serves(checkout: Checkout, first_up):
    assert "stand-in" in first_up.text
    config = (checkout.root / "stacks" / "Pulumi.local.yaml").read_text(encoding="utf-8")
    assert "llm-endpoint:model: builtin:stand-in" in config
    receipt = checkout.outputs()["verification"]
    assert receipt["model"]["stand_in"] is True


def test_the_receipt_shows_every_check_passed(checkout: Checkout, first_up):
    receipt = checkout.outputs()["verification"]
    statuses = {check["name"]: check["status"] for check in receipt["checks"]}
    assert receipt["status"] == "passed"
    assert statuses.pop("embeddings") == "skipped"
    assert set(statuses.values()) == {"passed"}
    assert receipt["schema_version"] == 1
    # A single stream of the stand-in is often one burst, whose rate is null.
    assert receipt["concurrency"]["total_tokens_per_second"] > 0
    assert receipt["time_to_first_token_seconds"] > 0


def test_the_contract_of_outputs_is_kept(checkout: Checkout, first_up):
    outputs = checkout.outputs()
    assert outputs["state"] == "serving"
    assert outputs["endpoint_url"].startswith("http://127.0.0.1:")
    assert outputs["openai_base_url"] == f"{outputs['endpoint_url']}/v1"
    assert (outputs["model"], outputs["engine"]) == ("stand-in", "llama_cpp")
    assert outputs["billing"] == []
    shown = json.loads(checkout.pulumi("stack", "output", "--json").stdout)
    hidden = {name for name, value in shown.items() if value == "[secret]"}
    assert hidden == {"api_key", "api_keys"}


def test_the_printed_curl_line_talks_to_the_endpoint(checkout: Checkout, first_up):
    line = next(line for line in first_up.text.splitlines() if "curl" in line)
    done = checkout.good("bash", "-c", line[line.index("curl") :])
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == ANSWER


def test_the_key_is_nowhere_but_in_its_file(checkout: Checkout, first_up):
    key = checkout.outputs()["api_key"]
    assert key not in first_up.text
    holders = [
        path.relative_to(checkout.root)
        for path in checkout.root.rglob("*")
        if path.is_file() and ".venv" not in path.parts and key.encode() in path.read_bytes()
    ]
    assert holders == [Path(".state/servers/local/keys")]
    for process in checkout.servers():
        assert key not in json.dumps([process.cmdline(), process.environ()])


def test_nobody_talks_to_it_without_the_key(checkout: Checkout, first_up):
    assert chat(checkout.outputs(), key="wrong").status_code == 401


def test_the_openai_client_talks_to_it(checkout: Checkout, first_up):
    from openai import OpenAI

    outputs = checkout.outputs()
    client = OpenAI(base_url=outputs["openai_base_url"], api_key=outputs["api_key"])
    messages = [{"role": "user", "content": "Привет! 你好"}]
    answer = client.chat.completions.create(model=outputs["model"], messages=messages)
    assert answer.choices[0].message.content == ANSWER
    stream = client.chat.completions.create(model=outputs["model"], messages=messages, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(pieces) == ANSWER
    assert len([piece for piece in pieces if piece]) > 1


def test_langchain_talks_to_it(checkout: Checkout, first_up):
    from langchain_core.messages import HumanMessage, SystemMessage
    from langchain_openai import ChatOpenAI

    outputs = checkout.outputs()
    model = ChatOpenAI(
        model=outputs["model"], base_url=outputs["openai_base_url"], api_key=outputs["api_key"]
    )
    messages = [SystemMessage(content="Be brief."), HumanMessage(content="Tell me a joke.")]
    assert model.invoke(messages).content == ANSWER
    assert "".join(str(piece.content) for piece in model.stream(messages)) == ANSWER


def test_the_client_snippet_works_as_pasted(checkout: Checkout, first_up):
    snippet = checkout.outputs()["client_snippet"]
    assert checkout.good(sys.executable, "-c", snippet).stdout.strip() == ANSWER


def test_verification_can_be_run_by_hand(checkout: Checkout, first_up):
    outputs = checkout.outputs()
    done = checkout.good(
        ".venv/bin/python",
        *("-m", "scripts.verify", outputs["endpoint_url"], "--key-env", "ANY_NAME"),
        ANY_NAME=outputs["api_key"],
    )
    assert json.loads(done.stdout)["status"] == "passed"


def test_nothing_changed_means_no_change(checkout: Checkout, first_up):
    before = [process.pid for process in checkout.servers()]
    no_changes(checkout)
    again = checkout.good("scripts/up")
    assert [process.pid for process in checkout.servers()] == before
    assert re.search(r"\d+ unchanged", again.text)
    assert not re.search(r"\d+ (created|updated|replaced|deleted)", again.text)


@pytest.mark.parametrize(
    "command", [("scripts/up",), ("scripts/pulumi", "up", "--yes", "--stack", "local")]
)
def test_a_killed_server_is_repaired_by_the_next_up(checkout: Checkout, first_up, command):
    (server,) = checkout.servers()
    server.kill()
    wait_until(lambda: not checkout.servers())
    checkout.good(*command)
    (repaired,) = checkout.servers()
    assert repaired.pid != server.pid
    assert chat(checkout.outputs()).json()["choices"][0]["message"]["content"] == ANSWER
    no_changes(checkout)


def test_a_changed_flag_replaces_the_server_and_keeps_key_and_port(checkout: Checkout, first_up):
    before, (server,) = checkout.outputs(), checkout.servers()
    checkout.configure("engine_flags", "--metrics")
    checkout.configure("embeddings_model", "builtin:stand-in")
    checkout.good("scripts/up")
    after, (changed,) = checkout.outputs(), checkout.servers()
    assert changed.pid != server.pid
    assert (after["api_key"], after["endpoint_url"]) == (before["api_key"], before["endpoint_url"])
    metrics = requests.get(
        f"{after['endpoint_url']}/metrics",
        headers={"Authorization": f"Bearer {after['api_key']}"},
        timeout=10,
    )
    assert metrics.status_code == 200


def test_embeddings_are_served_and_verified_where_they_are_configured(checkout: Checkout, first_up):
    from openai import OpenAI

    outputs = checkout.outputs()
    assert outputs["embedding_model"] == "stand-in"
    statuses = {c["name"]: c["status"] for c in outputs["verification"]["checks"]}
    assert statuses["embeddings"] == "passed"
    client = OpenAI(base_url=outputs["openai_base_url"], api_key=outputs["api_key"])
    answer = client.embeddings.create(model=outputs["embedding_model"], input=["one", "two"])
    assert len(answer.data) == 2
    assert chat(outputs).json()["choices"][0]["message"]["content"] == ANSWER


def test_a_change_of_a_commands_text_alone_keeps_the_key_and_the_port(checkout: Checkout, first_up):
    before = checkout.outputs()
    program = checkout.root / "stacks" / "local.py"
    kept = program.read_text(encoding="utf-8")
    changed = kept.replace('"python": [python()],', '"python": ["/usr/bin/env", python()],')
    assert changed != kept
    try:
        program.write_text(changed, encoding="utf-8")
        checkout.good("scripts/up")
        after = checkout.outputs()
    finally:
        program.write_text(kept, encoding="utf-8")
    assert (after["api_key"], after["endpoint_url"]) == (before["api_key"], before["endpoint_url"])
    checkout.good("scripts/up")
    assert checkout.outputs()["api_key"] == before["api_key"]
    no_changes(checkout)


def test_the_port_that_the_server_has_can_be_fixed(checkout: Checkout, first_up):
    url = checkout.outputs()["endpoint_url"]
    checkout.configure("port", url.rpartition(":")[2])
    checkout.good("scripts/up")
    assert checkout.outputs()["endpoint_url"] == url
    checkout.forget("port")
    checkout.good("scripts/up")
    assert checkout.outputs()["endpoint_url"] == url


def test_a_stack_of_the_same_name_in_another_backend_leaves_the_server_alone(
    checkout: Checkout, first_up, tmp_path: Path
):
    (server,) = checkout.servers()
    other = {"PULUMI_BACKEND_URL": tmp_path.as_uri(), "PULUMI_CONFIG_PASSPHRASE": "other"}
    configuration = checkout.root / "stacks" / "Pulumi.local.yaml"
    kept = configuration.read_text(encoding="utf-8")
    try:
        configuration.unlink()
        refused = checkout.run("scripts/up", HF_ENDPOINT="http://127.0.0.1:9", **other)
        assert refused.status != 0
        assert f"kill {server.pid}" in refused.text
        checkout.good("scripts/down", **other)
    finally:
        configuration.write_text(kept, encoding="utf-8")
    assert [process.pid for process in checkout.servers()] == [server.pid]
    assert chat(checkout.outputs()).status_code == 200


def test_a_stack_of_any_name_is_set_up_as_the_message_says(checkout: Checkout, first_up):
    refused = checkout.run("scripts/up", "mine")
    assert refused.status != 0
    assert "scripts/pulumi stack init mine" in refused.text
    checkout.good("scripts/pulumi", "stack", "init", "mine")
    checkout.good("scripts/pulumi", "config", "set", "program", "local", "--stack", "mine")
    checkout.good("scripts/pulumi", "config", "set", "model", "builtin:stand-in", "--stack", "mine")
    checkout.good("scripts/up", "mine")
    assert len(checkout.servers()) == 2
    checkout.good("scripts/pulumi", "stack", "rename", "renamed", "--stack", "mine")
    checkout.good("scripts/up", "renamed")
    assert not (checkout.root / ".state" / "servers" / "mine").exists()
    checkout.good("scripts/down", "renamed", "--remove")
    assert not (checkout.root / ".state" / "servers" / "renamed").exists()
    assert len(checkout.servers()) == 1
    checkout.good("scripts/pulumi", "stack", "select", "local")


def test_a_key_is_added_and_another_renewed(checkout: Checkout, first_up):
    old = checkout.outputs()["api_key"]
    checkout.configure("keys", "default@2 alice")
    checkout.good("scripts/up")
    outputs = checkout.outputs()
    assert chat(outputs, key=old).status_code == 401
    assert chat(outputs, key=outputs["api_keys"]["alice"]).status_code == 200
    assert chat(outputs).status_code == 200


def test_an_up_killed_half_way_is_repaired_by_the_next(checkout: Checkout, first_up):
    record = checkout.root / ".state" / "servers" / "local" / "server.json"
    before = record.read_text(encoding="utf-8")
    checkout.configure("slots", "2")
    killed = checkout.start("scripts/up")
    wait_until(lambda: not record.exists() or record.read_text(encoding="utf-8") != before)
    checkouts.end_group(killed)
    checkout.good("scripts/up")
    wait_until(lambda: len(checkout.servers()) == 1)
    assert chat(checkout.outputs()).status_code == 200
    no_changes(checkout)


def test_a_second_up_at_the_same_time_says_so(checkout: Checkout, first_up):
    locks = checkout.root / ".state"
    checkout.configure("slots", "3")
    first = checkout.start("scripts/up")
    try:
        wait_until(lambda: any(locks.rglob(".pulumi/locks/**/*.json")))
        second = checkout.run("scripts/up")
        assert second.status != 0
        assert re.search(r"another .*(is|has) ", second.text), second.text
        assert "Traceback" not in second.text
    finally:
        output, _ = first.communicate(timeout=300)
    assert first.returncode == 0, output


def test_a_taken_port_is_one_clear_message(checkout: Checkout, first_up):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        checkout.configure("port", str(port))
        refused = checkout.run("scripts/up")
    assert refused.status != 0
    assert f"port {port} on 127.0.0.1 is taken by" in refused.text
    assert f"(pid {os.getpid()})" in refused.text
    checkout.forget("port")


def test_a_model_that_does_not_fit_is_refused_with_the_numbers(checkout: Checkout, first_up):
    (server,) = checkout.servers()
    checkout.configure("context_tokens", "1048576")
    checkout.configure("slots", "256")
    refused = checkout.run("scripts/up")
    assert refused.status != 0
    assert re.search(r"[\d.]+ [GT]i?B", refused.text)
    # What is refused leaves what serves alone.
    assert [process.pid for process in checkout.servers()] == [server.pid]
    assert chat(checkout.outputs()).status_code == 200
    for key in ("context_tokens", "slots"):
        checkout.forget(key)


def test_every_problem_of_the_configuration_is_refused_at_preview(checkout: Checkout, first_up):
    checkout.configure("modle", "x")
    checkout.configure("slots", "many")
    refused = checkout.run("scripts/pulumi", "preview", "--stack", "local", "--non-interactive")
    assert refused.status != 0
    assert "2 problems" in refused.text
    assert "Traceback" not in refused.text
    for key in ("modle", "slots"):
        checkout.forget(key)


def test_parked_keeps_the_key_and_runs_nothing(checkout: Checkout, first_up):
    url = checkout.outputs()["endpoint_url"]
    checkout.configure("parked", "true")
    checkout.good("scripts/up")
    parked = checkout.outputs()
    assert parked["state"] == "parked"
    assert parked.get("endpoint_url") is None
    assert not checkout.servers()
    checkout.forget("parked")
    checkout.good("scripts/up")
    back = checkout.outputs()
    assert back["api_key"] == parked["api_key"]
    assert back["endpoint_url"] == url


def test_down_refuses_a_backend_that_lacks_the_stack(checkout: Checkout, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    refused = checkout.run("scripts/down", PULUMI_BACKEND_URL=f"file://{elsewhere}")
    assert refused.status != 0
    assert str(elsewhere) in refused.text
    assert checkout.servers()


def test_down_leaves_nothing(checkout: Checkout, first_up):
    outputs = checkout.outputs()
    done = checkout.good("scripts/down")
    assert "bills" in done.text
    assert not checkout.servers()
    assert not (checkout.root / ".state" / "servers" / "local").exists()
    with pytest.raises(requests.ConnectionError):
        requests.get(outputs["endpoint_url"], timeout=5)
    exported = json.loads(checkout.pulumi("stack", "export").stdout)
    left = [r["type"] for r in exported["deployment"].get("resources", [])]
    assert set(left) <= {"pulumi:pulumi:Stack"}
