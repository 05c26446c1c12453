"""Which zone a machine goes to next, and what keeps it where it is."""

import json

import pytest

from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.zones import (
    Configured,
    Standing,
    configured,
    nowhere,
    refuse_to_leave,
    standing,
)

HERE, NEXT, FAR = "europe-west4-a", "europe-west4-b", "europe-west1-b"
PREFIX = "urn:pulumi:gpu-vm::llm-endpoint::llm-endpoint:gcp:GpuVm$"


def config(**values: str):
    keys = {key.replace("__", ":") if "__" in key else f"llm-endpoint:{key}": key for key in values}
    return {full: {"value": values[key], "secret": False} for full, key in keys.items()}


@pytest.mark.parametrize("text", [f"{HERE} {FAR}", f"{HERE},{FAR}", json.dumps([HERE, FAR])])
def test_zones_are_read_in_every_form_that_the_program_takes(text: str):
    assert configured(config(gcp__zone=HERE, zones=text)) == Configured(HERE, (HERE, FAR))


def test_a_configuration_without_a_zone_names_the_key():
    with pytest.raises(BootstrapError, match="gcp:zone is not set"):
        configured({})


def test_the_machine_s_own_zone_comes_first_and_the_others_in_their_order():
    found = Configured(HERE, (NEXT, FAR))
    assert found.following([HERE]) == NEXT
    assert found.following([HERE, NEXT]) == FAR
    assert found.following([HERE, NEXT, FAR]) is None


def test_zones_before_its_own_are_tried_too():
    found = Configured(FAR, (HERE, NEXT, FAR))
    assert found.following([FAR]) == HERE
    assert found.moved(HERE) == {"gcp:zone": HERE}


def test_the_zone_that_a_machine_leaves_stays_one_to_come_back_to():
    moved = Configured(HERE, (NEXT,)).moved(NEXT)
    assert moved == {"gcp:zone": NEXT, "llm-endpoint:zones": f"{HERE} {NEXT}"}


def test_a_configured_region_follows_the_zone():
    found = Configured(HERE, (HERE, NEXT, FAR), "europe-west4")
    assert "gcp:region" not in found.moved(NEXT)
    assert found.moved(FAR)["gcp:region"] == "europe-west1"


def resource(kind: str, urn_name: str, protect: bool = False, **outputs: object):
    urn = f"{PREFIX}{kind}::{urn_name}"
    return {"urn": urn, "type": kind, "protect": protect, "outputs": outputs}


def disk(protect: bool = False, **outputs: object):
    return resource("gcp:compute/disk:Disk", "gpu-vm-cache", protect, name="cache", **outputs)


def instance(status: str):
    return resource("gcp:compute/instance:Instance", "gpu-vm-instance", currentStatus=status)


def group(size: int, *, stable: bool):
    kind = "gcp:compute/instanceGroupManager:InstanceGroupManager"
    return resource(kind, "gpu-vm-group", targetSize=size, statuses=[{"isStable": stable}])


def state(*resources) -> Standing:
    return standing({"deployment": {"resources": list(resources)}})


ATTACHED = "2026-11-21T10:00:00.000-08:00"


@pytest.mark.parametrize(
    "resources",
    [
        (),
        (disk(),),
        (disk(lastAttachTimestamp="", lastDetachTimestamp="", users=[]),),
        (disk(protect=True),),
        (disk(), instance("TERMINATED")),
        (disk(), group(1, stable=False)),
        (group(0, stable=True),),
    ],
)
def test_a_machine_whose_disk_nothing_was_written_to_may_go(resources):
    refuse_to_leave(state(*resources), HERE, "gpu-vm", give_up_cache=False)


@pytest.mark.parametrize(
    "outputs",
    [
        {"lastAttachTimestamp": ATTACHED},
        {"lastDetachTimestamp": ATTACHED},
        {"users": ["https://www.googleapis.com/…/instances/x"]},
    ],
)
def test_a_disk_that_a_machine_has_had_is_given_up_only_by_name(outputs):
    found = state(disk(**outputs))
    with pytest.raises(BootstrapError, match="cache may hold data") as refused:
        refuse_to_leave(found, HERE, "gpu-vm", give_up_cache=False)
    assert "scripts/up gpu-vm --move-cache" in refused.value.next_step
    refuse_to_leave(found, HERE, "gpu-vm", give_up_cache=True)


def test_a_protected_disk_with_data_is_not_given_up():
    found = state(disk(protect=True, lastAttachTimestamp=ATTACHED))
    with pytest.raises(BootstrapError, match="protected") as refused:
        refuse_to_leave(found, HERE, "gpu-vm", give_up_cache=True)
    assert "config set keep_data false --stack gpu-vm" in refused.value.next_step


@pytest.mark.parametrize("running", [instance("RUNNING"), group(1, stable=True)])
@pytest.mark.parametrize("give_up_cache", [False, True])
def test_a_machine_that_runs_is_never_moved(running, give_up_cache: bool):
    with pytest.raises(BootstrapError, match="a machine that runs is not moved"):
        refuse_to_leave(state(disk(), running), HERE, "gpu-vm", give_up_cache=give_up_cache)


def test_a_machine_that_was_deleted_to_be_made_anew_does_not_run():
    gone = {**instance("RUNNING"), "pendingReplacement": True}
    refuse_to_leave(state(disk(), gone), HERE, "gpu-vm", give_up_cache=False)


def test_what_a_machine_leaves_with_its_zone_is_told_from_what_it_leaves_with_its_region():
    address = resource("gcp:compute/address:Address", "gpu-vm-address")
    secret = resource("gcp:secretmanager/secret:Secret", "gpu-vm-keys")
    found = state(disk(), secret, address, instance("TERMINATED"))
    assert [urn.rsplit("::", 1)[-1] for urn in found.zonal] == ["gpu-vm-cache", "gpu-vm-instance"]
    assert [urn.rsplit("::", 1)[-1] for urn in found.regional] == ["gpu-vm-address"]


def test_where_no_zone_has_room_all_that_were_tried_are_named_and_what_may_help():
    error = nowhere(Configured(HERE, (NEXT, FAR)), [HERE, NEXT, FAR], "gpu-vm")
    assert f"none of {HERE}, {NEXT}, {FAR} has room" in error.problem
    for step in ("again later", "config set zones", "config set machine_type"):
        assert step in error.next_step


def test_without_zones_the_next_step_is_to_name_some():
    error = nowhere(Configured(HERE, ()), [HERE], "cpu-vm")
    assert "names no others" in error.problem
    assert 'config set zones "' in error.next_step
