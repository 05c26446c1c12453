"""What `gke-colab` registers besides `gke-ovms`, in which order, and what of it is secret."""

import hashlib
import json
from dataclasses import replace

import pytest
from colab_program import (
    BUCKET,
    NAMESPACE,
    PARKED_AT,
    RAW,
    RECEIPT,
    RUNNING,
    SECRET_KEY,
    STORAGE,
    TOKEN,
    VARIANTS,
    an_object,
    command,
    deployed,
    objects,
    variant,
)
from gke_program import CERTIFICATE, KEY, of_type, only, pool

from components.models.registry import RegistryUrl
from components.rendering.kubernetes.colab.plan import Backup, ColabPlan
from components.settings import ConfigurationError
from components.targets.kubernetes.colab_args import ColabRuntimeArgs
from components.targets.kubernetes.colab_runtime import ColabRuntime
from emulator.mocks.recording import SECRET, SIGNATURE, Run
from stacks import PROGRAMS
from stacks.gke_colab import files, runtime_plan

PROVIDER = "pulumi:providers:kubernetes"
GRANT = "gcp:storage/bucketIAMMember:BucketIAMMember"
BUCKETS = "gcp:storage/bucket:Bucket"
ON_GOOGLE = [name for name in VARIANTS if name not in {"storage", "both parked"}]


def before(seen: Run, name: str) -> set[str]:
    """Names of all that comes before the resource `name`, at any distance."""
    every = {entry.name: entry for entry in seen.registrations.values()}
    found: set[str] = set()
    waiting = [name]
    while waiting:
        each = every[waiting.pop()]
        new = (each.dependencies | ({each.provider} - {""})) - found
        found |= new
        waiting += [one for one in new if one in every]
    return found


@pytest.mark.parametrize("name", ["both", "adopted cluster"])
def test_a_gke_ovms_stack_becomes_one_without_a_change_of_what_is_there(name: str):
    was, becomes = deployed(VARIANTS[name], program="gke-ovms"), variant(name)
    assert was.registrations.keys() < becomes.registrations.keys()
    for key, registered in was.registrations.items():
        assert becomes.registrations[key] == registered, key
    added = becomes.registrations.keys() - was.registrations.keys()
    assert all("gke-colab" in key for key in added)
    assert was.outputs.keys() < becomes.outputs.keys()


@pytest.mark.parametrize("name", VARIANTS)
def test_every_object_is_sent_by_the_clusters_own_provider(name: str):
    seen = variant(name)
    assert len(objects(seen)) > 9
    for one in objects(seen):
        assert one.provider == only(seen, PROVIDER).name, one.name
        assert one.parent == "gke-colab", one.name


def test_a_preview_registers_what_the_deployment_does():
    for name in ("both", "both parked"):
        planned = deployed(VARIANTS[name], preview=True)
        assert set(planned.registrations) == set(variant(name).registrations)


@pytest.mark.parametrize("name", VARIANTS)
def test_objects_come_after_the_pool_and_the_internet_and_go_before_them(name: str):
    seen = variant(name)
    namespace = an_object(seen, "Namespace", NAMESPACE).name
    for one in objects(seen):
        first = before(seen, one.name)
        for kind in ("container/nodePool", "compute/routerNat"):
            assert {each.name for each in of_type(seen, f"gcp:{kind}:")} <= first
        assert one.name == namespace or namespace in one.dependencies, one.name


@pytest.mark.parametrize("name", VARIANTS)
def test_the_pod_comes_after_all_that_it_needs_and_goes_before_it(name: str):
    seen = variant(name)
    kinds = {"ConfigMap", "Secret", "ServiceAccount", "NetworkPolicy", "PersistentVolumeClaim"}
    needed = {one.name for one in objects(seen) if one.inputs["kind"] in kinds}
    needed |= {one.name for one in (*of_type(seen, GRANT), *of_type(seen, BUCKETS))}
    assert needed <= before(seen, an_object(seen, "Deployment", "colab-runtime").name)


