"""A `GpuVm`: how its machine differs from one without GPUs, and from one of processes."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from cpu_vm_program import GROUP_PLAN, PLAN, command, deployed, only, program

from components.compose import UnsupportedCombinationError
from components.launch import Form
from components.rendering.machine.plan import Container, MachineGpus, MachinePlan, PulledImage
from components.targets.gcp.args import Gpus
from components.targets.gcp.gpu_vm import GpuVm
from emulator.mocks.recording import Run, run

IMAGE = f"ghcr.io/owner/server:cuda@sha256:{'0' * 64}"
L4 = Gpus("nvidia-l4", 1, attached=False)
T4S = Gpus("nvidia-tesla-t4", 2, attached=True)


def in_containers(plan: MachinePlan) -> MachinePlan:
    container = Container("llama-cpp", PulledImage(IMAGE), ("/app/llama-server",), cuda="12.8")
    return replace(
        plan, servers=tuple(replace(each, installation=container) for each in plan.servers)
    )


def with_gpus(plan: MachinePlan, gpus: Gpus) -> MachinePlan:
    return replace(in_containers(plan), gpus=MachineGpus(gpus.accelerator, gpus.count, "8.9"))


def gpu_vm(gpus: Gpus = L4, **changed: object) -> Run:
    changed = {"machine_type": "g2-standard-8", "plan": with_gpus(PLAN, gpus), **changed}
    return deployed(GpuVm, gpus=gpus, **changed)


def in_a_group(gpus: Gpus) -> Run:
    return gpu_vm(gpus, plan=with_gpus(GROUP_PLAN, gpus), spot=True, spot_recovery="mig")


def instance(seen: Run) -> Mapping[str, object]:
    return only(seen, "compute/instance").inputs


def template(seen: Run) -> Mapping[str, object]:
    return only(seen, "compute/instanceTemplate").inputs


def test_a_machine_with_gpus_is_ended_for_maintenance_and_started_again():
    limits = instance(gpu_vm())["scheduling"]
    assert limits["onHostMaintenance"] == "TERMINATE"
    assert limits["automaticRestart"] is True
    assert limits["provisioningModel"] == "STANDARD"


def test_user_data_that_google_would_not_take_is_refused_at_preview():
    chat, *others = PLAN.servers
    long = replace(chat.launch, arguments=(*chat.launch.arguments, "--chat-template", "x" * 10**5))
    plan = replace(PLAN, servers=(replace(chat, launch=long), *others))
    with pytest.raises(ValueError, match="Google takes 262144"):
        deployed(GpuVm, plan=in_containers(plan))


def test_a_machine_without_gpus_moves_on_maintenance():
    seen = deployed(GpuVm, plan=in_containers(PLAN))
    assert instance(seen)["scheduling"]["onHostMaintenance"] == "MIGRATE"
    assert "guestAccelerators" not in instance(seen)


def test_a_spot_machine_with_a_run_limit_is_stopped_and_kept():
    limits = instance(gpu_vm(spot=True, max_run_seconds=7200))["scheduling"]
    assert limits["provisioningModel"] == "SPOT"
    assert limits["instanceTerminationAction"] == "STOP"
    assert limits["maxRunDuration"] == {"seconds": 7200}
    assert limits["automaticRestart"] is False


def test_gpus_that_the_machine_type_has_are_not_asked_for_beside_it():
    assert "guestAccelerators" not in instance(gpu_vm())


@pytest.mark.parametrize("place", ["instance", "group"])
def test_gpus_of_an_n1_are_attached(place: str):
    made = (
        instance(gpu_vm(T4S, machine_type="n1-standard-8"))
        if place == "instance"
        else template(in_a_group(T4S))
    )
    assert made["guestAccelerators"] == [{"type": "nvidia-tesla-t4", "count": 2}]
    assert made["scheduling"]["onHostMaintenance"] == "TERMINATE"


def test_what_bills_names_the_gpus():
    billed = [entry["resource"] for entry in gpu_vm(spot=True).outputs["billing"].value]
    assert "cores and memory of g2-standard-8, 1 x nvidia-l4 (Spot)" in billed


def test_its_type_is_its_own_and_it_is_verified_as_every_machine():
    seen = gpu_vm()
    tokens = [entry.token for entry in seen.registrations.values()]
    assert tokens.count("llm-endpoint:gcp:GpuVm") == 1
    assert "llm-endpoint:gcp:CpuVm" not in tokens
    assert command(seen, "verification").inputs["triggers"]
    assert seen.outputs["state"].value == "serving"


def test_an_engine_that_is_a_process_is_refused_by_both_names():
    launch = replace(PLAN.servers[0].launch, engine="localllm", forms=frozenset({Form.PROCESS}))
    plan = replace(PLAN, servers=(replace(PLAN.servers[0], launch=launch),))
    with pytest.raises(UnsupportedCombinationError, match=r"'localllm'.*'gpu-vm' takes container"):
        run(program(GpuVm, plan=plan), lambda name, inputs: "", "cpu-vm")


@pytest.mark.parametrize("gpus", [None, T4S])
def test_a_plan_for_other_gpus_than_the_machine_has_is_refused(gpus: Gpus | None):
    with pytest.raises(ValueError, match="the plan is for 1 GPUs, and the machine has"):
        run(program(GpuVm, plan=with_gpus(PLAN, L4), gpus=gpus), lambda name, inputs: "", "cpu-vm")


def test_a_group_gives_a_server_the_time_to_load_its_model_again():
    health = only(in_a_group(T4S), "compute/healthCheck").inputs
    assert health["checkIntervalSec"] * health["unhealthyThreshold"] == 300
