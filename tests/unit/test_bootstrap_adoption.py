"""What a killed pulumi left in a cloud is found again by its fixed name."""

import json

from scripts.bootstrap.adoption import IDENTITIES, orphans, replaced

PARENT = "urn:pulumi:cpu-vm::llm-endpoint::llm-endpoint:gcp:CpuVm::cpu-vm"
PROVIDER = "urn:pulumi:cpu-vm::llm-endpoint::pulumi:providers:gcp::default_10_2_0::some-id"


def operation(kind: str, urn_name: str, what: str = "creating", /, **inputs: object):
    return {
        "type": what,
        "resource": {
            "urn": f"urn:pulumi:cpu-vm::llm-endpoint::llm-endpoint:gcp:CpuVm${kind}::{urn_name}",
            "type": kind,
            "parent": PARENT,
            "provider": PROVIDER,
            "inputs": inputs,
        },
    }


DISK = operation(
    "gcp:compute/disk:Disk", "cpu-vm-cache", project="p", zone="z", name="llm-endpoint-x-cache"
)


def found(*operations, known: frozenset[str] = frozenset()):
    return list(orphans(iter(operations), known))


def test_a_resource_is_imported_by_the_id_that_its_inputs_make():
    (orphan,) = found(DISK)
    assert orphan.identity == "projects/p/zones/z/disks/llm-endpoint-x-cache"
    assert orphan.name == "cpu-vm-cache"
    assert orphan.specification == {
        "nameTable": {"parent": PARENT},
        "resources": [
            {
                "type": "gcp:compute/disk:Disk",
                "name": "cpu-vm-cache",
                "id": orphan.identity,
                "parent": "parent",
                # Another default provider would be a change of every resource.
                "version": "10.2.0",
            }
        ],
    }


def test_an_object_of_a_cluster_is_imported_through_the_programs_own_provider():
    provider = "urn:pulumi:gke-ovms::llm-endpoint::pulumi:providers:kubernetes::gke-ovms"
    metadata = {"name": "chat", "namespace": "llm"}
    servers = operation("kubernetes:apps/v1:StatefulSet", "chat", metadata=metadata)
    servers["resource"]["provider"] = f"{provider}::some-id"
    (orphan,) = found(servers)
    assert orphan.specification == {
        "nameTable": {"parent": PARENT, "provider": provider},
        "resources": [
            {
                "type": "kubernetes:apps/v1:StatefulSet",
                "name": "chat",
                "id": "llm/chat",
                "parent": "parent",
                "provider": "provider",
            }
        ],
    }
    space = operation("kubernetes:core/v1:Namespace", "ns", metadata={"name": "llm"})
    assert found(space)[0].identity == "llm"
    assert found(operation("kubernetes:core/v1:Namespace", "ns", metadata="secret")) == []


def test_a_cluster_and_its_nodes_are_found_again():
    place = {"project": "p", "location": "europe-west4-a"}
    cluster = operation("gcp:container/cluster:Cluster", "c", **place, name="x")
    nodes = operation("gcp:container/nodePool:NodePool", "n", **place, cluster="x", name="models")
    assert [one.identity for one in found(cluster, nodes)] == [
        "projects/p/locations/europe-west4-a/clusters/x",
        "p/europe-west4-a/x/models",
    ]


def test_it_is_imported_once_and_not_where_the_state_has_it():
    assert len(found(DISK, DISK)) == 1
    assert found(DISK, known=frozenset({DISK["resource"]["urn"]})) == []


def test_what_was_not_being_created_is_let_be():
    updating = operation("gcp:compute/disk:Disk", "d", "updating", project="p", zone="z", name="n")
    assert found(updating) == []


def test_what_has_no_fixed_id_is_left_to_the_person():
    version = operation("gcp:secretmanager/secretVersion:SecretVersion", "v", secret="s")
    unnamed = operation("gcp:compute/disk:Disk", "d", project="p", zone="z")
    secret_name = operation(
        "gcp:compute/disk:Disk", "d", project="p", zone="z", name={"ciphertext": "…"}
    )
    command = operation("command:local:Command", "key", create="true")
    assert found(version, unnamed, secret_name, command) == []


def test_every_type_that_is_taken_up_is_one_of_the_provider():
    assert all(kind.startswith("gcp:") for kind in IDENTITIES)
    assert all("{project}" in template for template in IDENTITIES.values())


def state(identity: str, **more: object):
    resource = {"urn": DISK["resource"]["urn"], "id": identity, **more}
    return {"version": 3, "deployment": {"resources": [resource], "pending_operations": [DISK]}}


def test_what_was_replaced_under_its_old_id_is_taken_as_being_there():
    before = state("projects/p/zones/z/disks/llm-endpoint-x-cache", pendingReplacement=True)
    after, urns = replaced(before)
    assert urns == (DISK["resource"]["urn"],)
    assert after["version"] == 3
    assert after["deployment"]["resources"] == [
        {"urn": urns[0], "id": "projects/p/zones/z/disks/llm-endpoint-x-cache"}
    ]
    assert after["deployment"]["pending_operations"] == []


def test_what_gets_another_id_or_is_not_being_replaced_stays_as_it_is():
    for before in (
        state("projects/p/zones/z/disks/another", pendingReplacement=True),
        state("projects/p/zones/z/disks/llm-endpoint-x-cache"),
    ):
        kept = json.dumps(before)
        after, urns = replaced(before)
        assert urns == ()
        assert json.dumps(after) == kept
