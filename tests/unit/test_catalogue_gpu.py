"""What the catalogue knows of Google Cloud's GPUs, and of the machines that have them."""

import datetime
import re
import tomllib

import pytest

from components.catalogue.gcp import CatalogueError, MachineType, catalogue, region_of
from components.catalogue.gcp_gpu import (
    FILE,
    check_attachment,
    ending,
    find_gpu,
    find_gpu_machine_type,
    gpu_not_in_zone,
    gpus_of,
    machine_not_in_zone,
    only_spot,
    which_fit,
)

FACTS = tomllib.loads(FILE.read_text(encoding="utf-8"))
TYPES = [(kind, name) for kind, table in FACTS["machines"].items() for name in table["types"]]


def machine(name: str) -> MachineType:
    found = find_gpu_machine_type(name)
    assert found is not None
    return found


def test_the_catalogue_says_how_old_it_is():
    assert FACTS["as_of"] >= datetime.date(2026, 1, 1)


@pytest.mark.parametrize("name", FACTS["gpus"])
def test_every_gpu_is_whole_and_to_be_had_on_a_machine(name: str):
    gpu = find_gpu(name)
    assert gpu.name == name
    assert gpu.accelerator.startswith("nvidia-")
    assert 7 * 2**30 < gpu.memory_bytes < 200 * 2**30
    assert re.fullmatch(r"[0-9]+\.[0-9]", gpu.compute_capability)
    assert gpu.spot_quota.startswith("PREEMPTIBLE_NVIDIA_")
    assert gpu.spot_quota.endswith("_GPUS")
    assert gpu.zones
    assert {region_of(zone) for zone in gpu.zones} <= gpu.regions
    assert name in {fit.gpu.name for fit in which_fit(0)}


@pytest.mark.parametrize("place", [*FACTS["machines"].values(), *FACTS["attached"].values()])
def test_every_zone_is_one_that_the_catalogue_of_machines_has(place):
    for region, letters in place["zones"].items():
        assert set(letters) <= set(catalogue().zones[region]), region


@pytest.mark.parametrize(("kind", "name"), TYPES)
def test_a_machine_with_built_in_gpus_has_all_that_a_machine_has(kind: str, name: str):
    found, built_in = machine(name), gpus_of(name)
    assert built_in is not None
    gpu, count = built_in
    assert name.startswith(f"{kind}-")
    assert found.series.name == name.partition("-")[0]
    assert found.series.disk in {"pd-balanced", "hyperdisk-balanced"}
    assert found.series.spot
    assert found.cores == found.vcpus // 2
    assert found.memory_bytes >= 16 * 2**30
    assert gpu.zones >= {
        f"{region}-{letter}"
        for region, letters in FACTS["machines"][kind]["zones"].items()
        for letter in letters
    }
    ending_in = re.search(r"-([0-9]+)(g?)$", name)
    assert ending_in is not None
    assert int(ending_in[1]) == (count if ending_in[2] else found.vcpus)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_what_may_be_attached_grows_with_the_number_of_gpus(count: int):
    for table in FACTS["attached"].values():
        limits = table["limits"]
        assert limits[str(count)] <= limits[max(limits, key=int)]


