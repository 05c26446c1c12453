"""The generated user-data of `gpu-vm` boots on a machine without GPUs, and serves from containers.

One machine lives through the tests of this file in their order; the last two have one each.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from guest import rootfs
from guest.cloud import Cloud
from guest.deployment import Deployment, deploy_files, keep_build, made_cloud, new_key
from guest.git_host import git_host
from guest.gpu_vm import (
    CHAT_SERVER,
    EMBEDDINGS_SERVER,
    GIT_NAME,
    SETTINGS,
    Meeting,
    built_files,
    built_image,
    built_plan,
    docker_hub,
    gpu_files,
    image,
    reference,
    registry,
    source_repository,
)
from guest.hub import STORE
from guest.machine import Machine
from guest.namespace import INTERNET, METADATA
from guest.processes import Slowed, engine_of, group_can_reach, inspected
from guest.registry import DOCKER_HUB, GITHUB
from guest.secrecy import assert_secrets_are_only_where_they_are_needed, needles

from components.models.identity import model_id
from components.models.reference import parse_model_reference
from components.rendering.machine.plan import FIRST_SERVER_PORT
from machine.status import ONLY_WITH_GPUS, STAGES

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]

COLD_BOOT_SECONDS = 900
WARM_BOOT_SECONDS = 120
HEALTH_SECONDS = 60
SERVERS = {CHAT_SERVER: FIRST_SERVER_PORT, EMBEDDINGS_SERVER: FIRST_SERVER_PORT + 1}
EMBEDDING_MODEL = model_id(parse_model_reference(SETTINGS["embeddings_model"]))
NOBODY = "65534"
NO_SUCH_DIGEST = f"sha256:{'0' * 64}"


@dataclass(frozen=True)
class Surroundings:
    """A cloud whose registry has one image, by the name that a configuration gives it.

    `commit` is of the repository that an image is built from.
    """

    cloud: Cloud
    reference: str
    commit: str
    meeting: Meeting

    def deploy(self, rendered: Mapping[str, str]) -> Deployment:
        """Return a machine that is off; what one built once lies on its successors' disks."""
        built = rootfs.folder() / "built"
        return deploy_files(self.cloud, built if built.exists() else None, rendered)


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    stands_in, folder = image(), tmp_path_factory.mktemp("git")
    repository = tmp_path_factory.mktemp("source")
    commit = source_repository(repository, built_image(built_plan()).dockerfile)
    sites = {
        GITHUB: registry(stands_in),
        DOCKER_HUB: docker_hub(),
        "github.com": git_host(repository, GIT_NAME, folder),
    }
    cloud = made_cloud(tmp_path_factory.mktemp("model"), more=sites)
    meeting = Meeting()
    sites = cloud.internet.sites
    sites[GITHUB] = meeting.side(0, "/blobs/", sites[GITHUB])
    sites[STORE] = meeting.side(1, "/store/", sites[STORE])
    yield Surroundings(cloud, reference(stands_in), commit, meeting)
    cloud.close()


@pytest.fixture(scope="module")
def served(around: Surroundings) -> Iterator[Deployment]:
    """The machine after its first boot, ready."""
    made = around.deploy(gpu_files(container_image=around.reference))
    try:
        made.machine.start()
        made.machine.wait_for_stage("ready", "done", COLD_BOOT_SECONDS)
        keep_build(made.machine, rootfs.folder() / "built")
        yield made
    finally:
        made.machine.close()


def verified(served: Deployment) -> dict:
    return served.assert_verified("--embedding-model", EMBEDDING_MODEL)


def in_container(machine: Machine, name: str, script: str) -> int:
    """Return what a line of shell in a server's container comes to."""
    return machine.run("docker", "exec", name, "/bin/sh", "-c", script).status


def downloaded(served: Deployment, since: int = 0) -> list[str]:
    return [f"{seen.host}{seen.path}" for seen in served.cloud.internet.downloads()[since:]]


def test_chat_and_embeddings_are_answered_by_a_server_each_and_every_check_passes(
    served: Deployment,
):
    receipt = verified(served)
    passed = {check["name"] for check in receipt["checks"] if check["status"] == "passed"}
    expected = {"ready", "refuses_without_key", "chat_stream", "embeddings", "concurrency"}
    assert expected <= passed
    assert receipt["model"]["id"] != EMBEDDING_MODEL
    running = served.machine.good("docker", "ps", "--format", "{{.Names}}").split()
    assert sorted(running) == sorted(SERVERS)


def speeds(served: Deployment, *options: str) -> tuple[int, dict]:
    """Verify while the chat server answers as slowly as a large model; the status, the receipt."""
    with Slowed(engine_of(served.machine, CHAT_SERVER), 0.001, 0.1):
        done = served.verify("--wait-seconds", "60", *options, claims="")
    return done.returncode, json.loads(done.stdout)


