"""A pool of nodes that serve models, of which there are none while no pod asks for one."""

from __future__ import annotations

import pulumi
import pulumi_gcp as gcp

from components.rendering.kubernetes.plan import POOL_LABEL
from components.targets.gke.args import SpotNodePoolArgs
from components.targets.gke.nodes import MANAGEMENT, node_config


class SpotNodePool(pulumi.ComponentResource):
    """Spot nodes for models: tainted and labelled, from none to `max_nodes` by the pods there are.

    It refuses a taint whose key or value is empty, which GKE would take for none. The cluster's
    autoscaler makes nodes of it from the labels and taints that are declared here.
    """

    id: pulumi.Output[str]
    """Changes when the pool is another one."""

    def __init__(
        self, name: str, args: SpotNodePoolArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        taint, parked = args["taint"], args.get("parked", False)
        if taint is not None and not (taint.key and taint.value):
            raise ValueError(f"the pool's taint is {taint}: GKE needs a key and a value")
        shown = {"machine_type": args["machine_type"], "max_nodes": args["max_nodes"]}
        super().__init__("llm-endpoint:gcp:SpotNodePool", name, shown, opts)
        spot = args.get("spot", True)
        config = node_config(
            machine_type=args["machine_type"],
            account=args["account"],
            disk_gb=args["disk_gb"],
            disk_type=args.get("disk_type"),
            labels=args.get("labels", {}),
            spot=spot,
        )
        config["spot"] = spot
        config["labels"] = {POOL_LABEL: args["base_name"]}
        if taint is not None:
            config["taints"] = [{"key": taint.key, "value": taint.value, "effect": "NO_SCHEDULE"}]
        seconds = args.get("max_run_seconds")
        if seconds is not None:
            config["max_run_duration"] = f"{seconds}s"
        pool = gcp.container.NodePool(
            f"{name}-nodes",
            name=args["base_name"],
            project=args["project"],
            location=args["location"],
            cluster=args["cluster"],
            node_locations=[args["zone"]],
            # With an autoscaler the count is its own; a parked pool has none to fight.
            node_count=0 if parked else None,
            autoscaling=(
                None
                if parked
                else {
                    "total_min_node_count": 0,
                    "total_max_node_count": args["max_nodes"],
                    # Wherever there is room: Spot VMs are not to be spread, but to be had.
                    "location_policy": "ANY",
                }
            ),
            management=MANAGEMENT,
            # No node beside those that are paid for: large machines are short, and pods come back.
            upgrade_settings={"strategy": "SURGE", "max_surge": 0, "max_unavailable": 1},
            node_config=config,
            opts=pulumi.ResourceOptions(
                parent=self,
                delete_before_replace=True,
                custom_timeouts=pulumi.CustomTimeouts(create="30m", update="60m", delete="30m"),
            ),
        )
        self.id = pool.id
        self.register_outputs({"id": self.id})
