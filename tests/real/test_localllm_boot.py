"""`engine: localllm` boots: the real tool, fetched by Git at its commit, behind the gateway.

The tool is in no package index: `LLM_ENDPOINT_TEST_LOCALLLM` names a repository that has it, such
as a clone of GoogleCloudPlatform/localllm. Compiling its server takes a machine some minutes.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from guest import rootfs
from guest.deployment import FILE, REPOSITORY, Deployment, deploy, keep_build, made_cloud
from guest.git_host import git_host
from guest.hub import HUB
from guest.internet import Answer, Request, Site

from scripts.models.stand_in import write_stand_in

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]

TOOL = os.environ.get("LLM_ENDPOINT_TEST_LOCALLLM", "")
BOOT_SECONDS = 1800
LOCKS = ("machine", "go", "localllm-build", "localllm")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    if not TOOL:
        pytest.skip("LLM_ENDPOINT_TEST_LOCALLLM names no repository of localllm's own tool")
    folder = tmp_path_factory.mktemp("git")
    github = git_host(Path(TOOL), "GoogleCloudPlatform/localllm", folder)
    model = folder / FILE
    write_stand_in(model)
    cloud = made_cloud(
        tmp_path_factory.mktemp("model"), LOCKS, {"github.com": github, HUB: hub_with(model)}
    )
    built = rootfs.folder() / "built"
    made = deploy(
        cloud,
        built if built.exists() else None,
        engine="localllm",
        model=f"{REPOSITORY}:{FILE}",
        embeddings_model=None,
        context_tokens="4096",
        slots=None,
    )
    try:
        made.machine.start()
        made.machine.wait_for_stage("ready", "done", BOOT_SECONDS)
        keep_build(made.machine, built)
        yield made
    finally:
        made.machine.close()
        cloud.close()


def hub_with(model: Path) -> Site:
    """Return the hub with one file, as the tool's own client asks for it."""
    digest = hashlib.sha256(model.read_bytes()).hexdigest()

    def answer(request: Request) -> Answer:
        if request.path != f"/{REPOSITORY}/resolve/main/{FILE}":
            return Answer(404, headers={"X-Error-Code": "EntryNotFound"})
        return Answer(200, model, {"ETag": f'"{digest}"', "X-Repo-Commit": "c" * 40})

    return answer


def verified(served: Deployment) -> dict:
    done = served.verify("--wait-seconds", "120", "--concurrency", "2", claims="")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{served.machine.tail()}"
    return json.loads(done.stdout)


def test_its_model_is_discovered_and_every_check_passes(served: Deployment):
    receipt = verified(served)
    assert receipt["status"] == "passed"
    assert receipt["model"]["id"].endswith(FILE)


def test_the_tool_itself_runs_the_server(served: Deployment):
    unit = "llm-endpoint-server-chat.service"
    processes = served.machine.good("systemctl", "status", "--no-pager", "--full", unit)
    assert "llama_cpp.server" in processes
    assert served.ask(None) == 401


def test_a_server_that_is_killed_comes_back(served: Deployment):
    served.machine.good("pkill", "-9", "-f", "llama_cpp.server")
    served.machine.wait_for(lambda: served.ask(served.keys["default"]) != 200, 30, "it to be gone")
    assert verified(served)["status"] == "passed"