def test_the_receipt_has_the_speed_alone_and_that_of_each_stream_of_three(served: Deployment):
    for _ in range(4):
        status, receipt = speeds(served)
        rates = [receipt["tokens_per_second"], *receipt["concurrency"]["tokens_per_second"]]
        # Where this machine is busy, the server now and then runs on, and answers in one burst.
        if status != 0 or None not in rates:
            break
    assert (status, receipt["status"]) == (0, "passed")
    assert receipt["tokens_per_second"] > 0
    together = receipt["concurrency"]
    assert together["streams"] == len(together["tokens_per_second"]) == 3
    assert all(rate > 0 for rate in together["tokens_per_second"])


def test_a_floor_that_no_machine_reaches_fails_the_verification(served: Deployment):
    status, receipt = speeds(served, "--min-tokens-per-second", "1000000")
    assert status != 0
    assert receipt["status"] == "failed"
    failed = [check for check in receipt["checks"] if check["status"] == "failed"]
    assert [check["name"] for check in failed] == ["concurrency"]
    assert "tokens/s from the slowest" in failed[0]["seen"]
    assert len(receipt["concurrency"]["tokens_per_second"]) == 3


def test_the_image_is_pulled_by_its_digest_while_the_models_are_downloaded(
    served: Deployment, around: Surroundings
):
    assert around.meeting.met
    _, _, digest = around.reference.partition("@")
    asked = downloaded(served)
    assert any(path.endswith(f"/manifests/{digest}") for path in asked)
    layers = [path for path in asked if "/blobs/" in path]
    assert len(layers) == len(set(layers)) > 1, "once for both servers"
    assert not any("xllamacpp" in path or "llama-cpp" in path for path in asked)


def test_the_console_tells_every_stage_that_a_machine_without_gpus_has(served: Deployment):
    done = [r["stage"] for r in served.machine.records() if r["state"] == "done"]
    assert set(done) == set(STAGES) - ONLY_WITH_GPUS
    assert done.index("ready") > max(done.index(stage) for stage in done if stage != "ready")


def test_who_has_no_key_or_a_wrong_one_is_refused(served: Deployment):
    assert served.ask(None) == 401
    assert served.ask(new_key()) == 401
    assert served.ask(served.keys["default"]) == 200


def test_no_unit_failed_and_what_was_generated_passes_its_own_tools_checks(
    served: Deployment, around: Surroundings
):
    machine = served.machine
    assert machine.run("systemctl", "--failed", "--plain", "--no-legend").output == ""
    result = json.loads(machine.good("cat", "/run/cloud-init/result.json"))
    assert result["v1"]["errors"] == []
    data = "/run/user-data.yaml"
    rendered = gpu_files(container_image=around.reference)["user-data.yaml"]
    Path(f"/proc/{machine.leader()}/root{data}").write_text(rendered)
    assert "Valid" in machine.good("cloud-init", "schema", "--config-file", data)
    listed = machine.good("find", "/etc/systemd/system", "-maxdepth", "1", "-type", "f")
    units = [place for place in listed.split() if Path(place).name.startswith("llm-endpoint")]
    assert {f"/etc/systemd/system/{name}.service" for name in SERVERS} <= set(units)
    # Of some faults it tells and exits with 0 all the same; other packages' units have some.
    told = machine.good("systemd-analyze", "verify", "--man=no", *units)
    assert [line for line in told.splitlines() if "llm-endpoint" in line] == []


