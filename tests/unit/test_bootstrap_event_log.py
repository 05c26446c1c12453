"""What Pulumi's event log says of a machine: no room, no quota, or something else."""

import json
from pathlib import Path

import pytest

from scripts.bootstrap.event_log import Failure, failures, no_room, quotas

PREFIX = "urn:pulumi:gpu-vm::llm-endpoint::llm-endpoint:gcp:GpuVm$"
INSTANCE = f"{PREFIX}gcp:compute/instance:Instance::gpu-vm-instance"
GROUP = f"{PREFIX}gcp:compute/instanceGroupManager:InstanceGroupManager::gpu-vm-group"
ADDRESS = f"{PREFIX}gcp:compute/address:Address::gpu-vm-address"

# As people have met them: github.com/kubernetes/k8s.io#9834, terraform-docs-samples#974, and
# public READMEs, 2026. The provider wraps lines as Compute Engine does.
FULL = (
    "Error waiting for instance to create: The zone 'projects/p/zones/us-west1-b' does not\n"
    "have enough resources available to fulfill the request.  '(resource type:compute)'.",
    "1 error occurred:\n\t* The zone 'z' is busy '... (state:STOCKOUT, sub-state:STOCKOUT)'.",
    "googleapi: Error 503: try again later., ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
    "A n1-standard-4 VM instance with 1 nvidia-tesla-t4 accelerator(s) is currently unavailable\n"
    "in the us-central1-b zone. Consider trying your request in the us-central1-a zone(s)",
)
NO_QUOTA = (
    "Error waiting for instance to create: Quota 'GPUS_ALL_REGIONS' exceeded.  Limit: 0.0 "
    "globally.\n\tmetric name = compute.googleapis.com/gpus_all_regions\n"
)


def event(urn: str, message: str, severity: str = "error") -> str:
    said = {"urn": urn, "prefix": "error: ", "message": message, "severity": severity}
    return json.dumps({"sequence": 1, "timestamp": 1, "diagnosticEvent": said})


def read(folder: Path, *lines: str) -> tuple[Failure, ...]:
    log = folder / "events.json"
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return failures(log)


@pytest.mark.parametrize("message", FULL)
@pytest.mark.parametrize("urn", [INSTANCE, GROUP])
def test_a_zone_without_room_is_known_by_its_words(tmp_path: Path, urn: str, message: str):
    assert no_room(read(tmp_path, event(urn, message)))


def test_an_update_that_failed_names_no_resource_and_does_not_count(tmp_path: Path):
    assert no_room(read(tmp_path, event(INSTANCE, FULL[0]), event("", "update failed\n")))


def test_what_is_said_of_another_resource_is_no_lack_of_room_for_the_machine(tmp_path: Path):
    assert not no_room(read(tmp_path, event(ADDRESS, FULL[0])))


def test_what_else_failed_is_to_be_mended_first(tmp_path: Path):
    found = read(tmp_path, event(INSTANCE, FULL[0]), event(ADDRESS, "Error 403: forbidden"))
    assert not no_room(found)


def test_a_warning_is_no_failure(tmp_path: Path):
    assert read(tmp_path, event(INSTANCE, FULL[0], "warning")) == ()


def test_a_quota_that_is_used_up_is_no_lack_of_room(tmp_path: Path):
    found = read(tmp_path, event(INSTANCE, NO_QUOTA))
    assert not no_room(found)
    assert quotas(found) == ("GPUS_ALL_REGIONS",)
    assert not no_room(read(tmp_path, event(INSTANCE, f"{FULL[0]} {NO_QUOTA}")))


def test_another_refusal_is_neither(tmp_path: Path):
    found = read(tmp_path, event(INSTANCE, "googleapi: Error 400: Invalid value, invalid"))
    assert len(found) == 1
    assert not no_room(found)
    assert quotas(found) == ()


def test_an_up_that_went_well_and_one_without_a_log_have_nothing_that_failed(tmp_path: Path):
    assert failures(tmp_path / "none") == ()
    assert not no_room(())
    prelude = '{"sequence":0,"preludeEvent":{"config":{"a":"does not have enough resources"}}}'
    assert read(tmp_path, prelude) == ()


def test_what_a_killed_pulumi_has_not_finished_writing_is_left_out(tmp_path: Path):
    whole = event(INSTANCE, FULL[0])
    assert len(read(tmp_path, whole, whole[:-30])) == 1
