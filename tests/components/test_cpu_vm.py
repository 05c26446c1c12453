"""A `CpuVm`: its machine, what replaces that and what survives, and what bills."""

import json
from dataclasses import replace

import pytest
from cpu_vm_program import (
    ACME_PLAN,
    GROUP_PLAN,
    LABELS,
    NAME,
    PLAN,
    RECEIPT,
    command,
    deployed,
    in_a_group,
    of_type,
    only,
    program,
    rendered,
    stdout,
)

from components.launch import Probe
from components.schedule import Schedule
from emulator.mocks.recording import Run, run

# What bills and can be labelled.
LABELLED = (
    "compute/instance",
    "compute/instanceTemplate",
    "compute/disk",
    "compute/address",
    "secretmanager/secret",
)
SCHEDULE = Schedule("0 8 * * 1-5", "0 20 * * 1-5", "Europe/Berlin")


def instance(seen: Run):
    return only(seen, "compute/instance")


def triggers(seen: Run) -> list[object]:
    return command(seen, "verification").inputs["triggers"]


def test_every_child_stands_under_the_component_and_is_named_by_it():
    for entry in deployed(schedule=SCHEDULE).registrations.values():
        if entry.token != "llm-endpoint:gcp:CpuVm":
            assert entry.parent == "vm", entry.name
            assert entry.name == "vm" or entry.name.startswith("vm-")


def test_every_name_in_the_cloud_begins_with_the_base_name():
    for entry in deployed(plan=ACME_PLAN, schedule=SCHEDULE).registrations.values():
        for key in ("name", "secretId", "accountId"):
            value = entry.inputs.get(key)
            if entry.token.startswith("gcp:") and value is not None and "dns" not in entry.token:
                assert value.startswith(NAME), entry.name


def test_the_machine_is_told_what_was_rendered_and_which_cache_disk_it_has():
    made = rendered(PLAN)
    told = instance(deployed()).inputs["metadata"]
    assert told == {
        "user-data": made.user_data,
        "startup-script": made.startup_script,
        "cache-disk": "vm-cache-number",
        "enable-oslogin": "TRUE",
        "block-project-ssh-keys": "TRUE",
        "serial-port-logging-enable": "TRUE",
    }


def test_the_metadata_is_no_larger_than_compute_engine_takes():
    # cloud.google.com/compute/docs/metadata/setting-custom-metadata, "Limitations".
    sizes = [len(value.encode()) for value in instance(deployed()).inputs["metadata"].values()]
    assert max(sizes) <= 256 * 1024
    assert sum(sizes) <= 512 * 1024


def test_what_a_machine_reads_at_its_first_boot_replaces_it_the_old_one_first():
    made = instance(deployed())
    assert made.replace_on_changes == (
        'metadata["user-data"]',
        'metadata["startup-script"]',
        'metadata["cache-disk"]',
    )
    assert made.delete_before_replace
    assert made.inputs["name"] == NAME


def test_the_machine_is_shielded_and_reaches_secret_manager_as_its_own_account():
    inputs = instance(deployed()).inputs
    assert inputs["shieldedInstanceConfig"] == {
        "enableSecureBoot": True,
        "enableVtpm": True,
        "enableIntegrityMonitoring": True,
    }
    assert inputs["serviceAccount"] == {
        "email": f"{NAME}@p.iam.gserviceaccount.com",
        "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
    }


def test_the_boot_disk_goes_with_the_machine():
    boot = instance(deployed()).inputs["bootDisk"]
    assert boot == {
        "autoDelete": True,
        "initializeParams": {
            "image": "projects/debian-cloud/global/images/family/debian-12",
            "size": 20,
            "type": "pd-balanced",
            "labels": LABELS,
        },
    }


def test_the_cache_disk_is_attached_by_its_device_name_and_outlives_the_machine():
    seen = deployed()
    disk = only(seen, "compute/disk")
    assert disk.inputs["name"] == f"{NAME}-cache"
    assert (disk.inputs["size"], disk.inputs["type"]) == (50, "pd-ssd")
    (attached,) = instance(seen).inputs["attachedDisks"]
    assert attached["deviceName"] == PLAN.cache_disk
    assert attached["source"].endswith("/vm-cache")
    assert "vm-instance" not in disk.dependencies


def test_a_cache_disk_that_was_made_anew_gets_a_machine_that_mounts_it():
    # Its link stays the same, so that only its number tells.
    made = instance(deployed())
    assert made.input_dependencies["metadata"] == {"vm-cache"}
    assert 'metadata["cache-disk"]' in made.replace_on_changes


def test_a_plan_without_a_cache_disk_makes_none():
    seen = deployed(plan=replace(PLAN, cache_disk=None), cache_gb=None, cache_disk_type=None)
    assert not of_type(seen, "compute/disk")
    assert instance(seen).inputs.get("attachedDisks", []) == []
    assert "cache disk" not in json.dumps(seen.outputs["billing"].value)


