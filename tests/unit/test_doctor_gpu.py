"""What scripts/doctor finds for a machine with GPUs: their quotas, zones, and the boot image."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_endpoint import FakeEndpoint
from fake_google_apis import FakeApis, refusal
from fake_project import COMPUTE, REGION, REGIONAL, ZONE, FakeProject, quotas, text

from components.catalogue.gcp_gpu import find_gpu
from scripts.gcp.quota import Need, Quota, gpu_needs

IMAGE = (
    "compute/v1/projects/ubuntu-os-accelerator-images/global/images/family/"
    "ubuntu-accelerator-2404-amd64-with-nvidia-580"
)
NAME = "ubuntu-accelerator-2404-amd64-with-nvidia-580-v20261101"
OVERALL = {"CPUS_ALL_REGIONS": (32.0, 8.0), "GPUS_ALL_REGIONS": (1.0, 0.0), "NETWORKS": (5.0, 1.0)}
L4 = {"NVIDIA_L4_GPUS": (1.0, 0.0), "PREEMPTIBLE_NVIDIA_L4_GPUS": (0.0, 0.0)}
OTHER_REGION = f"{COMPUTE}/regions/us-central1"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[FakeProject]:
    with FakeApis() as google, FakeEndpoint() as page:
        made = FakeProject(google, page, tmp_path, "gpu-vm")
        google.on(f"{ZONE}/machineTypes/g2-standard-8", (200, machine(8, 32)))
        google.on(f"{ZONE}/machineTypes/n1-standard-8", (200, machine(8, 30)))
        google.on(IMAGE, (200, {"name": NAME, "diskSizeGb": "20"}))
        have(made)
        yield made


def machine(vcpus: int, memory_gb: int) -> dict[str, object]:
    return {"guestCpus": vcpus, "memoryMb": memory_gb * 1024}


def have(cloud: FakeProject, region: str = REGION, **limits: tuple[float, float]) -> None:
    """Set the quotas of the project and of a region."""
    cloud.google.on(region, (200, quotas(**{**REGIONAL, **L4, **limits})))
    cloud.google.on(COMPUTE, (200, quotas(**{**OVERALL, **limits})))


def test_a_project_that_is_ready_has_the_gpus_quotas(cloud: FakeProject):
    found = cloud.find()
    assert "problem" not in {one.verdict for one in found}, text(found)
    shown = [one.text for one in found]
    assert shown[1] == "configuration: g2-standard-8 with 1 l4 (standard) in europe-west4-a"
    assert "machine type g2-standard-8 in europe-west4-a: 8 vCPUs, 32 GB" in shown
    assert f"image {NAME}: 20 of boot_gb 60" in shown
    assert "quota NVIDIA_L4_GPUS in europe-west4: 1 needed, 0 of 1 used" in shown
    assert "quota GPUS_ALL_REGIONS: 1 needed, 0 of 1 used" in shown
    assert any("quota CPUS_PER_VM_FAMILY (vm_family G2) in europe-west4" in one for one in shown)


def test_a_new_project_is_told_where_to_ask_for_gpus_of_all_regions(cloud: FakeProject):
    have(cloud, GPUS_ALL_REGIONS=(0.0, 0.0))
    found = cloud.problem()
    assert found.text == "quota GPUS_ALL_REGIONS: 1 needed, 0 of 0 used"
    assert found.type == (
        "ask for more of GPUS_ALL_REGIONS, global, on "
        "https://console.cloud.google.com/iam-admin/quotas?project=my-project "
        "(new projects often have 0, which a free trial can't raise)"
    )


def test_too_few_gpus_in_the_region_are_a_problem_with_another_region_for_a_way_out(
    cloud: FakeProject,
):
    have(cloud, NVIDIA_L4_GPUS=(0.0, 0.0))
    found = cloud.problem()
    assert found.text == "quota NVIDIA_L4_GPUS in europe-west4: 1 needed, 0 of 0 used"
    assert "region europe-west4, on https://" in found.type
    assert ", or take another region (new projects often have 0" in found.type


def test_gpus_that_an_n1_machine_gets_attached_are_looked_for_in_the_zone(cloud: FakeProject):
    cloud.configure(machine_type="n1-standard-8", gpu="t4", gpu_count="2")
    have(cloud, NVIDIA_T4_GPUS=(2.0, 0.0), GPUS_ALL_REGIONS=(2.0, 0.0))
    kind = f"{ZONE}/acceleratorTypes/nvidia-tesla-t4"
    cloud.google.on(kind, (200, {"maximumCardsPerInstance": 4}))
    found = text(cloud.find())
    assert "ok:      configuration: n1-standard-8 with 2 t4 (standard)" in found
    assert (
        "ok:      accelerator nvidia-tesla-t4 in europe-west4-a: 2 of at most 4 in one machine"
        in found
    )
    assert "ok:      quota CPUS in europe-west4: 8 needed" in found
    assert "ok:      quota NVIDIA_T4_GPUS in europe-west4: 2 needed, 0 of 2 used" in found
    cloud.google.on(kind, (200, {"maximumCardsPerInstance": 1}))
    assert cloud.problem().type == "scripts/pulumi config set gpu_count 1"
    cloud.google.on(kind, refusal(404, "was not found"))
    lacking = cloud.problem()
    assert lacking.text.startswith("europe-west4-a has no accelerator nvidia-tesla-t4: ")
    assert "gcloud compute accelerator-types list --project my-project --filter" in lacking.type


def test_a_machine_that_serves_on_its_processor_takes_no_quota_of_gpus(cloud: FakeProject):
    cloud.configure(gpu="none", machine_type="n2-standard-8", image="ubuntu-24.04")
    cloud.google.on(f"{ZONE}/machineTypes/n2-standard-8", (200, machine(8, 32)))
    found = text(cloud.find())
    assert "ok:      configuration: n2-standard-8 (standard) in" in found
    assert "quota N2_CPUS in europe-west4: 8 needed" in found
    assert "GPUS" not in found


def test_zones_to_go_on_in_are_looked_at_with_the_quotas_of_their_regions(cloud: FakeProject):
    cloud.configure(zones="europe-west4-b us-central1-a")
    elsewhere = f"{COMPUTE}/zones/us-central1-a/machineTypes/g2-standard-8"
    cloud.google.on(elsewhere, (200, machine(8, 32)))
    have(cloud, OTHER_REGION, NVIDIA_L4_GPUS=(0.0, 0.0))
    have(cloud)
    found = cloud.find()
    assert "problem" not in {one.verdict for one in found}, text(found)
    (lacking,) = [one for one in found if "scripts/up can't go on" in one.text]
    assert (lacking.verdict, lacking.text.split(",")[0]) == (
        "note",
        "europe-west4-b has no machine type g2-standard-8",
    )
    assert lacking.type == "scripts/pulumi config set zones us-central1-a"
    assert "ok:      machine type g2-standard-8 in us-central1-a: 8 vCPUs" in text(found)
    assert "note:    quota NVIDIA_L4_GPUS in us-central1: 1 needed, 0 of 0 used" in text(found)
    assert text(found).count("quota GPUS_ALL_REGIONS") == 1


def test_an_only_zone_to_go_on_in_that_lacks_the_machine_is_to_be_taken_out(cloud: FakeProject):
    cloud.configure(zones="europe-west4-b")
    (lacking,) = [one for one in cloud.find() if "scripts/up can't go on" in one.text]
    assert lacking.type == "scripts/pulumi config rm zones"


@pytest.mark.parametrize(
    ("answer", "told", "step"),
    [
        (refusal(404, "was not found"), "ubuntu-os-accelerator-images has none", "images list"),
        (refusal(403, "Required permission"), "may not read it", "roles/compute.imageUser"),
        ((200, {"name": NAME, "diskSizeGb": "80"}), "takes 80 GB, and boot_gb is 60", "boot_gb 80"),
        (
            (200, {"name": NAME, "diskSizeGb": "20", "deprecated": {"state": "OBSOLETE"}}),
            f"image {NAME} is obsolete",
            "config rm image",
        ),
    ],
)
def test_an_image_that_no_machine_can_boot_is_a_problem(
    cloud: FakeProject, answer: tuple[int, object], told: str, step: str
):
    cloud.google.on(IMAGE, answer)
    found = cloud.problem()
    assert told in found.text
    assert step in found.type


def test_a_spot_machine_counts_against_the_spot_quota_of_its_gpu(cloud: FakeProject):
    cloud.configure(spot="true")
    assert "quota NVIDIA_L4_GPUS in europe-west4: 1 needed" in text(cloud.find())
    have(cloud, PREEMPTIBLE_NVIDIA_L4_GPUS=(4.0, 0.0))
    assert "quota PREEMPTIBLE_NVIDIA_L4_GPUS in europe-west4: 1 needed, 0 of 4" in text(
        cloud.find()
    )


@pytest.mark.parametrize(
    ("standard", "preemptible", "metric"),
    [
        (0.0, 0.0, "PREEMPTIBLE_NVIDIA_L4_GPUS"),
        (1.0, 0.0, "NVIDIA_L4_GPUS"),
        (1.0, 1.0, "PREEMPTIBLE_NVIDIA_L4_GPUS"),
        (1.0, None, "NVIDIA_L4_GPUS"),
        (None, None, "PREEMPTIBLE_NVIDIA_L4_GPUS"),
    ],
)
def test_spot_takes_the_standard_quota_only_where_that_is_all_there_is(
    standard: float | None, preemptible: float | None, metric: str
):
    limits = {"NVIDIA_L4_GPUS": standard, "PREEMPTIBLE_NVIDIA_L4_GPUS": preemptible}
    regional = {name: Quota(limit, 0) for name, limit in limits.items() if limit is not None}
    wanted = gpu_needs(find_gpu("l4"), 2, "r", regional, spot=True)
    assert wanted == [Need(metric, 2, "r"), Need("GPUS_ALL_REGIONS", 2, None)]


def test_a_quota_that_google_counts_by_family_is_a_note_with_the_page(cloud: FakeProject):
    cloud.configure(machine_type="a3-ultragpu-8g")
    cloud.google.on(f"{ZONE}/machineTypes/a3-ultragpu-8g", (200, machine(224, 2952)))
    (note,) = [one for one in cloud.find() if "GPUS_PER_GPU_FAMILY" in one.text]
    assert note.verdict == "note"
    assert note.text.startswith(
        "quota GPUS_PER_GPU_FAMILY (gpu_family NVIDIA_H200) in europe-west4: Google does not tell "
        "it here; 8 needed, see https://console.cloud.google.com/iam-admin/quotas"
    )
