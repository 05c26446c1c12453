"""`pulumi up --stack gpu-vm` from nothing to a verified endpoint, and away again.

As `test_cpu_vm_up` does it, with a machine without GPUs, whose servers are containers.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from guest.cloud import URL
from guest.deployment import made_cloud
from guest.gpu_vm import CHAT_SERVER, EMBEDDINGS_SERVER, SETTINGS, image, reference, registry
from guest.processes import inspected
from guest.registry import GITHUB
from guest.stack import Deployed, bring_up, deployed_stack

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

STACK = "gpu-vm"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    stands_in = image()
    more = {GITHUB: registry(stands_in)}
    cloud = made_cloud(tmp_path_factory.mktemp("model"), more=more)
    given = {**SETTINGS, "container_image": reference(stands_in)}
    with deployed_stack(cloud, tmp_path_factory.mktemp("stack"), STACK, **given) as deployed:
        yield bring_up(deployed, STACK)


def test_up_ends_with_an_endpoint_whose_chat_and_embeddings_have_answered(up: Deployed):
    outputs = up.pulumi.outputs(STACK)
    assert outputs["state"] == "serving"
    assert outputs["endpoint_url"] == URL
    receipt = outputs["verification"]
    assert receipt["status"] == "passed"
    passed = {check["name"] for check in receipt["checks"] if check["status"] == "passed"}
    assert {"chat_stream", "embeddings", "concurrency"} <= passed
    assert len(receipt["concurrency"]["tokens_per_second"]) == 3
    assert outputs["model"] != outputs["embedding_model"]


def test_the_servers_are_containers_of_the_configured_image(up: Deployed):
    machine = up.compute.machine
    assert machine is not None
    for name in (CHAT_SERVER, EMBEDDINGS_SERVER):
        assert "@sha256:" in inspected(machine, name)["Config"]["Image"]


def test_an_unchanged_stack_has_no_changes(up: Deployed):
    up.pulumi.good("preview", "--expect-no-changes", "--stack", STACK)


def test_destroy_takes_all_of_it_away(up: Deployed):
    up.pulumi.good("destroy", "--yes", "--skip-preview", "--stack", STACK)
    assert up.pulumi.resources() == {}
    assert up.compute.machine is None