@pytest.mark.parametrize("missing", ["cache_gb", "cache_disk_type"])
def test_a_cache_disk_of_no_size_or_type_is_refused(missing: str):
    with pytest.raises(ValueError, match="cache_gb and cache_disk_type are needed"):
        deployed(**{missing: None})


@pytest.mark.parametrize("kept", [True, False])
def test_data_that_is_to_be_kept_is_protected(kept: bool):
    seen = deployed(keep_data=kept)
    protected = {entry.name for entry in seen.registrations.values() if entry.protect}
    assert protected == ({"vm-cache"} if kept else set())


def test_a_standard_machine_is_moved_and_restarted_by_google():
    assert instance(deployed()).inputs["scheduling"] == {
        "provisioningModel": "STANDARD",
        "preemptible": False,
        "automaticRestart": True,
        "onHostMaintenance": "MIGRATE",
    }


def test_a_spot_machine_is_stopped_and_kept():
    assert instance(deployed(spot=True)).inputs["scheduling"] == {
        "provisioningModel": "SPOT",
        "preemptible": True,
        "automaticRestart": False,
        "onHostMaintenance": "TERMINATE",
        "instanceTerminationAction": "STOP",
    }


@pytest.mark.parametrize("spot", [True, False])
def test_a_run_limit_stops_the_machine_and_nothing_restarts_it(spot: bool):
    limits = instance(deployed(spot=spot, max_run_seconds=7200)).inputs["scheduling"]
    assert limits["maxRunDuration"] == {"seconds": 7200}
    assert limits["instanceTerminationAction"] == "STOP"
    assert limits["automaticRestart"] is False


def test_up_starts_what_was_stopped():
    inputs = instance(deployed()).inputs
    assert inputs["desiredStatus"] == "RUNNING"
    assert inputs["allowStoppingForUpdate"] is True


def test_what_was_started_again_is_verified_again():
    assert triggers(deployed()) != triggers(deployed(stopped="2026-11-21T03:00:00.000-08:00"))


@pytest.mark.parametrize(
    "changed",
    [{"plan": replace(PLAN, idle_minutes=60)}, {"machine_type": "e2-standard-8"}],
    ids=["what it becomes", "machine type"],
)
def test_another_machine_is_verified_anew(changed):
    assert triggers(deployed()) != triggers(deployed(**changed))
    assert "vm-instance-number" in triggers(deployed())


def test_verification_reads_the_boot_and_waits_as_long_as_it_was_told():
    verification = command(deployed(), "verification")
    words = str(verification.inputs["create"])
    assert words.startswith(".venv/bin/python -m scripts.verify ")
    assert "--wait-seconds 1500" in words
    assert "--key-seconds 150" in words
    environment = verification.inputs["environment"]
    assert environment["LLM_ENDPOINT_BOOT"] == f"gcp:p/europe-west4-a/{NAME}"
    assert environment["LLM_ENDPOINT_URL"] == "https://198.51.100.7"


def test_readiness_is_asked_of_the_gateway_whatever_the_engine_has():
    (server,) = PLAN.servers
    other = replace(server, launch=replace(server.launch, probe=Probe("/openapi.json", 500)))
    words = str(
        command(deployed(plan=replace(PLAN, servers=(other,))), "verification").inputs["create"]
    )
    assert "--probe-path /health --probe-loading-status 503" in words


def test_a_schedule_is_attached_once_compute_engine_may_follow_it_on_this_machine_alone():
    seen = deployed(schedule=SCHEDULE)
    policy = only(seen, "compute/resourcePolicy").inputs
    assert policy["instanceSchedulePolicy"] == {
        "timeZone": "Europe/Berlin",
        "vmStartSchedule": {"schedule": "0 8 * * 1-5"},
        "vmStopSchedule": {"schedule": "0 20 * * 1-5"},
    }
    role = only(seen, "projects/iAMCustomRole").inputs
    assert role["permissions"] == ["compute.instances.start", "compute.instances.stop"]
    grant = only(seen, "compute/instanceIAMMember")
    assert grant.inputs["instanceName"] == NAME
    assert grant.inputs["member"] == (
        "serviceAccount:service-123456789012@compute-system.iam.gserviceaccount.com"
    )
    attachment = only(seen, "compute/resourcePolicyAttachment")
    assert attachment.inputs["name"] == f"{NAME}-schedule"
    assert attachment.inputs["instance"] == NAME
    assert attachment.input_dependencies["instance"] >= {"vm-schedule-grant"}
    # The attachment is its own resource: the instance must not take it away again.
    assert instance(seen).ignore_changes == ("resourcePolicies",)
    assert "resourcePolicies" not in instance(seen).inputs


def test_a_schedule_may_only_stop():
    seen = deployed(schedule=Schedule(None, "0 20 * * *", "UTC"))
    policy = only(seen, "compute/resourcePolicy").inputs
    assert "vmStartSchedule" not in policy["instanceSchedulePolicy"]


