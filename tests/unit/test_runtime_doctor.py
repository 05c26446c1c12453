"""What scripts/doctor finds for a stack with a notebook runtime."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_endpoint import FakeEndpoint
from fake_google_apis import FakeApis
from fake_project import COMPUTE, REGION, REGIONAL, ZONE, quotas, text
from test_cluster_doctor import CONFIG, Project

RUNTIME = {**CONFIG, "llm-endpoint:max_nodes": "2"}


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Project]:
    with FakeApis() as google, FakeEndpoint() as page:
        project = Project(google, page, tmp_path, "gke-colab")
        for kind, cpus, memory in (("c3-standard-22", 22, 90112), ("e2-standard-2", 2, 8192)):
            answer = {"guestCpus": cpus, "memoryMb": memory}
            google.on(f"{ZONE}/machineTypes/{kind}", (200, answer))
        limits = {**REGIONAL, "PREEMPTIBLE_CPUS": (44.0, 0.0)}
        google.on(REGION, (200, quotas(**limits)))
        overall = quotas(CPUS_ALL_REGIONS=(64.0, 8.0), NETWORKS=(5.0, 1.0), ROUTERS=(20.0, 0.0))
        google.on(COMPUTE, (200, overall))
        yield project


def test_the_runtimes_disks_and_bucket_are_looked_at_too(cloud: Project):
    cloud.write(RUNTIME)
    found = text(cloud.find())
    assert "europe-west4-a, a new cluster; a notebook runtime" in found
    assert "cloudresourcemanager, storage are enabled" in found
    # Two nodes, the system's, the model's disk, and both of the runtime's.
    assert "quota SSD_TOTAL_GB in europe-west4: 430 needed" in found
    assert "quota PREEMPTIBLE_CPUS in europe-west4: 44 needed" in found


def test_a_right_that_the_bucket_takes_and_that_is_not_there_is_named(cloud: Project):
    cloud.write(RUNTIME)
    cloud.lacking = {"storage.buckets.setIamPolicy"}
    assert "roles/storage.admin" in text([cloud.problem()])
    cloud.write({**RUNTIME, "llm-endpoint:runtime_backup": "none"})
    assert {one.verdict for one in cloud.find()} == {"ok"}
