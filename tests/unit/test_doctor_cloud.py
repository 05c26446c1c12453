"""What scripts/doctor finds in Google Cloud, and what it says to type."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_endpoint import FakeEndpoint
from fake_google_apis import TOKEN, FakeApis, refusal
from fake_project import PROJECT, REGION, REGIONAL, ZONE, FakeProject, quotas, text

from scripts.gcp import quota
from scripts.gcp.doctor import main
from scripts.gcp.quota import Need, Quota, cpu_metric, needs


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[FakeProject]:
    with FakeApis() as google, FakeEndpoint() as page:
        yield FakeProject(google, page, tmp_path)


def test_a_project_that_is_ready_has_no_problem_and_hard_numbers(cloud: FakeProject):
    found = cloud.find()
    assert {one.verdict for one in found} == {"ok"}, text(found)
    shown = [one.text for one in found]
    assert shown == [
        "credentials: GOOGLE_OAUTH_ACCESS_TOKEN",
        "configuration: e2-standard-16 (standard) in europe-west4-a",
        "project my-project, number 123",
        "billing is enabled",
        "APIs: compute, secretmanager, iam are enabled",
        "permissions: all 13 that up needs",
        "machine type e2-standard-16 in europe-west4-a: 16 vCPUs, 64 GB",
        "image debian-12-bookworm-v20261110: 10 of boot_gb 30",
        "quota CPUS in europe-west4: 16 needed, 8 of 72 used",
        "quota CPUS_ALL_REGIONS: 16 needed, 8 of 32 used",
        "quota SSD_TOTAL_GB in europe-west4: 80 needed, 0 of 500 used",
        "quota STATIC_ADDRESSES in europe-west4: 1 needed, 0 of 8 used",
        "quota IN_USE_ADDRESSES in europe-west4: 1 needed, 0 of 8 used",
        "quota NETWORKS: 1 needed, 1 of 5 used",
        "this machine's address 198.51.100.7 is in allowed_cidrs",
    ]


def test_nothing_is_changed_and_the_token_is_not_shown(
    cloud: FakeProject, capsys: pytest.CaptureFixture[str]
):
    assert main(["cpu-vm"], cloud.environment, cloud.folder) == 0
    out, err = capsys.readouterr()
    assert TOKEN not in out + err
    posts = [asked.path for asked in cloud.google.asked if asked.method != "GET"]
    assert posts == [f"/{PROJECT}:testIamPermissions"]


def test_no_credentials_are_the_first_problem_and_the_rest_is_not_looked_at(cloud: FakeProject):
    found = cloud.find(GOOGLE_OAUTH_ACCESS_TOKEN="", GOOGLE_CREDENTIALS="/no/such/file")
    assert found[0].verdict == "problem"
    assert found[0].type == "gcloud auth application-default login"
    assert "not looked at without credentials: project, billing" in text(found)
    assert cloud.google.asked == []
    assert found[-1].text.endswith("is in allowed_cidrs")


def test_a_stack_that_is_not_configured_is_told_every_command(cloud: FakeProject):
    (cloud.folder / "Pulumi.cpu-vm.yaml").unlink()
    found = cloud.find()
    (wrong,) = [one for one in found if one.text.startswith("configuration")]
    for key in ("gcp:project", "gcp:zone", "allowed_cidrs"):
        assert f"scripts/pulumi config set {key} " in wrong.text
    assert wrong.text.count(" --stack cpu-vm") == 3
    assert "scripts/pulumi stack init cpu-vm" in wrong.type
    assert "scripts/pulumi stack init cpu-vm" in wrong.type
    assert "not looked at without a project" in text(found)
    assert found[-1].type == (
        "scripts/pulumi config set allowed_cidrs 198.51.100.7/32 --stack cpu-vm"
    )


def test_a_configuration_with_a_fault_still_has_its_project_looked_at(cloud: FakeProject):
    cloud.configure(machine_type="e2-standart-16")
    found = cloud.find()
    assert "did you mean e2-standard-16" in text(found)
    assert "project my-project, number 123" in text(found)
    assert "not looked at before the configuration is right: machine type, quota" in text(found)


@pytest.mark.parametrize("status", [403, 404])
def test_a_project_that_is_not_there_is_the_end_of_it(cloud: FakeProject, status: int):
    cloud.google.on(PROJECT, refusal(status, "The caller does not have permission"))
    found = cloud.problem()
    assert found.text.startswith("project my-project: there is none of that id")
    assert "gcloud projects list" in found.type
    assert "not looked at without the project: billing" in text(cloud.find())


def test_a_project_that_is_being_deleted_is_a_problem(cloud: FakeProject):
    cloud.google.on(PROJECT, (200, {"lifecycleState": "DELETE_REQUESTED"}))
    assert "gcloud projects undelete my-project" in cloud.problem().type


def test_a_project_without_billing_says_how_to_link_an_account(cloud: FakeProject):
    path = "cloudbilling/v1/projects/my-project/billingInfo"
    cloud.google.on(path, (200, {"billingEnabled": False}))
    found = cloud.problem()
    assert found.text == "billing is not enabled for my-project: nothing can be made in it"
    assert "gcloud billing projects link my-project --billing-account ACCOUNT" in found.type


def test_billing_that_google_does_not_tell_is_a_note_with_the_page(cloud: FakeProject):
    path = "cloudbilling/v1/projects/my-project/billingInfo"
    cloud.google.on(path, refusal(403, "Cloud Billing API has not been used", "SERVICE_DISABLED"))
    (found,) = [one for one in cloud.find() if one.text.startswith("billing")]
    assert found.verdict == "note"
    assert "linkedaccount?project=my-project" in found.text
    assert found.type == "gcloud services enable cloudbilling.googleapis.com --project my-project"


def test_apis_that_are_off_are_enabled_by_up(cloud: FakeProject):
    cloud.disabled = {"secretmanager", "dns"}
    cloud.configure(domain="llm.example.com", dns_zone="zone")
    (found,) = [one for one in cloud.find() if one.text.startswith("APIs")]
    assert found.verdict == "note"
    assert found.text.startswith("APIs: secretmanager, dns not enabled yet: up enables them")
    assert found.type.startswith(
        "gcloud services enable secretmanager.googleapis.com dns.googleapis.com --project"
    )
    asked = next(a for a in cloud.google.asked if a.path.endswith("batchGet"))
    assert asked.query["names"][-1] == "projects/my-project/services/dns.googleapis.com"


def test_quota_is_not_asked_for_before_the_api_is_enabled(cloud: FakeProject):
    cloud.disabled = {"compute"}
    assert "not looked at before the API compute is enabled" in text(cloud.find())
    assert not [asked for asked in cloud.google.asked if asked.path.startswith("/compute/")]


def test_a_permission_that_lacks_names_the_role_that_has_it(cloud: FakeProject):
    cloud.lacking = {"secretmanager.versions.add", "secretmanager.secrets.create"}
    found = cloud.problem()
    assert found.text == (
        "these credentials lack secretmanager.secrets.create, secretmanager.versions.add"
    )
    assert "--role roles/secretmanager.admin" in found.type


@pytest.mark.parametrize(
    ("key", "value", "permission"),
    [
        ("schedule", "start 0 8 * * 1-5; stop 0 20 * * 1-5; Europe/Berlin", "iam.roles.create"),
        ("dns_zone", "zone", "dns.changes.create"),
        ("spot_recovery", "mig", "resourcemanager.projects.setIamPolicy"),
    ],
)
def test_what_a_stack_asks_for_decides_which_permissions_it_takes(
    cloud: FakeProject, key: str, value: str, permission: str
):
    cloud.lacking = {permission}
    assert "lack" not in text(cloud.find())
    more = {"dns_zone": {"domain": "llm.example.com"}, "spot_recovery": {"spot": "true"}}
    cloud.configure(**{key: value}, **more.get(key, {}))
    assert f"lack {permission}" in text(cloud.find())


def test_a_machine_type_that_the_zone_lacks_is_a_problem(cloud: FakeProject):
    cloud.google.on(f"{ZONE}/machineTypes/e2-standard-16", refusal(404, "was not found"))
    found = cloud.problem()
    assert "europe-west4-a has no machine type e2-standard-16" in found.text
    assert "gcloud compute machine-types list --project my-project --zones" in found.type


def test_too_little_quota_says_how_much_and_where_to_ask(cloud: FakeProject):
    cloud.configure(machine_type="n2-standard-16")
    found = cloud.problem()
    assert found.text == "quota N2_CPUS in europe-west4: 16 needed, 4 of 8 used"
    assert found.type.startswith("ask for more of N2_CPUS, region europe-west4, on https://console")
    assert "iam-admin/quotas?project=my-project" in found.type


def test_a_machine_that_is_there_already_uses_its_quota(cloud: FakeProject):
    cloud.configure(machine_type="n2-standard-16")
    cloud.google.on(f"{ZONE}/instances/llm-endpoint-cpu-vm", (200, {"status": "RUNNING"}))
    assert "with what the stack has already" in text(cloud.find())
    assert not [one for one in cloud.find() if one.verdict == "problem"]


def test_a_quota_that_google_does_not_tell_here_is_a_note(cloud: FakeProject):
    cloud.configure(machine_type="c4-standard-16")
    found = text(cloud.find())
    assert (
        "note:    quota CPUS_PER_VM_FAMILY (vm_family C4) in europe-west4: Google does not tell it "
        "here; 16 needed, see https://console"
    ) in found


def test_a_spot_machine_counts_against_the_spot_quota_where_there_is_one(cloud: FakeProject):
    cloud.configure(spot="true")
    assert "quota CPUS in europe-west4: 16 needed" in text(cloud.find())
    limits = {**REGIONAL, "PREEMPTIBLE_CPUS": (8.0, 0.0)}
    cloud.google.on(REGION, (200, quotas(**limits)))
    assert cloud.problem().text.startswith("quota PREEMPTIBLE_CPUS in europe-west4: 16 needed")


def test_a_caller_who_is_not_let_in_gets_the_command(cloud: FakeProject):
    cloud.configure(allowed_cidrs="203.0.113.0/24")
    found = cloud.problem()
    assert "198.51.100.7 is not in allowed_cidrs (203.0.113.0/24): up verifies from here" in (
        found.text
    )
    assert found.type == (
        "scripts/pulumi config set allowed_cidrs 203.0.113.0/24,198.51.100.7/32 --stack cpu-vm"
    )


def test_a_caller_of_unknown_address_is_a_note(cloud: FakeProject):
    found = cloud.find(LLM_ENDPOINT_ADDRESS_SERVICE="")[-1]
    assert found.verdict == "note"
    assert found.type.startswith("curl https://")


def test_a_stand_in_for_google_elsewhere_is_refused_in_words(cloud: FakeProject):
    found = cloud.find(LLM_ENDPOINT_GOOGLE_API="http://203.0.113.7")
    assert "LLM_ENDPOINT_GOOGLE_API must be" in text(found)


def test_each_series_counts_against_its_own_quota():
    names = ("e2-standard-4", "n1-standard-4", "custom-4-8192", "n2d-standard-4", "c3-standard-4")
    assert [cpu_metric(name) for name in names] == ["CPUS", "CPUS", "CPUS", "N2D_CPUS", "C3_CPUS"]


def test_disks_of_one_kind_are_added_up_and_a_given_network_takes_none():
    disks = [("pd-balanced", 30), ("pd-ssd", 50), ("hyperdisk-balanced", 7), ("new-kind", 1)]
    wanted = needs(
        "n2-standard-8", 8, "r", disks, spot=False, own_network=False, has_spot_quota=True
    )
    assert Need("SSD_TOTAL_GB", 80, "r") in wanted
    assert Need("HDB_TOTAL_GB", 7, "r") in wanted
    assert wanted[0] == Need("N2_CPUS", 8, "r")
    assert "NETWORKS" not in {need.metric for need in wanted}


def test_a_quota_of_all_regions_is_asked_for_as_global():
    wanted = [Need(quota.ALL_REGIONS_CPUS, 16, None)]
    found = list(
        quota.findings(wanted, {None: {quota.ALL_REGIONS_CPUS: Quota(12, 0)}}, "p", exists=False)
    )
    assert found[0].verdict == "problem"
    assert "ask for more of CPUS_ALL_REGIONS, global" in found[0].type