def test_only_the_gateway_can_be_reached_from_outside(served: Deployment):
    listening = served.machine.good("ss", "--listening", "--tcp", "--numeric", "--no-header")
    places = [line.split()[3] for line in listening.splitlines()]
    assert {f"127.0.0.1:{port}" for port in SERVERS.values()} <= set(places)
    outside = {place.rpartition(":")[2] for place in places if not place.startswith("127.")}
    assert outside <= {"443", "22"}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_is_nobody_and_can_change_nothing_but_its_own_cache(served: Deployment, name: str):
    machine = served.machine
    status = Path(f"/proc/{engine_of(machine, name).pid}/status").read_text()
    held = dict(line.split(":", 1) for line in status.splitlines())
    assert set(held["Uid"].split()) == set(held["Gid"].split()) == {NOBODY}
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(held[kind], 16) == 0, kind
    assert held["NoNewPrivs"].strip() == "1"
    assert in_container(machine, name, ": >/x") != 0
    assert in_container(machine, name, ": >/app/x") != 0
    assert in_container(machine, name, ": >/var/lib/llm-endpoint/models/x") != 0
    assert in_container(machine, name, ": >/tmp/x && : >/cache/x") == 0
    assert inspected(machine, name)["HostConfig"]["ReadonlyRootfs"] is True


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_reaches_loopback_alone(served: Deployment, name: str):
    machine = served.machine
    pid = inspected(machine, name)["State"]["Pid"]
    group = machine.good("cat", f"/proc/{pid}/cgroup").strip().partition("::")[2]
    assert re.fullmatch(r"/.*/llm-endpoint-engines\.slice/docker-[0-9a-f]{64}\.scope", group)
    assert not group_can_reach(machine, group, METADATA)
    assert not group_can_reach(machine, group, INTERNET)
    assert group_can_reach(machine, "/system.slice/ssh.service", METADATA), "it is there"
    asked = "curl --silent --max-time 3 --output /dev/null http://"
    assert in_container(machine, name, f"{asked}127.0.0.1:{SERVERS[name]}/health") == 0
    assert in_container(machine, name, f"{asked}{METADATA}/") in (7, 28)


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_sees_the_models_and_nothing_else_of_the_machine(served: Deployment, name: str):
    machine = served.machine
    for place in (
        "/etc/llm-endpoint/machine.json",
        "/run/llm-endpoint/keys.json",
        "/run/llm-endpoint/ca/key.pem",
        "/run/docker.sock",
        "/var/lib/llm-endpoint/build",
    ):
        assert machine.run("test", "-e", place).status == 0, f"{place} is there"
        assert in_container(machine, name, f"[ -e {place} ]") != 0, place
    seen = Path(f"/proc/{engine_of(machine, name).pid}/root/var/lib/llm-endpoint")
    assert [path.name for path in seen.iterdir()] == ["models"]


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_is_found_healthy_by_its_own_port_and_its_log_is_bounded(
    served: Deployment, name: str
):
    machine = served.machine
    machine.wait_for(
        lambda: inspected(machine, name)["State"]["Health"]["Status"] == "healthy",
        HEALTH_SECONDS,
        "the container to be healthy",
    )
    found = inspected(machine, name)
    asks = " ".join(found["Config"]["Healthcheck"]["Test"])
    assert f"http://127.0.0.1:{SERVERS[name]}/health" in asks
    log = found["HostConfig"]["LogConfig"]
    assert log["Type"] == "local"
    assert {"max-size", "max-file"} <= set(log["Config"])


def test_no_secret_is_anywhere_but_where_it_is_needed(served: Deployment):
    assert_secrets_are_only_where_they_are_needed(served)
    for name in SERVERS:
        said = json.dumps(inspected(served.machine, name))
        assert not any(needle in said for needle in needles(served))


def test_a_container_that_is_killed_comes_back(served: Deployment):
    machine = served.machine
    before = inspected(machine, CHAT_SERVER)["Id"]
    machine.good("docker", "kill", CHAT_SERVER)
    verified(served)
    assert inspected(machine, CHAT_SERVER)["Id"] != before


def test_a_dockerd_that_is_killed_comes_back_with_its_servers(served: Deployment):
    machine = served.machine
    before = {name: inspected(machine, name)["Id"] for name in SERVERS}
    show = ("systemctl", "show", "--property=MainPID", "--value")
    machine.good("kill", "-KILL", machine.good(*show, "docker.service").strip())

    def back() -> bool:
        listed = machine.run("docker", "ps", "--no-trunc", "--format", "{{.ID}}").output.split()
        return len(listed) == len(SERVERS) and not set(listed) & set(before.values())

    machine.wait_for(back, WARM_BOOT_SECONDS, "the containers to be other ones")
    verified(served)


def test_a_reboot_downloads_nothing_and_serves_again(served: Deployment):
    machine, internet = served.machine, served.cloud.internet
    asked, shown = len(internet.downloads()), len(machine.text())
    machine.reboot()
    machine.wait_for_stage("ready", "done", WARM_BOOT_SECONDS, since=shown)
    verified(served)
    assert internet.downloads()[asked:] == []
    assert machine.run("systemctl", "--failed", "--plain", "--no-legend").output == ""
    assert "done" in machine.good("cloud-init", "status")
    machine.close()


def test_an_image_that_its_registry_has_not_ends_verification_with_the_next_step(
    around: Surroundings,
):
    wrong = f"{around.reference.partition('@')[0]}@{NO_SUCH_DIGEST}"
    failed = around.deploy(gpu_files(container_image=wrong))
    machine = failed.machine
    try:
        machine.start()
        done = failed.verify("--wait-seconds", "300", "--boot", f"file:{machine.console}")
        assert done.returncode == 3, f"{done.stdout}\n{done.stderr}\n{machine.tail()}"
        failures = [record for record in machine.records() if record["state"] == "failed"]
        assert {record["stage"] for record in failures} == {"engine"}, machine.tail()
        for said in (str(failures[0]["message"]), done.stderr):
            assert NO_SUCH_DIGEST in said
            assert "container_image" in said
    finally:
        machine.close()


def test_an_image_that_the_machine_builds_serves_as_well(around: Surroundings):
    plan = built_plan()
    made = around.deploy(built_files(plan, around.commit))
    machine, since = made.machine, len(around.cloud.internet.downloads())
    try:
        machine.start()
        machine.wait_for_stage("ready", "done", COLD_BOOT_SECONDS)
        verified(made)
        assert inspected(machine, CHAT_SERVER)["Config"]["Image"] == built_image(plan).name
        assert not any(GITHUB in path for path in downloaded(made, since))
    finally:
        machine.close()
