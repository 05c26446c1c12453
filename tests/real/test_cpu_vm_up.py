"""`pulumi up --stack cpu-vm` from nothing to a verified endpoint, and away again.

The real Pulumi engine runs the program over an emulated cloud, whose VM is a real guest: what the
program put into its metadata boots there, and the deployer's own verification goes through the
gateway. The tests run in order on one stack.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from guest.cloud import URL
from guest.deployment import made_cloud
from guest.stack import Deployed, bring_up, deployed_stack

from scripts.models.stand_in import ANSWER

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

STACK = "cpu-vm"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    cloud = made_cloud(tmp_path_factory.mktemp("model"))
    with deployed_stack(cloud, tmp_path_factory.mktemp("stack"), STACK) as deployed:
        yield bring_up(deployed, STACK)


def test_up_ends_with_an_endpoint_that_has_answered(up: Deployed):
    outputs = up.pulumi.outputs(STACK)
    assert outputs["state"] == "serving"
    assert outputs["endpoint_url"] == URL
    assert outputs["openai_base_url"] == f"{URL}/v1"
    assert outputs["verification"]["status"] == "passed"
    assert "BEGIN CERTIFICATE" in str(outputs["ca_certificate"])


def test_exactly_the_keys_are_secret(up: Deployed):
    shown = json.loads(up.pulumi.good("stack", "output", "--json", "--stack", STACK).stdout)
    assert {n for n, value in shown.items() if value == "[secret]"} == {"api_key", "api_keys"}
    key = str(up.pulumi.outputs(STACK)["api_key"])
    assert key not in up.pulumi.state(STACK)


def test_langchain_chats_with_it_plain_and_streaming(up: Deployed):
    outputs = up.pulumi.outputs(STACK)
    said = up.python(
        """
        import os, ssl, httpx
        from langchain_openai import ChatOpenAI

        trusted = httpx.Client(verify=ssl.create_default_context(cadata=os.environ["CA"]))
        chat = ChatOpenAI(
            base_url=os.environ["URL"], api_key=os.environ["KEY"], model=os.environ["MODEL"],
            http_client=trusted,
        )
        print(chat.invoke("Hello!").content)
        print("".join(chunk.content for chunk in chat.stream("Hello!")))
        """,
        URL=str(outputs["openai_base_url"]),
        KEY=str(outputs["api_key"]),
        CA=str(outputs["ca_certificate"]),
        MODEL=str(outputs["model"]),
    )
    assert said.splitlines() == [ANSWER, ANSWER]


def test_an_unchanged_stack_has_no_changes(up: Deployed):
    up.pulumi.good("preview", "--expect-no-changes", "--stack", STACK)


def test_another_key_is_verified_without_another_machine(up: Deployed):
    before = up.instance()
    up.pulumi.configure(STACK, keys="default@2 alice")
    old = str(up.pulumi.outputs(STACK)["api_key"])
    up.pulumi.up(STACK)
    outputs = up.pulumi.outputs(STACK)
    assert outputs["api_key"] != old
    assert set(outputs["api_keys"]) == {"default", "alice"}
    assert up.instance() == before
    assert up.compute.made == 1


def test_a_machine_that_was_stopped_is_started_and_verified_by_the_next_up(up: Deployed):
    machine = up.compute.machine
    assert machine is not None
    machine.run("systemctl", "--no-block", "poweroff")
    machine.wait_for_end(120)
    before = up.pulumi.outputs(STACK)["verification"]
    up.pulumi.up(STACK)
    after = up.pulumi.outputs(STACK)["verification"]
    assert machine.is_on
    assert up.compute.made == 1
    assert after["verified_at"] > before["verified_at"]


def test_destroy_takes_all_of_it_away(up: Deployed):
    up.pulumi.good("destroy", "--yes", "--skip-preview", "--stack", STACK)
    assert up.pulumi.resources() == {}
    assert up.compute.machine is None
