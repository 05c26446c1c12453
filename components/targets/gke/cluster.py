"""A cluster of Google Kubernetes Engine, made or found."""

from __future__ import annotations

import base64

import pulumi
import pulumi_gcp as gcp

from components.targets.gcp.site import Site
from components.targets.gke.args import ClusterArgs, ClusterPath
from components.targets.gke.network import ClusterStanding, standing
from components.targets.gke.nodes import MANAGEMENT, SCOPES, node_account, node_config
from components.targets.kubernetes.access import ClusterAccess
from components.targets.order import once

SYSTEM_POOL = "system"
SYSTEM_DISK_GB = 50
LONGEST_NAME = 40
"""Characters of the name of a cluster or a pool (GKE's own limit)."""
_DATAPLANE_V2 = "ADVANCED_DATAPATH"
_CHANNELS = ("CHANNEL_STANDARD", "CHANNEL_EXPERIMENTAL")
"""Of the kinds of the Gateway API, with each of which there is GKE's controller."""


class Cluster(pulumi.ComponentResource):
    """A zonal cluster with private nodes and one small pool for whatever serves no model.

    It refuses a name that GKE would not take, and a found cluster in which pods could not be what
    they are meant to be: an Autopilot one, or one without Workload Identity, without enforced
    network policies, or without the Gateway controller where that is asked for. Its nodes have no
    address and reach the internet by a NAT; its control plane is reached by its DNS name, where IAM
    decides, or from `control_plane_cidrs` alone.
    """

    path: ClusterPath
    """Which cluster it is, known before it is there."""
    identifier: pulumi.Output[str]
    """The same, but known with the cluster: one in the place of another is to be told from it."""
    name: pulumi.Output[str]
    location: pulumi.Output[str]
    access: pulumi.Output[str]
    """How its control plane is reached: a `ClusterAccess` as JSON. No secret."""
    compute: pulumi.Output[str]
    """The project, known once Compute Engine's API is on."""
    account: pulumi.Output[str]
    """The address of the service account for nodes, known once it has its role."""
    ready: tuple[pulumi.Output[str], ...]
    """Known once pods of the cluster can start, and so gone after them at a destroy."""

    def __init__(
        self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        existing = args.get("existing")
        self.path = existing or ClusterPath(args["project"], args["zone"], args["base_name"])
        if existing is None and len(args["base_name"]) > LONGEST_NAME:
            raise ValueError(
                f"the cluster's name {args['base_name']!r} has {len(args['base_name'])} "
                f"characters, and GKE takes {LONGEST_NAME}: give the stack a shorter name"
            )
        shown = {"cluster": str(self.path)}
        super().__init__("llm-endpoint:gcp:Cluster", name, shown, opts)
        site = Site(
            parent=self,
            name=name,
            base_name=args["base_name"],
            project=self.path.project,
            region=args["region"],
            zone=args["zone"],
            labels=args.get("labels", {}),
        )
        self.compute = site.api("compute")
        container = site.api("container")
        self.account = node_account(site)
        if existing is None:
            self._make(site, args, container)
        else:
            self._find(existing, container, gateway_api=args.get("gateway_api", False))
        self.register_outputs({"name": self.name, "location": self.location, "access": self.access})

    def _make(self, site: Site, args: ClusterArgs, container: pulumi.Output[str]) -> None:
        stands = standing(
            site,
            self.compute,
            args.get("network"),
            args.get("subnetwork"),
            nat=args.get("nat", False),
        )
        cluster = _cluster(site, args, once(container, self.compute), self.account, stands)
        system = gcp.container.NodePool(
            f"{site.name}-system",
            name=SYSTEM_POOL,
            project=container,
            location=site.zone,
            cluster=cluster.name,
            node_count=1,
            management=MANAGEMENT,
            # A new node is there before the old one goes: the gateway is gone for a moment alone.
            upgrade_settings={"strategy": "SURGE", "max_surge": 1, "max_unavailable": 0},
            node_config=node_config(
                machine_type=args.get("system_machine_type", "e2-standard-2"),
                account=self.account,
                disk_gb=SYSTEM_DISK_GB,
                disk_type=None,
                labels=site.labels,
                spot=False,
            ),
            opts=site.named(),
        )
        self.identifier = once(str(self.path), cluster.id)
        self.name, self.location = cluster.name, cluster.location
        self.ready = (system.id, *stands.ready)
        self.access = _access(cluster, by_address=bool(args.get("control_plane_cidrs")))

    def _find(
        self, existing: ClusterPath, container: pulumi.Output[str], *, gateway_api: bool
    ) -> None:
        found = gcp.container.get_cluster_output(
            project=existing.project,
            location=existing.location,
            name=existing.name,
            opts=pulumi.InvokeOutputOptions(parent=self),
        )
        usable = found.apply(
            lambda cluster: check_usable(existing, cluster, gateway_api=gateway_api)
        )
        self.identifier = pulumi.Output.from_input(str(existing))
        self.name = once(existing.name, usable, container, self.compute)
        self.location = once(existing.location, usable)
        self.ready = (usable,)
        self.access = pulumi.Output.unsecret(found.apply(_access_of))


def _cluster(
    site: Site,
    args: ClusterArgs,
    container: pulumi.Output[str],
    account: pulumi.Output[str],
    stands: ClusterStanding,
) -> gcp.container.Cluster:
    cidrs = args.get("control_plane_cidrs", ())
    ranges: gcp.container.ClusterIpAllocationPolicyArgsDict = {}
    if stands.ranges is not None:
        ranges["cluster_secondary_range_name"] = stands.ranges.pods
        ranges["services_secondary_range_name"] = stands.ranges.services
    return gcp.container.Cluster(
        f"{site.name}-cluster",
        name=site.base_name,
        # Its first nodes start as soon as it is there, and have to reach what they start from.
        project=once(container, *stands.ready),
        location=site.zone,
        network=stands.at.network,
        subnetwork=stands.at.subnetwork,
        networking_mode="VPC_NATIVE",
        ip_allocation_policy=ranges,
        # It enforces NetworkPolicies without an add-on; the older one ignores them.
        datapath_provider=_DATAPLANE_V2,
        private_cluster_config={"enable_private_nodes": True},
        control_plane_endpoints_config={
            "dns_endpoint_config": {"allow_external_traffic": not cidrs},
            "ip_endpoints_config": {"enabled": bool(cidrs)},
        },
        master_authorized_networks_config=(
            {
                "cidr_blocks": [{"cidr_block": cidr} for cidr in cidrs],
                "gcp_public_cidrs_access_enabled": False,
            }
            if cidrs
            else None
        ),
        workload_identity_config={"workload_pool": f"{site.project}.svc.id.goog"},
        release_channel={"channel": args.get("release_channel", "regular").upper()},
        enable_shielded_nodes=True,
        # From the beginning, whatever the way in is: turned on later, its kinds come some time
        # after, and what is of these kinds can't be made till then.
        gateway_api_config={"channel": _CHANNELS[0]},
        # Nodes that nobody needs go sooner. No pool is made that is not declared.
        cluster_autoscaling={"enabled": False, "autoscaling_profile": "OPTIMIZE_UTILIZATION"},
        logging_config={"enable_components": ["SYSTEM_COMPONENTS", "WORKLOADS"]},
        # Managed Prometheus would take the system node a part of its small memory.
        monitoring_config={
            "enable_components": ["SYSTEM_COMPONENTS"],
            "managed_prometheus": {"enabled": False},
        },
        # A cluster is made with a pool, which goes at once: ours say what they are. Till then its
        # node runs as ours do, and not as Compute Engine's default account.
        remove_default_node_pool=True,
        initial_node_count=1,
        node_config={"service_account": account, "oauth_scopes": list(SCOPES)},
        resource_labels=site.labels,
        deletion_protection=args.get("keep_data", False),
        opts=pulumi.ResourceOptions(
            parent=site.parent,
            delete_before_replace=True,
            # Without its first pool, GKE answers with another pool's nodes in its place.
            ignore_changes=["nodeConfig"],
            custom_timeouts=pulumi.CustomTimeouts(create="60m", update="60m", delete="60m"),
        ),
    )


def _access(cluster: gcp.container.Cluster, *, by_address: bool) -> pulumi.Output[str]:
    """Return how a made cluster is reached, in the clear."""
    if by_address:
        made = pulumi.Output.all(
            cluster.endpoint,
            cluster.master_auth.apply(lambda known: known.cluster_ca_certificate),
        ).apply(lambda both: _by_address(both[0], both[1]))
    else:
        made = cluster.control_plane_endpoints_config.apply(
            lambda endpoints: _by_name(
                endpoints.dns_endpoint_config.endpoint if endpoints.dns_endpoint_config else None
            )
        )
    return pulumi.Output.unsecret(made)


def _by_name(endpoint: str | None) -> str:
    """Return access by a cluster's DNS name, for which Google's public CA has signed."""
    if not endpoint:
        raise pulumi.RunError("GKE has given the cluster no DNS endpoint: run scripts/up again")
    return ClusterAccess(f"https://{endpoint}").as_json()


def _by_address(address: str, certificate: str | None) -> str:
    """Return access by a cluster's address; `certificate` is the Base64 of its CA's PEM."""
    pem = base64.b64decode(certificate or "").decode()
    return ClusterAccess(f"https://{address}", pem).as_json()


def _access_of(found: gcp.container.GetClusterResult) -> str:
    """Return access to a found cluster: by its DNS name where that is open, else by its address."""
    for endpoints in found.control_plane_endpoints_configs:
        for dns in endpoints.dns_endpoint_configs:
            if dns.allow_external_traffic and dns.endpoint:
                return _by_name(dns.endpoint)
    certificates = [known.cluster_ca_certificate for known in found.master_auths]
    return _by_address(found.endpoint, certificates[0] if certificates else None)


def check_usable(
    path: ClusterPath, found: gcp.container.GetClusterResult, *, gateway_api: bool = False
) -> str:
    """Return the id of a found cluster that takes our pool. Raises `pulumi.RunError`.

    With `gateway_api` it also has to have the Gateway controller.
    """
    update = (
        f"gcloud container clusters update {path.name} --project {path.project} "
        f"--location {path.location}"
    )
    if found.enable_autopilot:
        raise pulumi.RunError(
            f"the cluster {path} is an Autopilot one, which takes no pools of its user's\n"
            "    next: name a Standard cluster, or scripts/pulumi config rm cluster"
        )
    if not any(config.workload_pool for config in found.workload_identity_configs):
        raise pulumi.RunError(
            f"the cluster {path} has no Workload Identity, so that pods would be what their node "
            f"is\n    next: {update} --workload-pool {path.project}.svc.id.goog"
        )
    if not _enforces_policies(found):
        raise pulumi.RunError(
            f"the cluster {path} does not enforce network policies, so that any pod in it would "
            "reach the servers without a key\n"
            f"    next: {update} --update-addons NetworkPolicy=ENABLED, then {update} "
            "--enable-network-policy, which makes its nodes anew; or name a cluster with Dataplane "
            "V2, or scripts/pulumi config rm cluster"
        )
    if gateway_api and not any(config.channel in _CHANNELS for config in found.gateway_api_configs):
        raise pulumi.RunError(
            f"the cluster {path} has no Gateway API, which expose gateway needs\n"
            f"    next: {update} --gateway-api standard, and some minutes later scripts/up again; "
            "or scripts/pulumi config set expose load_balancer"
        )
    return found.id


def _enforces_policies(found: gcp.container.GetClusterResult) -> bool:
    """Whether network policies hold there: by Dataplane V2, or by the older path's add-on."""
    return found.datapath_provider == _DATAPLANE_V2 or any(
        policy.enabled for policy in found.network_policies
    )
