"""What of an endpoint in a cluster bills, while it runs and while the stack is parked.

Rules as of 2026-11: a cluster has a fee by the hour (cloud.google.com/kubernetes-engine/pricing),
nodes bill as the machines that they are, disks and reserved addresses as long as they are there, a
NAT by the machines behind it and by traffic (cloud.google.com/nat/pricing), forwarding rules by the
hour (cloud.google.com/vpc/network-pricing), and Cloud Armor by policies, rules and requests
(cloud.google.com/armor/pricing).
"""

from __future__ import annotations

from components.endpoint import Billed
from components.rendering.kubernetes.colab.plan import ColabPlan
from components.rendering.kubernetes.plan import Deploy, Expose, PodPlan
from components.targets.gke.args import ClusterArgs, SpotNodePoolArgs


def billed(
    plan: PodPlan, cluster: ClusterArgs, pool: SpotNodePoolArgs, shared_with: str | None = None
) -> list[Billed]:
    """Return every resource of an endpoint that bills.

    An idle endpoint bills as a parked stack does, once the autoscaler has taken its nodes away;
    `shared_with` is what else runs on them, and then they stay. A cluster that was there before has
    its fee and its nodes without us, and they are not listed.
    """
    nodes = "one node" if pool["max_nodes"] == 1 else f"up to {pool['max_nodes']} nodes"
    shared = "" if shared_with is None else f"shared with {shared_with}; "
    price = "Spot" if pool.get("spot", True) else "standard"
    resources = [
        _billed(
            f"{nodes} of {pool['machine_type']} ({price}), each with a boot disk of "
            f"{pool['disk_gb']} GB; {shared}none without pods",
            parked=shared_with is not None,
        )
    ]
    if cluster.get("existing") is None:
        machine = cluster.get("system_machine_type", "e2-standard-2")
        resources += [
            _billed("cluster fee (Google's free tier may cover one zonal cluster)", parked=True),
            _billed(f"system node, {machine} (standard), with its boot disk", parked=True),
        ]
        if cluster.get("nat", False):
            resources.append(_billed("Cloud NAT with its address, and its traffic", parked=True))
    # KServe keeps models on no disk of their own.
    for server in () if plan.deploy is Deploy.KSERVE else plan.servers:
        pods = server.most_replicas or server.replicas
        disks = "a disk" if pods == 1 else f"up to {pods} disks"
        resources.append(
            _billed(
                f"{disks} of {server.disk_gb} GB for {server.name} ({plan.storage_class})",
                parked=True,
            )
        )
    return [*resources, *_front(plan.expose), _billed("traffic to the internet", parked=False)]


def billed_runtime(plan: ColabPlan, *, makes_bucket: bool) -> list[Billed]:
    """Return what a runtime has besides the nodes that it shares."""
    disks = f"disks of {plan.data_gb} GB and {plan.libraries_gb} GB for the runtime"
    resources = [_billed(f"{disks} ({plan.storage_class})", parked=True)]
    if plan.backup is not None:
        what = "with" if makes_bucket else "which is there: what is in it of"
        resources.append(
            _billed(f"bucket {plan.backup.url}, {what} the runtime's backups", parked=True)
        )
    return resources


def _front(expose: Expose) -> list[Billed]:
    if expose is Expose.INTERNAL:
        return []
    address = _billed("external IPv4 address", parked=True)
    rule = _billed("forwarding rule of the load balancer, and its traffic", parked=True)
    if expose is Expose.LOAD_BALANCER:
        return [address, rule]
    return [address, rule, _billed("Cloud Armor policy with its rules", parked=True)]


def _billed(resource: str, *, parked: bool) -> Billed:
    return {"resource": resource, "running": True, "parked": parked}