@pytest.mark.parametrize(
    ("name", "disk", "cores", "gib"),
    [
        ("g2-standard-8", "pd-balanced", 4, 32),
        ("a2-highgpu-1g", "pd-balanced", 6, 85),
        ("a3-ultragpu-8g", "hyperdisk-balanced", 112, 2952),
        ("g4-standard-48", "hyperdisk-balanced", 24, 180),
        ("n1-standard-8", "pd-balanced", 4, 30),
        ("n1-custom-12-65536", "pd-balanced", 6, 64),
        ("custom-4-15360", "pd-balanced", 2, 15),
    ],
)
def test_a_gpu_machine_has_its_disk_its_cores_and_its_memory(name, disk, cores, gib):
    found = machine(name)
    assert (found.series.disk, found.cores, found.memory_bytes / 2**30) == (disk, cores, gib)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("g2-standrd-8", "g2 has no such machine type; did you mean g2-standard-8"),
        ("g2-custom-8-40960", "g2 has no such machine type"),
        ("n1-standrd-8", "did you mean n1-standard-8"),
        ("n1-custom-3-8192", "an even number of vCPUs"),
        ("e2-standard-8", "take g2-standard-8, or an n1 machine with gpu"),
        ("c3-standard-22", "c3 has no GPUs and takes none"),
        ("f1-micro", "f1 has no GPUs"),
        ("ct5lp-hightpu-4t", "with TPUs, not GPUs"),
        ("a4x-highgpu-4g", "an Arm machine"),
        ("c4a-standard-16", "an Arm machine"),
        ("g4-standard-6", "a fraction of a GPU"),
        ("g3-standard-8", "Google has no machine type of that name; did you mean g2-standard-8"),
        ("zz", "Google has no machine type of that name: take g2-standard-8"),
    ],
)
def test_a_machine_type_that_will_not_do_is_refused_with_what_would(name: str, said: str):
    with pytest.raises(CatalogueError, match=re.escape(said)):
        find_gpu_machine_type(name)


