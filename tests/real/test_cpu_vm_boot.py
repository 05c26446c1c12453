"""The generated user-data of `cpu-vm` boots under the real cloud-init, serves, and is verified.

One machine lives through the tests of this file in their order; the last ones end it.
"""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from guest import rootfs
from guest.cloud import URL, Cloud
from guest.deployment import (
    REPOSITORY,
    Deployment,
    deploy,
    files,
    keep_build,
    made_cloud,
    new_key,
)
from guest.namespace import METADATA
from guest.processes import Slowed, can_reach, engine_of, long_running
from guest.secrecy import assert_secrets_are_only_where_they_are_needed

from machine.status import ONLY_WITH_GPUS, STAGES

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]

COLD_BOOT_SECONDS = 900
WARM_BOOT_SECONDS = 120


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    made = made_cloud(tmp_path_factory.mktemp("model"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def served(cloud: Cloud) -> Iterator[Deployment]:
    """The machine after its first boot, ready.

    Its first readings of the secrets were refused, and the next found no key: that stage failed,
    and was started again.
    """
    # What a machine built once lies on its disk when another one takes it over.
    built = rootfs.folder() / "built"
    made = deploy(cloud, built if built.exists() else None)
    cloud.google.refusals = 3
    try:
        made.store()
        made.machine.start()
        made.machine.wait_for_stage("keys", "retrying", COLD_BOOT_SECONDS)
        made.store(default=new_key())
        made.machine.wait_for_stage("ready", "done", COLD_BOOT_SECONDS)
        keep_build(made.machine, built)
        yield made
    finally:
        made.machine.close()


def test_the_machine_serves_and_every_check_passes_over_tls(served: Deployment):
    receipt = served.assert_verified()
    passed = {check["name"] for check in receipt["checks"] if check["status"] == "passed"}
    expected = {"ready", "refuses_without_key", "chat_stream", "embeddings", "concurrency"}
    assert expected <= passed
    assert served.cloud.google.readings > served.cloud.google.refusals


def test_the_console_tells_every_stage_and_the_whole_at_last(served: Deployment):
    done = [r["stage"] for r in served.machine.records() if r["state"] == "done"]
    assert set(done) == set(STAGES) - ONLY_WITH_GPUS
    assert done.index("ready") > max(done.index(stage) for stage in done if stage != "ready")


def test_who_has_no_key_or_a_wrong_one_is_refused(served: Deployment):
    assert served.ask(None) == 401
    assert served.ask(new_key()) == 401
    assert served.ask(served.keys["default"]) == 200


def test_the_endpoint_is_known_by_its_own_authority_alone(served: Deployment):
    with pytest.raises(requests.exceptions.SSLError):
        served.on_internet(lambda _: requests.get(f"{URL}/health", timeout=30))


def test_no_unit_failed_and_cloud_init_found_nothing_wrong(served: Deployment):
    assert served.machine.run("systemctl", "--failed", "--plain", "--no-legend").output == ""
    result = json.loads(served.machine.good("cat", "/run/cloud-init/result.json"))
    assert result["v1"]["errors"] == []


def test_what_was_generated_passes_its_own_tools_checks(served: Deployment):
    machine = served.machine
    data = "/run/user-data.yaml"
    Path(f"/proc/{machine.leader()}/root{data}").write_text(files()["user-data.yaml"])
    assert "Valid" in machine.good("cloud-init", "schema", "--config-file", data)
    listed = machine.good("find", "/etc/systemd/system", "-maxdepth", "1", "-type", "f")
    units = [place for place in listed.split() if Path(place).name.startswith("llm-endpoint")]
    assert len(units) > 10
    # Of some faults it tells and exits with 0 all the same; other packages' units have some.
    told = machine.good("systemd-analyze", "verify", "--man=no", *units)
    assert [line for line in told.splitlines() if "llm-endpoint" in line] == []
    script = served.cloud.folder / "startup-script.sh"
    script.write_text(files()["startup-script.sh"])
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_only_the_gateway_can_be_reached_from_outside(served: Deployment):
    listening = served.machine.good("ss", "--listening", "--tcp", "--numeric", "--no-header")
    places = [line.split()[3] for line in listening.splitlines()]
    outside = {place.rpartition(":")[2] for place in places if not place.startswith("127.")}
    # The image's own: SSH, which the cloud's firewall lets nobody but IAP reach.
    assert outside <= {"443", "22"}


def test_engine_and_gateway_cannot_become_the_machine(served: Deployment):
    """Nothing that reads what clients send reaches the metadata server, which hands out tokens."""
    services = long_running(served.machine)
    assert len(services) == 3
    assert [unit for unit in services if can_reach(served.machine, unit, METADATA)] == []
    assert can_reach(served.machine, "ssh.service", METADATA), "others can, so it is there"
    asked = ("setpriv", "--reuid=nobody", "--clear-groups", "curl", "--silent", "--max-time", "3")
    assert served.machine.run(*asked, f"http://{METADATA}/").status in (7, 28)


def test_no_secret_is_anywhere_but_where_it_is_needed(served: Deployment):
    assert_secrets_are_only_where_they_are_needed(served)


@dataclass
class Stream:
    """An answer that is read as it comes. `ended` is None until it has ended as it should."""

    chunks: int = 0
    ended: float | None = None
    error: Exception | None = None


def test_keys_come_and_go_without_cutting_a_stream(served: Deployment):
    added, stream = new_key(), Stream()

    def read(session: requests.Session) -> None:
        body = {
            "messages": [{"role": "user", "content": "Hello!"}],
            "stream": True,
            "max_tokens": 6000,
            "ignore_eos": True,
        }
        headers = {"Authorization": f"Bearer {served.keys['default']}"}
        try:
            with session.post(
                f"{URL}/v1/chat/completions", json=body, headers=headers, stream=True, timeout=60
            ) as answer:
                for line in answer.iter_lines():
                    stream.chunks += line.startswith(b"data: ")
                    if line == b"data: [DONE]":
                        stream.ended = time.monotonic()
        except Exception as error:
            stream.error = error

    reading = threading.Thread(target=served.on_internet, args=(read,))
    with Slowed(engine_of(served.machine)):
        reading.start()
        served.machine.wait_for(lambda: stream.chunks > 1, 60, "the stream to begin")
        served.store(**served.keys, alice=added)
        served.wait_for_status(added, 200)
        served.store(default=served.keys["default"])
        served.wait_for_status(added, 401)
        gone = time.monotonic()
        assert stream.ended is None, f"the stream was over too soon, after {stream.chunks} chunks"
    reading.join(300)
    assert stream.error is None
    assert stream.ended is not None
    assert stream.ended > gone
    assert served.ask(served.keys["default"]) == 200


def test_an_engine_that_is_killed_comes_back(served: Deployment):
    engine_of(served.machine).send_signal(signal.SIGKILL)
    served.machine.wait_for(lambda: served.ask(served.keys["default"]) != 200, 30, "it to be gone")
    served.assert_verified()


def test_a_reboot_downloads_nothing_and_serves_again(served: Deployment):
    machine, internet = served.machine, served.cloud.internet
    asked, shown = len(internet.downloads()), len(machine.text())
    machine.reboot()
    machine.wait_for_stage("ready", "done", WARM_BOOT_SECONDS, since=shown)
    served.assert_verified()
    assert internet.downloads()[asked:] == []
    assert machine.run("systemctl", "--failed", "--plain", "--no-legend").output == ""
    assert "done" in machine.good("cloud-init", "status")


def test_a_machine_that_nobody_uses_powers_itself_off(served: Deployment):
    machine = served.machine
    watched = Path(f"/proc/{machine.leader()}/root/run/llm-endpoint/watchdog.json")

    def idle() -> bool:
        return watched.exists() and json.loads(watched.read_text())["idle_since"] is not None

    machine.wait_for(idle, 150, "the watchdog to see that nobody asks")
    assert machine.is_on
    # As if it had seen so for the minutes that it waits.
    kept = json.loads(watched.read_text())
    idle_minutes = json.loads(machine.good("cat", "/etc/llm-endpoint/machine.json"))["watchdog"][
        "idle_minutes"
    ]
    kept["idle_since"] -= idle_minutes * 60
    watched.write_text(json.dumps(kept))
    assert machine.wait_for_end(150) == 0


def test_a_first_boot_that_is_cut_off_is_done_over_and_one_that_fails_ends_verification(
    cloud: Cloud,
):
    failed = deploy(cloud, None, model=f"{REPOSITORY}:is-not-there.gguf", embeddings_model=None)
    machine = failed.machine
    try:
        machine.start()
        machine.wait_for(lambda: "running cloud-init" in machine.text(), 300, "cloud-init to run")
        machine.cut_off()
        machine.start()
        done = failed.verify("--wait-seconds", "300", "--boot", f"file:{machine.console}")
        assert done.returncode == 3, f"{done.stdout}\n{done.stderr}\n{machine.tail()}"
        failures = [record for record in machine.records() if record["state"] == "failed"]
        assert {record["stage"] for record in failures} == {"model"}, machine.tail()
        assert "is-not-there.gguf" in str(failures[0]["message"])
        assert "is-not-there.gguf" in done.stderr
    finally:
        machine.close()
