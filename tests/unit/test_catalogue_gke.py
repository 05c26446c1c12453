"""What a node of GKE has for pods, and the disks that its machine takes."""

import pytest

from components.catalogue.gcp import MachineType, catalogue, find_machine_type
from components.catalogue.gke import (
    DISK_TYPES,
    HYPERDISK_CLASS,
    NodeRoom,
    allocatable,
    boot_disk_types,
    default_storage_class,
    for_pods,
    room_in_words,
    wrong_boot_disk,
    wrong_storage_class,
)


def machine(name: str) -> MachineType:
    found = find_machine_type(name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "milli_cpus", "memory_gib"),
    [
        ("e2-medium", 940, 2.77),
        ("e2-standard-2", 1930, 5.92),
        ("e2-standard-4", 3920, 13.01),
        ("c3-standard-8", 7910, 27.80),
        ("c3-standard-22", 21875, 79.57),
        ("c3-highcpu-22", 21875, 38.90),
        ("c3-highmem-22", 21875, 162.95),
        ("c3-standard-44", 43820, 162.95),
    ],
)
def test_gke_s_reserve_is_taken_off_a_machine(name: str, milli_cpus: int, memory_gib: float):
    found = allocatable(machine(name))
    assert found.milli_cpus == milli_cpus
    assert found.memory_bytes / 2**30 == pytest.approx(memory_gib, abs=0.01)


def test_what_gke_s_own_pods_take_is_taken_off_too():
    assert for_pods(machine("c3-standard-22")) == NodeRoom(cpus=21, memory_gb=77)
    assert for_pods(machine("e2-standard-2")) == NodeRoom(cpus=1, memory_gb=3)
    assert NodeRoom(1, 3).memory_bytes == 3 * 2**30


def test_every_machine_type_leaves_less_than_it_has_and_never_less_than_nothing():
    for series in catalogue().series.values():
        for name, (vcpus, memory) in series.types.items():
            one = MachineType(name, series, vcpus, int(memory * 2**30))
            all_pods, room = allocatable(one), for_pods(one)
            assert 0 <= all_pods.milli_cpus < vcpus * 1000
            assert 0 <= all_pods.memory_bytes < one.memory_bytes
            assert room.cpus * 1000 <= all_pods.milli_cpus
            assert room.memory_bytes <= all_pods.memory_bytes


def test_the_numbers_are_told_in_words():
    said = room_in_words(machine("c3-standard-22"))
    assert "22 processors, 88 GB" in said
    assert "21 processors and 77 GB left" in said
    assert "21.88 and 79.6 GB" in said


def test_the_series_own_disk_is_the_first_choice_of_all():
    for series in catalogue().series.values():
        name, (vcpus, memory) = next(iter(series.types.items()))
        types = boot_disk_types(MachineType(name, series, vcpus, int(memory * 2**30)))
        assert types[0] == series.disk
        assert len(set(types)) == len(types)
        assert series.disk in DISK_TYPES.get(series.name, (series.disk,))


def test_a_c3_boots_from_no_standard_disk():
    assert boot_disk_types(machine("c3-standard-22"))[0] == "pd-balanced"
    assert wrong_boot_disk(machine("c3-standard-22"), "pd-ssd") is None
    said = wrong_boot_disk(machine("c3-standard-22"), "pd-standard")
    assert said == (
        "c3-standard-22 can't attach pd-standard; it boots from pd-balanced, hyperdisk-balanced or "
        "pd-ssd"
    )


def test_a_machine_that_takes_hyperdisks_alone_boots_from_one():
    assert boot_disk_types(machine("n4-standard-8")) == ("hyperdisk-balanced",)
    assert "hyperdisk-balanced" in (wrong_boot_disk(machine("n4-standard-8"), "pd-balanced") or "")


def test_what_nothing_boots_from_is_refused_for_any_series():
    for name in ("c3-standard-22", "m3-ultramem-32"):
        assert "does not boot from hyperdisk-throughput" in str(
            wrong_boot_disk(machine(name), "hyperdisk-throughput")
        )


def test_a_series_whose_disks_are_not_all_known_is_not_judged():
    assert "m3" not in DISK_TYPES
    assert wrong_boot_disk(machine("m3-ultramem-32"), "pd-ssd") is None
    assert wrong_storage_class(machine("m3-ultramem-32"), "premium-rwo") is None


def test_volumes_are_of_a_class_that_the_machine_takes():
    assert default_storage_class(machine("c3-standard-22")) == "standard-rwo"
    assert default_storage_class(machine("n4-standard-8")) == HYPERDISK_CLASS
    assert default_storage_class(None) == "standard-rwo"
    assert wrong_storage_class(machine("c3-standard-22"), "premium-rwo") is None
    said = wrong_storage_class(machine("c3-standard-22"), "standard")
    assert said is not None
    assert said.endswith("it takes standard-rwo or premium-rwo")


def test_a_class_that_a_machine_does_not_take_is_told_what_it_would():
    said = wrong_storage_class(machine("n4-standard-8"), "standard-rwo")
    assert said is not None
    assert "pd-balanced, which n4-standard-8 can't attach" in said
    assert "a class whose volumes are hyperdisk-balanced" in said
    assert wrong_storage_class(machine("n4-standard-8"), "my-own") is None