@pytest.mark.parametrize("name", ON_GOOGLE)
def test_the_pods_own_identity_may_use_the_bucket_and_there_is_no_key(name: str):
    seen = variant(name)
    right = only(seen, GRANT).plain()
    theirs = name == "bucket of theirs"
    assert right["bucket"] == ("theirs" if theirs else BUCKET)
    assert right["role"] == "roles/storage.objectUser"
    assert right["member"] == (
        "principal://iam.googleapis.com/projects/123456789012/locations/global/"
        "workloadIdentityPools/my-project.svc.id.goog/subject/ns/colab-llm-cpu/sa/colab-runtime"
    )
    # The pool of identities is there with the first cluster.
    clusters = {one.name for one in of_type(seen, "gcp:container/cluster:")}
    assert clusters <= before(seen, only(seen, GRANT).name)
    assert bool(of_type(seen, BUCKETS)) is not theirs
    assert not of_type(seen, "gcp:serviceaccount/key:")


@pytest.mark.parametrize("name", ["storage", "both parked"])
def test_other_storage_needs_nothing_of_googles(name: str):
    assert not of_type(variant(name), "gcp:storage/")


def test_the_storages_key_is_in_one_secret_of_the_runtimes_and_hidden_as_a_whole():
    secret = an_object(variant("storage"), "Secret", "colab-backup")
    assert secret.is_secret("stringData")
    assert secret.plain()["stringData"] == {
        "AWS_ACCESS_KEY_ID": "the-id",
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    }
    assert secret.additional_secret_outputs == ("data", "stringData")


def test_the_token_is_made_once_and_goes_to_its_secret_alone():
    seen = variant("both")
    made = command(seen, "key-colab")
    assert made.inputs["triggers"] == [1]
    assert made.additional_secret_outputs == ("stdout",)
    secret = an_object(seen, "Secret", "colab-token")
    assert secret.is_secret("stringData", "token")
    assert secret.plain()["stringData"] == {"token": TOKEN}


@pytest.mark.parametrize("name", VARIANTS)
def test_secrets_go_to_the_secrets_the_provider_and_the_verifications_alone(name: str):
    seen = variant(name)
    holders = {
        entry.name
        for entry in seen.registrations.values()
        if SIGNATURE in json.dumps(entry.inputs) and SECRET in json.dumps(entry.inputs)
    }
    serving = [] if VARIANTS[name].get("parked") else ["gke-ovms-verification"]
    assert holders == {
        "gke-ovms-secret-gateway-keys",
        "gke-ovms-secret-gateway-ca",
        "gke-ovms-kubernetes",
        "gke-colab-secret-colab-token",
        *(["gke-colab-secret-colab-backup"] if name == "storage" else []),
        *serving,
        *(["gke-colab-verification"] if name in RUNNING else []),
    }


@pytest.mark.parametrize("name", VARIANTS)
def test_no_secret_shows_in_anything_that_is_registered(name: str):
    hashed = hashlib.sha256(TOKEN.encode()).hexdigest()
    for entry in variant(name).registrations.values():
        shown = json.dumps(entry.without_secrets())
        for secret in (KEY, SECRET_KEY, hashed, "PRIVATE KEY"):
            assert secret not in shown, entry.name


@pytest.mark.parametrize("taints", [False, True])
@pytest.mark.parametrize("name", ["both", "both parked"])
def test_exactly_the_keys_and_the_url_with_its_token_are_secret_outputs(name: str, taints: bool):
    outputs = deployed(VARIANTS[name], taints=taints).outputs
    secret = {one for one, seen in outputs.items() if seen.secret}
    assert secret == {"api_key", "api_keys", "colab_url"}
    assert outputs["colab_url"].value == f"http://127.0.0.1:9000/?token={TOKEN}"
    assert outputs["port_forward"].value == (
        "kubectl port-forward --namespace colab-llm-cpu service/colab-runtime 9000:9000"
    )
    parked = name == "both parked"
    assert outputs["runtime"].value == ({"status": "parked"} if parked else RECEIPT)


def annotation(seen: Run) -> str:
    pod = an_object(seen, "Deployment", "colab-runtime").plain()["spec"]["template"]
    return pod["metadata"]["annotations"]["llm-endpoint/secrets"]


def test_another_token_or_key_starts_the_pod_anew():
    one = annotation(variant("storage"))
    assert one != annotation(variant("both"))
    other = {**STORAGE, "runtime_backup_key_id": "another-id"}
    assert annotation(deployed(other)) != one
    again = deployed({"runtime_token_generation": "2"}, parked_at=PARKED_AT)
    assert command(again, "key-colab").inputs["triggers"] == [2]
    assert not an_object(variant("both"), "Deployment", "colab-runtime").is_secret("spec")