@pytest.mark.parametrize("name", ["g5-standard-8", "a5-highgpu-8g", "g4x-standard-48"])
def test_a_machine_type_that_may_be_newer_is_not_refused(name: str):
    assert find_gpu_machine_type(name) is None
    assert gpus_of(name) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("L4", "did you mean l4?"),
        ("nvidia-l4", "did you mean l4?"),
        ("nvidia-tesla-t4", "did you mean t4?"),
        ("a100-40gb", "did you mean a100?"),
        ("h100-80gb", "did you mean h100?"),
        ("rtx-6000", "did you mean rtx-pro-6000?"),
        ("gaudi", "it takes p4, t4, v100, l4, a100"),
        ("p100", "Google ended the p100 on 2026-09-15: take p4, t4"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(name: str, said: str):
    with pytest.raises(CatalogueError, match=re.escape(said)):
        find_gpu(name)


def test_what_a_gpu_is_counted_in_is_known():
    assert find_gpu("l4").quota == "NVIDIA_L4_GPUS"
    assert find_gpu("l4").spot_quota == "PREEMPTIBLE_NVIDIA_L4_GPUS"
    assert find_gpu("h100").quota == "GPUS_PER_GPU_FAMILY (gpu_family NVIDIA_H100)"
    assert find_gpu("h100").spot_quota == "PREEMPTIBLE_NVIDIA_H100_GPUS"


def test_what_software_still_supports_an_old_gpu_is_known():
    assert (find_gpu("v100").last_cuda, find_gpu("v100").last_driver) == (12, 580)
    assert find_gpu("l4").last_cuda is None
    assert find_gpu("b200").first_cuda == "12.8"


def test_a_gpu_that_google_will_end_is_a_warning():
    assert "ends the t4 on 2027-08-01" in (ending(find_gpu("t4")) or "")
    assert ending(find_gpu("l4")) is None


def test_what_an_ordinary_request_gets_only_as_spot_is_said():
    assert "only as Spot" in (only_spot("a3-highgpu-1g") or "")
    assert only_spot("a3-highgpu-8g") is None
    assert "a4-highgpu-8g" in (only_spot("a4-highgpu-8g") or "")
    assert only_spot("g2-standard-8") is None
    assert only_spot("n1-standard-8") is None


@pytest.mark.parametrize(
    ("name", "gpu", "count"),
    [("n1-standard-8", "t4", 1), ("n1-standard-96", "t4", 4), ("n1-custom-12-65536", "v100", 1)],
)
def test_n1_takes_as_many_gpus_as_google_says(name: str, gpu: str, count: int):
    assert check_attachment(machine(name), find_gpu(gpu), count) is None


@pytest.mark.parametrize(
    ("name", "gpu", "count", "said"),
    [
        ("n1-standard-8", "t4", 3, "1, 2 or 4 t4, not 3"),
        ("n1-standard-8", "t4", 8, "1, 2 or 4 t4, not 8"),
        ("n1-standard-16", "v100", 1, "at most 12 vCPUs and 78 GB, and n1-standard-16 has 16"),
        ("n1-standard-16", "v100", 1, "a smaller n1 machine, or 2 GPUs"),
        ("n1-highmem-96", "t4", 2, "or 4 GPUs"),
        ("n1-standard-8", "l4", 1, "built into machines such as g2-standard-4"),
        ("g2-standard-8", "l4", 1, "has its GPUs built in (1 l4)"),
    ],
)
def test_what_n1_can_not_take_is_said_with_what_it_can(name, gpu, count, said):
    assert said in (check_attachment(machine(name), find_gpu(gpu), count) or "")


def test_a_machine_that_takes_no_gpu_is_said_to_take_none():
    n1 = machine("n1-standard-8")
    other = MachineType("e2-standard-8", catalogue().series["e2"], 8, n1.memory_bytes)
    assert "only n1 machines take a GPU" in (check_attachment(other, find_gpu("t4"), 1) or "")


def test_a_gpu_that_a_zone_lacks_is_named_with_where_it_is():
    said = gpu_not_in_zone(find_gpu("l4"), "us-central1-f") or ""
    assert "us-central1-f has no l4" in said
    assert "it is in us-central1-a, us-central1-b, us-central1-c;" in said
    assert "us-central1-f has t4, v100, a100, rtx-pro-6000" in said


def test_where_a_region_lacks_a_gpu_its_continent_is_named():
    said = gpu_not_in_zone(find_gpu("v100"), "europe-west1-b") or ""
    assert "it is in europe-west4-a, europe-west4-b, europe-west4-c;" in said
    assert re.search(r" and [0-9]+ more", gpu_not_in_zone(find_gpu("l4"), "africa-south1-a") or "")


@pytest.mark.parametrize(
    ("gpu", "zone"),
    [
        ("l4", "us-central1-a"),
        ("l4", "us-central1-z"),
        ("l4", "europe-west13-a"),
        ("rtx-pro-6000", "me-central2-a"),
    ],
)
def test_of_a_gpu_that_is_there_or_may_be_nothing_is_said(gpu: str, zone: str):
    assert gpu_not_in_zone(find_gpu(gpu), zone) is None


def test_a_machine_is_not_everywhere_where_its_gpu_is():
    assert gpu_not_in_zone(find_gpu("h100"), "asia-northeast3-a") is None
    said = machine_not_in_zone("a3-highgpu-8g", "asia-northeast3-a") or ""
    assert "asia-northeast3-a has no a3-highgpu-8g" in said
    assert machine_not_in_zone("a3-edgegpu-8g", "asia-northeast3-a") is None
    assert machine_not_in_zone("n1-standard-8", "asia-northeast3-a") is None


def test_what_would_fit_is_named_from_the_least_memory_up():
    fits = which_fit(0)
    totals = [fit.gpu.memory_bytes * fit.gpus for fit in fits]
    assert totals == sorted(totals)
    assert [fit.machine for fit in which_fit(15 * 2**30)[:3]] == [
        "n1-standard-8 + t4",
        "n1-standard-8 + v100",
        "g2-standard-8",
    ]
    assert "n1-standard-8 + 2 t4" in {fit.machine for fit in fits}
    assert which_fit(2**50) == []


def test_what_would_fit_can_be_asked_for_as_it_is_named():
    for text, gpu, count in which_fit(0):
        name, _, attached = text.partition(" + ")
        if attached:
            assert check_attachment(machine(name), gpu, count) is None
        else:
            assert gpus_of(name) == (gpu, count)
        assert machine(name).memory_bytes >= gpu.memory_bytes * count
