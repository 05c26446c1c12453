"""What the catalogue of Google Cloud knows, and how it tells a slip from something new."""

import datetime
import re

import pytest

from components.catalogue.gcp import (
    CatalogueError,
    catalogue,
    check_zone,
    find_machine_type,
    not_offered,
)


def machine(name: str):
    found = find_machine_type(name)
    assert found is not None
    return found


def test_the_catalogue_says_how_old_it_is():
    assert datetime.date.fromisoformat(catalogue().as_of).year >= 2026


def test_every_series_is_whole():
    for name, series in catalogue().series.items():
        assert series.types, name
        assert series.regions <= catalogue().zones.keys(), name
        assert series.threads_per_core in {1, 2}
        assert series.disk in {"pd-balanced", "hyperdisk-balanced"}
        for kind, (vcpus, memory) in series.types.items():
            assert kind.startswith(f"{name}-")
            assert vcpus >= 1
            assert memory >= 0.5


def test_the_vcpus_of_a_type_are_those_in_its_name():
    for series in catalogue().series.values():
        for kind, (vcpus, _) in series.types.items():
            number = re.search(r"-([0-9]+)(?:-lssd)?$", kind)
            assert number is None or int(number[1]) == vcpus, kind


@pytest.mark.parametrize(
    ("name", "vcpus", "gib", "cores"),
    [
        ("e2-standard-16", 16, 64, 8),
        ("t2d-standard-16", 16, 64, 16),
        ("c3-standard-22", 22, 88, 11),
        ("n1-standard-1", 1, 3.75, 1),
        ("n2-custom-8-65536", 8, 64, 4),
        ("custom-4-15360", 4, 15, 2),
        ("n2-custom-2-65536-ext", 2, 64, 1),
    ],
)
def test_a_machine_type_has_its_cores_and_its_memory(name, vcpus, gib, cores):
    found = machine(name)
    assert (found.vcpus, found.memory_bytes / 2**30, found.cores) == (vcpus, gib, cores)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("n2-standrd-16", "did you mean n2-standard-16"),
        ("e2-standard-17", "did you mean e2-standard-16"),
        ("n3-standard-16", "Google has no machine type of that name; did you mean"),
        ("nn2-standard-16", "Google has no machine type of that name"),
        ("16", "Google has no machine type of that name"),
        ("g2-standard-4", "with GPUs"),
        ("a3-highgpu-8g", "with GPUs"),
        ("ct5lp-hightpu-4t", "with TPUs"),
        ("c4a-standard-16", "an Arm machine"),
        ("t2a-standard-16", "take t2d-standard-16"),
        ("f1-micro", "less than one core"),
        ("c3-standard-192-metal", "bare metal is not served on"),
        ("c3-custom-8-16384", "c3 has no custom machine types"),
        ("n2-custom-3-8192", "an even number of vCPUs"),
        ("n2-custom-4-8200", "in steps of 256 MB: 8192"),
        ("n2-custom-2-65536", "over 8 GB each"),
    ],
)
def test_a_machine_type_that_will_not_do_is_refused_with_what_would(name: str, said: str):
    with pytest.raises(CatalogueError, match=re.escape(said)):
        find_machine_type(name)


@pytest.mark.parametrize("name", ["c5-standard-16", "n4x-standard-8", "k1-standard-4"])
def test_a_machine_type_that_may_be_newer_is_not_refused(name: str):
    assert find_machine_type(name) is None


def test_a_known_zone_passes_in_silence():
    assert check_zone("europe-west4-a") is None
    assert check_zone("us-central1-f") is None


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("europe-wset4-a", "did you mean europe-west4-a?"),
        ("europe-west4", "its zones are europe-west4-a, europe-west4-b, europe-west4-c"),
        ("europe-west4-z", "its zones are europe-west4-a"),
        ("europe-west1-a", "its zones are europe-west1-b, europe-west1-c, europe-west1-d"),
        ("europe-west5-a", "Google has no region europe-west5"),
        ("europe-west99-a", "Google has no region europe-west99"),
        ("eu-west-1a", "that is no zone, such as europe-west4-a"),
        ("Europe-West4-A", "that is no zone"),
        ("moon-north1-a", "Google has no region moon-north1"),
    ],
)
def test_a_misspelt_zone_is_refused_with_what_was_meant(zone: str, said: str):
    with pytest.raises(CatalogueError, match=re.escape(said)):
        check_zone(zone)


@pytest.mark.parametrize("zone", ["europe-west13-a", "asia-southeast3-b", "africa-north1-a"])
def test_a_zone_that_may_be_newer_is_a_warning(zone: str):
    assert f"does not know the zone {zone}" in (check_zone(zone) or "")


def test_a_series_that_a_region_lacks_is_named_with_where_it_is():
    said = not_offered(machine("c3d-standard-16"), "europe-west12") or ""
    assert "europe-west12 has no c3d" in said
    assert "europe-west4" in said
    assert not_offered(machine("c3d-standard-16"), "europe-west4") is None


def test_of_an_unknown_region_nothing_is_said():
    assert not_offered(machine("c3d-standard-16"), "europe-west13") is None