def test_notebooks_get_the_authority_of_the_endpoint_inside_before_it_serves():
    seen = variant("both")
    given = an_object(seen, "ConfigMap", "colab-authority")
    assert given.plain()["data"] == {"ca.pem": CERTIFICATE}
    assert not given.is_secret("data", "ca.pem")
    assert "gke-ovms-verification" not in before(seen, given.name)
    outside = objects(variant("load balancer"))
    assert not [one for one in outside if one.name.endswith("colab-authority")]


@pytest.mark.parametrize("name", VARIANTS)
def test_the_number_of_pods_is_left_to_whoever_scales(name: str):
    seen = variant(name)
    assert "replicas" not in an_object(seen, "Deployment", "colab-runtime").plain()["spec"]
    scale = command(seen, "scale").plain()
    environment = scale["environment"]
    wanted = {"replicas": int(name in RUNNING), "most": None, "kind": "Deployment"}
    assert json.loads(environment["LLM_ENDPOINT_SCALE"]) == {"colab-runtime": wanted}
    assert environment["LLM_ENDPOINT_NAMESPACE"] == NAMESPACE
    assert scale["triggers"][1:] == ["", "gke-colab-deployment-colab-runtime-uid"]


def test_what_the_idle_job_parked_is_woken_and_verified_anew():
    idle = deployed({"runtime_token_generation": "2"}, parked_at=PARKED_AT)
    assert command(idle, "scale").plain()["triggers"][1] == PARKED_AT
    assert "gke-colab-scale" in command(idle, "verification").input_dependencies["triggers"]
    parked = deployed(VARIANTS["both parked"], parked_at=PARKED_AT)
    assert command(parked, "scale").plain()["triggers"][1] == ""


@pytest.mark.parametrize("name", RUNNING)
def test_a_runtime_is_verified_once_all_of_it_is_there(name: str):
    seen = variant(name)
    verification = command(seen, "verification")
    assert {one.name for one in objects(seen)} <= before(seen, verification.name)
    environment = verification.plain()["environment"]
    assert environment["LLM_ENDPOINT_RUNTIME_TOKEN"] == TOKEN
    assert environment["LLM_ENDPOINT_NAMESPACE"] == NAMESPACE
    assert json.loads(environment["LLM_ENDPOINT_CLUSTER"])["server"].startswith("https://")
    words = verification.plain()["create"]
    assert "-m scripts.runtime.verify --json --wait-seconds 2700 --stack gke-ovms" in words
    assert TOKEN not in words


@pytest.mark.parametrize(
    ("name", "nodes", "state"),
    [
        ("both", None, "serving"),
        ("endpoint parked", None, "parked"),
        ("runtime parked", None, "serving"),
        ("both parked", 0, "parked"),
    ],
)
def test_each_is_parked_by_itself_and_the_nodes_with_both(name: str, nodes: int | None, state: str):
    seen = variant(name)
    inputs = pool(seen).plain()
    assert inputs.get("nodeCount") == nodes
    assert ("autoscaling" in inputs) is (nodes is None)
    assert seen.outputs["state"].value == state
    runs = name in RUNNING
    assert ("command:local:Command:gke-colab-verification" in seen.registrations) is runs
    assert (seen.outputs["runtime"].value == {"status": "parked"}) is not runs


def test_a_parked_runtime_keeps_its_disks_and_its_token():
    parked, running = variant("runtime parked"), variant("both")
    assert command(parked, "key-colab").inputs == command(running, "key-colab").inputs
    for claim in ("colab-data", "colab-libraries"):
        found = [an_object(seen, "PersistentVolumeClaim", claim) for seen in (parked, running)]
        assert found[0].inputs == found[1].inputs


def ignored(seen: Run) -> set[tuple[str, ...]]:
    return {
        one.ignore_changes for one in objects(seen) if one.inputs["kind"] == "PersistentVolumeClaim"
    }


def test_disks_are_made_anew_only_without_a_pod_and_with_a_backup():
    assert ignored(variant("both")) == {("spec.storageClassName",)}
    assert ignored(variant("runtime parked")) == {()}
    # Nothing would come back.
    assert ignored(variant("both parked")) == {("spec.storageClassName",)}


