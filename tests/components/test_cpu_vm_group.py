"""A `CpuVm` in a managed instance group of one, which heals by itself."""

from dataclasses import replace

import pytest
from cpu_vm_program import (
    GROUP_PLAN,
    LABELS,
    NAME,
    PLAN,
    command,
    deployed,
    in_a_group,
    of_type,
    only,
    program,
    rendered,
)

from components.rendering.machine.plan import ResizeGroup
from components.schedule import Schedule
from emulator.mocks.recording import Run, run


def group(seen: Run):
    return only(seen, "compute/instanceGroupManager")


def machine(seen: Run):
    return only(seen, "compute/perInstanceConfig")


def test_a_group_has_one_machine_by_the_same_name_and_no_plain_instance_beside_it():
    seen = in_a_group()
    assert not of_type(seen, "compute/instance")
    assert machine(seen).inputs["name"] == group(seen).inputs["name"] == NAME
    # The machine's configuration makes it; a size of ours would undo the watchdog's.
    assert "targetSize" not in group(seen).inputs


def test_the_machine_of_a_group_keeps_its_address_and_its_cache_disk():
    state = machine(in_a_group()).inputs["preservedState"]
    (disk,) = state["disks"]
    assert disk["deviceName"] == GROUP_PLAN.cache_disk
    assert disk["source"] == "vm-cache-id"
    assert (disk["mode"], disk["deleteRule"]) == ("READ_WRITE", "NEVER")
    (address,) = state["externalIps"]
    assert address["autoDelete"] == "NEVER"
    assert address["ipAddress"]["address"].endswith("/vm-address")


def test_the_template_says_the_same_as_a_plain_instance_would():
    template = only(in_a_group(), "compute/instanceTemplate").inputs
    instance = only(
        deployed(plan=GROUP_PLAN, spot=True, spot_recovery="mig", parked=True),
        "compute/instanceTemplate",
    ).inputs
    assert template == instance
    plain = only(deployed(spot=True), "compute/instance").inputs
    for key in ("machineType", "labels", "scheduling", "serviceAccount", "shieldedInstanceConfig"):
        assert template[key] == plain[key]
    assert template["metadata"]["user-data"] == rendered(GROUP_PLAN).user_data
    (disk,) = template["disks"]
    assert disk == {
        "boot": True,
        "autoDelete": True,
        "sourceImage": "projects/debian-cloud/global/images/family/debian-12",
        "diskSizeGb": 20,
        "diskType": "pd-balanced",
        "labels": LABELS,
    }


def test_a_new_template_stands_beside_the_old_one_until_the_group_has_moved():
    template = only(in_a_group(), "compute/instanceTemplate")
    assert not template.delete_before_replace
    assert template.inputs["namePrefix"] == f"{NAME}-"
    assert "name" not in template.inputs


def test_a_changed_machine_goes_before_the_new_one_comes_and_is_waited_for():
    inputs = group(in_a_group()).inputs
    policy = inputs["updatePolicy"]
    assert (policy["type"], policy["replacementMethod"]) == ("PROACTIVE", "RECREATE")
    assert (policy["maxSurgeFixed"], policy["maxUnavailableFixed"]) == (0, 1)
    assert inputs["waitForInstances"] is True
    assert inputs["waitForInstancesStatus"] == "UPDATED"


def test_health_is_asked_of_the_gateway_and_not_before_the_machine_may_have_booted():
    seen = in_a_group()
    health = only(seen, "compute/healthCheck").inputs
    assert health["httpsHealthCheck"] == {
        "port": 443,
        "requestPath": "/health",
        "host": "198.51.100.7",
    }
    healing = group(seen).inputs["autoHealingPolicies"]
    assert healing == {"healthCheck": "vm-health-id", "initialDelaySec": 1500}
    late = group(in_a_group(ready_seconds=9000)).inputs["autoHealingPolicies"]
    assert late["initialDelaySec"] == 3600


def test_the_machine_may_set_the_size_of_its_own_group_and_nothing_else():
    seen = in_a_group()
    role = only(seen, "projects/iAMCustomRole").inputs
    assert role["permissions"] == [
        "compute.instanceGroupManagers.get",
        "compute.instanceGroupManagers.update",
    ]
    grant = only(seen, "projects/iAMMember").inputs
    assert grant["member"] == f"serviceAccount:{NAME}@p.iam.gserviceaccount.com"
    assert grant["role"].endswith("/llm_endpoint_cpu_vm_group")
    assert grant["condition"]["expression"] == (
        "resource.matchTagId('vm-tag-key-id', 'vm-tag-value-id')"
    )
    assert group(seen).inputs["params"] == {
        "resourceManagerTags": {"vm-tag-key-id": "vm-tag-value-id"}
    }


def test_a_machine_that_never_stops_for_idleness_may_set_no_size():
    seen = in_a_group(plan=replace(GROUP_PLAN, idle_minutes=None))
    assert not of_type(seen, "projects/iAMMember")
    assert not of_type(seen, "projects/iAMCustomRole")


def test_a_parked_group_has_no_machine_and_keeps_its_disk_and_address():
    seen = in_a_group(parked=True)
    assert not of_type(seen, "compute/perInstanceConfig")
    assert only(seen, "compute/disk")
    assert only(seen, "compute/address")
    assert seen.outputs["state"].value == "parked"


def test_removing_the_machine_from_the_group_removes_it_from_the_cloud():
    assert machine(in_a_group()).inputs["removeInstanceOnDestroy"] is True


def test_another_template_and_a_healed_machine_are_verified_anew():
    def triggers(seen: Run) -> list[object]:
        return command(seen, "verification").inputs["triggers"]

    first = triggers(in_a_group())
    assert first != triggers(in_a_group(stopped="2026-11-21T03:00:00Z"))
    assert first != triggers(in_a_group(plan=replace(GROUP_PLAN, idle_minutes=60)))
    assert "https://cloud.test/InstanceTemplate/vm-template?uniqueId=1" in first
    assert "vm-instance" in command(in_a_group(), "verification").dependencies


def test_a_new_key_does_not_touch_the_template():
    template = only(in_a_group(), "compute/instanceTemplate")
    assert template.depends_on() == {"vm-keys-version", "vm-ca-version"}


@pytest.mark.parametrize(
    "changed",
    [{"schedule": Schedule(None, "0 20 * * *", "UTC")}, {"max_run_seconds": 3600}],
    ids=["schedule", "run limit"],
)
def test_what_the_group_would_fight_is_refused(changed):
    (key,) = changed
    with pytest.raises(ValueError, match=f"{key} is set, and the group"):
        in_a_group(**changed)


@pytest.mark.parametrize("plan", [PLAN, replace(PLAN, stop=ResizeGroup("another"))])
def test_a_machine_that_stops_itself_otherwise_than_by_its_own_group_is_refused(plan):
    with pytest.raises(ValueError, match="only the size of the group"):
        in_a_group(plan=plan)


def test_the_outputs_are_those_of_a_plain_instance():
    plain, grouped = deployed().outputs, in_a_group().outputs
    assert plain.keys() == grouped.keys()
    for name in plain.keys() - {"billing"}:
        assert plain[name] == grouped[name]


def test_a_first_preview_of_a_group_knows_no_output():
    seen = run(
        program(plan=GROUP_PLAN, spot=True, spot_recovery="mig"),
        lambda name, inputs: None,
        "cpu-vm",
        preview=True,
    )
    assert {name for name, output in seen.outputs.items() if output.known} == set()
