"""What of a `CpuVm` bills, and that all of it carries the stack's labels."""

import pytest
from cpu_vm_program import LABELS, deployed, in_a_group, of_type

from emulator.mocks.recording import Run

# What bills and can be labelled.
LABELLED = (
    "compute/instance",
    "compute/instanceTemplate",
    "compute/disk",
    "compute/address",
    "secretmanager/secret",
)


def bills(seen: Run) -> dict[str, tuple[bool, bool]]:
    """Whether each resource bills while running and while parked, by its first words."""
    return {
        entry["resource"]: (entry["running"], entry["parked"])
        for entry in seen.outputs["billing"].value
    }


def whether(seen: Run, words: str) -> tuple[bool, bool]:
    (found,) = [flags for resource, flags in bills(seen).items() if words in resource]
    return found


@pytest.mark.parametrize("deploy", [deployed, in_a_group], ids=["instance", "group"])
def test_everything_that_bills_carries_the_labels(deploy):
    seen = deploy()
    found = [entry for kind in LABELLED for entry in of_type(seen, kind)]
    assert len(found) >= 5
    for entry in found:
        assert entry.inputs["labels"] == LABELS, entry.name


def test_a_stopped_machine_bills_no_cores_and_still_its_disks_address_and_secrets():
    seen = deployed()
    assert whether(seen, "cores and memory of e2-standard-4") == (True, False)
    assert whether(seen, "boot disk, 20 GB pd-balanced (also while the machine is stopped)")
    assert whether(seen, "cache disk, 50 GB pd-ssd") == (True, True)
    assert whether(seen, "external IPv4 address") == (True, True)
    assert whether(seen, "llm-endpoint-cpu-vm-keys") == (True, True)
    assert whether(seen, "llm-endpoint-cpu-vm-ca") == (True, True)
    assert whether(seen, "traffic") == (True, False)


@pytest.mark.parametrize("deploy", [deployed, in_a_group], ids=["instance", "group"])
def test_a_parked_stack_has_no_boot_disk(deploy):
    seen = deploy()
    assert whether(seen, "boot disk") == (True, False)
    assert whether(seen, "cache disk") == (True, True)


def test_a_group_that_is_stopped_has_no_boot_disk():
    assert not any("while the machine is stopped" in resource for resource in bills(in_a_group()))


def test_parked_or_not_the_list_is_the_same():
    assert bills(deployed(parked=True)) == bills(deployed())


def test_the_price_that_applies_is_named():
    assert any("(Spot)" in resource for resource in bills(deployed(spot=True)))
    assert any("(standard)" in resource for resource in bills(deployed()))