def test_a_disk_that_may_be_made_anew_has_no_pod_before():
    seen = variant("runtime parked")
    rest = command(seen, "rest")
    assert rest.plain()["create"].endswith("-m scripts.gke.rest")
    environment = rest.plain()["environment"]
    assert json.loads(environment["LLM_ENDPOINT_REST"]) == ["Deployment/colab-runtime"]
    assert environment["LLM_ENDPOINT_NAMESPACE"] == NAMESPACE
    assert rest.plain()["triggers"] == ["premium-rwo"]
    for claim in ("colab-data", "colab-libraries"):
        assert rest.name in before(seen, an_object(seen, "PersistentVolumeClaim", claim).name)
    for kept in ("both", "both parked"):
        assert "command:local:Command:gke-colab-rest" not in variant(kept).registrations


def test_keep_data_keeps_the_disks_and_the_bucket():
    kept = {one.name for one in variant("kept").registrations.values() if one.protect}
    assert kept == {
        "gke-ovms-namespace-llm-endpoint-gke-ovms",
        "gke-colab-namespace-colab-llm-cpu",
        "gke-colab-persistent-volume-claim-colab-data",
        "gke-colab-persistent-volume-claim-colab-libraries",
        "gke-colab-backup-bucket",
    }
    made = only(variant("kept"), BUCKETS).plain()
    assert made["forceDestroy"] is False
    assert only(variant("both"), BUCKETS).plain()["forceDestroy"] is True
    assert made["name"] == BUCKET
    assert made["labels"] == {"team": "research"}
    assert made["location"] == "europe-west4"


def billed(name: str) -> dict[str, bool]:
    entries = variant(name).outputs["billing"].value
    return {entry["resource"]: entry["parked"] for entry in entries}


def test_what_bills_names_the_disks_the_bucket_and_the_shared_nodes():
    entries = billed("both")
    nodes = (
        "up to 2 nodes of c3-standard-22 (Spot), each with a boot disk of 100 GB; shared with the "
        "runtime; none without pods"
    )
    # While the endpoint alone is parked, the runtime's node is there.
    assert entries[nodes] is True
    assert entries["disks of 100 GB and 30 GB for the runtime (premium-rwo)"] is True
    assert entries[f"bucket gs://{BUCKET}, with the runtime's backups"] is True
    alone = billed("runtime parked")
    assert alone[nodes.replace("shared with the runtime; ", "")] is False
    theirs = billed("bucket of theirs")
    assert (
        "bucket gs://theirs/notebooks, which is there: what is in it of the runtime's backups"
        in theirs
    )
    assert not [one for one in billed("both parked") if "bucket" in one]


def refused_args(planned: ColabPlan) -> ColabRuntimeArgs:
    return {
        "plan": planned,
        "python": ["python"],
        "provider": None,  # type: ignore[typeddict-item]
        "access": "{}",
        "token_generation": 1,
        "ready_seconds": 1,
    }


def test_a_plan_without_what_only_the_deployment_knows_is_refused():
    planned = runtime_plan(PROGRAMS["gke-colab"].settings(RAW), "gke-colab")
    with pytest.raises(ValueError, match="give the runtime its authority"):
        ColabRuntime("refused", refused_args(planned))
    storage = Backup(RegistryUrl("s3", "backups"), 15, has_secret=True)
    with pytest.raises(ValueError, match="give the runtime its access key"):
        ColabRuntime("refused", refused_args(replace(planned, backup=storage)))


def test_the_endpoints_own_namespace_is_refused_for_the_runtime_although_nobody_named_it():
    same = PROGRAMS["gke-colab"].settings({**RAW, "runtime_namespace": "llm-endpoint-mine"})
    with pytest.raises(ConfigurationError, match="next: scripts/pulumi config rm runtime_name"):
        runtime_plan(same, "mine")


def test_the_files_are_the_objects_of_both_namespaces_with_no_secret_among_them():
    found = files(PROGRAMS["gke-colab"].settings({**RAW, **STORAGE}), "gke-colab")
    places = {path.partition("/")[0] for path in found}
    assert places == {"kubernetes", "kubernetes-runtime"}
    assert not [path for path, text in found.items() if SECRET_KEY in text]
    names = {path.partition("-")[2] for path in found if path.startswith("kubernetes-runtime/")}
    assert {"runtime/00-namespace-colab-llm-cpu.yaml"} <= names