def test_the_apis_stay_enabled_when_the_stack_goes():
    services = of_type(deployed(plan=ACME_PLAN, dns_zone="our-zone"), "projects/service")
    assert {entry.inputs["service"].partition(".")[0] for entry in services} == {
        "compute",
        "iam",
        "secretmanager",
        "dns",
    }
    assert all(entry.inputs["disableOnDestroy"] is False for entry in services)


@pytest.mark.parametrize("kind", ["network", "address", "disk", "firewall", "instance"])
def test_what_uses_compute_engine_comes_after_its_api(kind: str):
    for entry in of_type(deployed(), f"compute/{kind}"):
        assert "vm-compute-api" in entry.dependencies, entry.name


def test_what_uses_another_api_comes_after_it():
    seen = deployed(plan=ACME_PLAN, dns_zone="our-zone")
    assert "vm-iam-api" in only(seen, "serviceaccount/account").dependencies
    assert "vm-secretmanager-api" in only(seen, "secretmanager/secret").dependencies
    assert "vm-dns-api" in only(seen, "dns/recordSet").dependencies


def test_parked_keeps_address_keys_and_cache_disk_and_has_no_machine():
    # The provider refuses to make one that is not to run, and a schedule would start it.
    seen = deployed(parked=True, schedule=SCHEDULE)
    for kind in ("instance", "resourcePolicy", "resourcePolicyAttachment"):
        assert not of_type(seen, f"compute/{kind}")
    assert only(seen, "compute/address")
    assert only(seen, "compute/disk")
    assert "command:local:Command:vm-verification" not in seen.registrations
    outputs = {name: value.value for name, value in seen.outputs.items()}
    assert outputs["state"] == "parked"
    assert outputs["endpoint_url"] is outputs["openai_base_url"] is None
    assert outputs["verification"] == {"status": "parked"}
    assert seen.outputs["api_key"].secret


def test_no_endpoint_is_known_before_it_was_verified():
    seen = run(program(schedule=SCHEDULE), lambda name, inputs: None, "cpu-vm", preview=True)
    assert {name for name, output in seen.outputs.items() if output.known} == set()


def test_a_first_preview_already_shows_what_the_machine_will_become():
    seen = run(program(), lambda name, inputs: None, "cpu-vm", preview=True)
    assert instance(seen).inputs["metadata"]["user-data"] == rendered(PLAN).user_data
    assert rendered(PLAN).digest() in triggers(seen)


def test_the_contract_of_outputs_is_kept():
    outputs = {name: seen.value for name, seen in deployed().outputs.items()}
    assert outputs["state"] == "serving"
    assert outputs["endpoint_url"] == "https://198.51.100.7"
    assert outputs["openai_base_url"] == "https://198.51.100.7/v1"
    assert (outputs["model"], outputs["engine"]) == ("tiny", "llama_cpp")
    assert outputs["verification"] == RECEIPT


def test_a_component_says_in_the_state_what_it_was_given_and_what_came_of_it():
    seen = deployed()
    component = seen.registrations["llm-endpoint:gcp:CpuVm:vm"]
    assert component.inputs == {
        "machine_type": "e2-standard-4",
        "zone": "europe-west4-a",
        "models": ["owner/repo:tiny.gguf"],
        "digest": rendered(PLAN).digest(),
    }
    assert seen.component_outputs["CpuVm"] == {"state": "serving", "address": "198.51.100.7"}


def test_a_long_base_name_still_makes_a_service_account():
    ids = []
    for end in ("a", "b"):
        plan = replace(PLAN, base_name=f"llm-endpoint-of-a-very-long-stack-name-{end}")
        seen = deployed(plan=plan)
        ids.append(only(seen, "serviceaccount/account").inputs["accountId"])
    assert all(len(account) <= 30 and account.startswith("llm-endpoint-of-a-") for account in ids)
    assert ids[0] != ids[1]


def test_acme_without_a_domain_is_refused():
    with pytest.raises(ValueError, match="needs a domain"):
        deployed(plan=replace(ACME_PLAN, domain=None))


def test_a_plan_that_stops_a_group_is_refused_where_there_is_none():
    with pytest.raises(ValueError, match="use mig"):
        deployed(plan=GROUP_PLAN)


def test_an_engine_that_runs_as_no_process_is_refused():
    (server,) = PLAN.servers
    pod = replace(server, launch=replace(server.launch, forms=frozenset()))
    with pytest.raises(ValueError, match="'cpu-vm' takes process"):
        deployed(plan=replace(PLAN, servers=(pod,)))


def test_only_the_commands_of_the_deployment_run_on_its_machine():
    assert stdout("vm-verification", {}) == json.dumps(RECEIPT)
    names = {
        entry.name
        for entry in deployed().registrations.values()
        if entry.token == "command:local:Command"
    }
    assert names == {"vm-key-default", "vm-key-alice", "vm-ca", "vm-verification"}


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
