"""The generated user-data of `cpu-vm` boots under the real cloud-init, serves, and is verified.

One machine lives through the tests of this file in their order; the last ones end it.
"""

import json
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import requests
from guest import rootfs
from guest.cloud import URL, Cloud
from guest.machine import Machine
from guest.namespace import EXTERNAL

from components.rendering.machine.plan import CACHE_DISK
from scripts.bootstrap.places import this_checkout
from scripts.models.stand_in import write_stand_in
from stacks import PROGRAMS, cpu_vm

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]

ROOT = this_checkout().root
STACK = "boot-test"
REPOSITORY, FILE = "example-org/stand-in-GGUF", "stand-in.gguf"
COLD_BOOT_SECONDS = 900
WARM_BOOT_SECONDS = 120
KEYS_SECONDS = 75
"""Keys are read each minute."""
LOCKS = ("machine", "llama-wheel", "go")
GO_MODULE = ROOT / "components/rendering/files/caddy-build"


def files(**changed: str):
    settings = PROGRAMS["cpu-vm"].settings(
        {
            "gcp:project": "example-project",
            "gcp:zone": "europe-west4-a",
            "allowed_cidrs": "203.0.113.0/24",
            "machine_type": "e2-standard-4",
            "model": f"{REPOSITORY}:{FILE}",
            "embeddings_model": f"{REPOSITORY}:{FILE}",
            "context_tokens": "16384",
            "slots": "2",
            **changed,
        }
    )
    return cpu_vm.files(settings, STACK)


@dataclass
class Deployment:
    """A cloud, the machine in it, and the secrets that `up` would have made."""

    cloud: Cloud
    machine: Machine
    certificate: str
    authority_key: str
    keys: dict[str, str]
    every_key: set[str] = field(default_factory=set)

    def store(self, **keys: str) -> None:
        """Let these be the endpoint's keys, as a next version of the secret."""
        self.keys = keys
        self.every_key.update(keys.values())
        name = f"{cpu_vm.base_name(STACK)}-keys"
        self.cloud.google.stored[name] = json.dumps(keys).encode()

    def verify(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self.cloud.deployer(
            *("scripts.verify", URL, "--key-env", "KEY", "--ca-env", "CA", "--stand-in"),
            *("--claims", "embeddings,tool_calls,json_schema", *options),
            environment={"KEY": self.keys["default"], "CA": self.certificate},
        )

    def assert_verified(self) -> dict:
        done = self.verify("--wait-seconds", "60")
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.machine.tail()}"
        receipt = json.loads(done.stdout)
        assert receipt["status"] == "passed"
        return receipt

    def ask(self, key: str | None) -> int:
        """Return the status that a request with `key` gets."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return self.on_internet(
            lambda session: session.get(f"{URL}/v1/models", headers=headers, timeout=30).status_code
        )

    def on_internet(self, function: Callable[[requests.Session], object]):
        bundle = self.cloud.folder / "endpoint.pem"
        bundle.write_text(self.certificate)

        def asked():
            with requests.Session() as session:
                session.verify, session.trust_env = str(bundle), False
                return function(session)

        return self.cloud.network.on_internet(asked)

    def wait_for_status(self, key: str, status: int) -> None:
        """Wait until a request with `key` gets `status`, as long as keys may take."""
        self.machine.wait_for(
            lambda: self.ask(key) == status, KEYS_SECONDS, f"the key to get {status}"
        )


def own_authority() -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.own_ca"],
        cwd=ROOT,
        env={"LLM_ENDPOINT_ADDRESS": EXTERNAL},
        capture_output=True,
        text=True,
        check=True,
    )
    made = json.loads(done.stdout)
    return made["certificate"], made["key"]


def new_key() -> str:
    return f"sk-{secrets.token_urlsafe(32)}"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory) -> Iterator[Cloud]:
    made = Cloud([ROOT / "requirements" / f"{name}.txt" for name in LOCKS], GO_MODULE)
    try:
        model = tmp_path_factory.mktemp("model") / FILE
        write_stand_in(model)
        made.hub.put(REPOSITORY, {FILE: model.read_bytes()})
        yield made
    finally:
        made.close()


def deploy(cloud: Cloud, disk_content: Path | None, **changed: str) -> Deployment:
    rendered = files(**changed)
    certificate, key = own_authority()
    machine = cloud.machine(
        rendered["user-data.yaml"], rendered["startup-script.sh"], CACHE_DISK, disk_content
    )
    made = Deployment(cloud, machine, certificate, key, {})
    made.store(default=new_key())
    name = f"{cpu_vm.base_name(STACK)}-ca"
    cloud.google.stored[name] = json.dumps({"certificate": certificate, "key": key}).encode()
    return made


@pytest.fixture(scope="module")
def served(cloud: Cloud) -> Iterator[Deployment]:
    """The machine after its first boot, ready. The first readings of its secrets were refused."""
    # What a machine built once lies on its disk when another one takes it over.
    built = rootfs.folder() / "built"
    made = deploy(cloud, built if built.exists() else None)
    cloud.google.refusals = 3
    try:
        made.machine.start()
        made.machine.wait_for_stage("ready", "done", COLD_BOOT_SECONDS)
        keep_build(made.machine, built)
        yield made
    finally:
        made.machine.close()


def keep_build(machine: Machine, place: Path) -> None:
    """Keep what the machine built for its successors: the folder `build` of its disk."""
    fresh = place.with_name(f"{place.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    found = Path(f"/proc/{machine.leader()}/root/var/lib/llm-endpoint/build")
    shutil.copytree(found, fresh / "build")
    shutil.rmtree(place, ignore_errors=True)
    fresh.rename(place)


def test_the_machine_serves_and_every_check_passes_over_tls(served: Deployment):
    receipt = served.assert_verified()
    passed = {check["name"] for check in receipt["checks"] if check["status"] == "passed"}
    assert {"refuses_without_key", "streamed_chat", "embeddings"} <= passed
    assert served.cloud.google.readings > served.cloud.google.refusals


def test_who_has_no_key_or_a_wrong_one_is_refused(served: Deployment):
    assert served.ask(None) == 401
    assert served.ask(new_key()) == 401
    assert served.ask(served.keys["default"]) == 200


def test_the_endpoint_is_known_by_its_own_authority_alone(served: Deployment):
    with pytest.raises(requests.exceptions.SSLError):
        served.on_internet(lambda _: requests.get(f"{URL}/health", timeout=30))


def test_no_unit_failed_and_cloud_init_found_nothing_wrong(served: Deployment):
    assert served.machine.run("systemctl", "--failed", "--plain", "--no-legend").output == ""
    status = json.loads(served.machine.good("cloud-init", "status", "--format=json"))
    assert (status["status"], status["errors"]) == ("done", [])


def test_what_was_generated_passes_its_own_tools_checks(served: Deployment):
    machine = served.machine
    data = "/run/user-data.yaml"
    Path(f"/proc/{machine.leader()}/root{data}").write_text(files()["user-data.yaml"])
    assert "Valid" in machine.good("cloud-init", "schema", "--config-file", data)
    units = machine.good("sh", "-c", "ls /etc/systemd/system/llm-endpoint*").split()
    assert len(units) > 10
    # What it has to say it says on its output, and exits with 0 for some of it.
    assert machine.good("systemd-analyze", "verify", "--man=no", *units) == ""
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
    machine = served.machine
    shown = machine.good("systemctl", "show", "--property=IPAddressDeny", *long_running(machine))
    denied = [line.partition("=")[2] for line in shown.splitlines() if line]
    assert len(denied) >= 3
    assert all("169.254.169.254" in each or "0.0.0.0/0" in each for each in denied)


def long_running(machine: Machine) -> list[str]:
    """Return the services of ours that keep running, but for what they report by."""
    command = ("systemctl", "list-units", "--type=service", "--state=running", "--plain")
    listed = machine.good(*command, "--no-legend", "llm-endpoint-*").splitlines()
    return [line.split()[0] for line in listed]


def test_no_secret_is_anywhere_but_where_it_is_needed(served: Deployment):
    machine, leader = served.machine, served.machine.leader()
    needles = [*served.every_key, served.cloud.google.token]
    # Of a key in PEM, every line by itself.
    needles += [line for line in served.authority_key.splitlines() if not line.startswith("---")]
    patterns = served.cloud.folder / "needles"
    patterns.write_text("\n".join(needles))

    def holds(text: str) -> bool:
        return any(needle in text for needle in needles)

    skipped = [f"--exclude-dir={name}" for name in ("proc", "sys", "dev")]
    done = subprocess.run(
        ["grep", "-rlaF", "-D", "skip", "-f", patterns, *skipped, f"/proc/{leader}/root/"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = {line.removeprefix(f"/proc/{leader}/root/") for line in done.stdout.splitlines()}
    # The first is root's; the second is what systemd hands of it to Caddy, and to nobody else.
    handed = re.compile(r"run/credentials/llm-endpoint-caddy-run\.service/key\.pem")
    assert "run/llm-endpoint/ca/key.pem" in found, "the search finds what is there"
    assert {name for name in found if not handed.fullmatch(name)} == {"run/llm-endpoint/ca/key.pem"}
    assert machine.good("stat", "--format=%U %a", "/run/llm-endpoint/ca").split() == ["root", "700"]

    assert not holds(machine.text())
    assert not holds(machine.good("journalctl", "--output=export", "--all", seconds=120))
    assert not any(holds(text) for text in served.cloud.google.attributes.values())
    processes = [psutil.Process(leader), *psutil.Process(leader).children(recursive=True)]
    for process in processes:
        for name in ("cmdline", "environ"):
            try:
                seen = Path(f"/proc/{process.pid}/{name}").read_text(errors="replace")
            except OSError:
                continue
            assert not holds(seen), f"{name} of {process}"


def engine_of(machine: Machine) -> psutil.Process:
    """Return the process that serves the model."""
    unit = "llm-endpoint-server-chat.service"
    pid = machine.good("systemctl", "show", "--property=MainPID", "--value", unit).strip()
    for process in psutil.Process(machine.leader()).children(recursive=True):
        status = Path(f"/proc/{process.pid}/status").read_text()
        if re.search(rf"^NSpid:.*\s{pid}$", status, re.MULTILINE):
            return process
    raise AssertionError(f"no process of the guest is {unit}'s main process {pid}")


class Slowed:
    """Lets a process run for 2 % of the time, as a far larger model would answer."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._slow, daemon=True)

    def _slow(self) -> None:
        while not self._ends.is_set():
            self._process.suspend()
            self._ends.wait(0.49)
            self._process.resume()
            self._ends.wait(0.01)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        self._process.resume()


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


def test_a_boot_that_fails_is_told_by_its_stage_and_ends_verification(cloud: Cloud):
    failed = deploy(cloud, None, model=f"{REPOSITORY}:is-not-there.gguf", embeddings_model="")
    try:
        failed.machine.start()
        done = failed.verify(
            *("--wait-seconds", "600", "--boot", f"file:{failed.machine.console}"),
        )
        assert done.returncode == 3, f"{done.stdout}\n{done.stderr}\n{failed.machine.tail()}"
        records = [record for record in failed.machine.records() if record["state"] == "failed"]
        assert [record["stage"] for record in records] == ["model"]
        assert "is-not-there.gguf" in records[0]["message"]
        assert "model" in done.stderr
        assert "is-not-there.gguf" in done.stderr
    finally:
        failed.machine.close()
