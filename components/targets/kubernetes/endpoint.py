"""A verified endpoint in a namespace of a Kubernetes cluster."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence

import pulumi
from pulumi_command import local

from components.compose import form_for
from components.endpoint import StackOutputs, VerifiedEndpoint, parked_outputs
from components.keys import api_keys
from components.rendering.kubernetes.deployed import WORKLOADS
from components.rendering.kubernetes.manifests import Manifest, digest
from components.rendering.kubernetes.names import GATEWAY, NAME_LABEL
from components.rendering.kubernetes.plan import Deploy, Expose, PodPlan, PodServer
from components.rendering.kubernetes.render import render
from components.rendering.process import Variable
from components.targets.authority import own_authority
from components.targets.kubernetes.args import PodEndpointArgs
from components.targets.kubernetes.late import Late, filled, late
from components.targets.kubernetes.objects import (
    KubernetesObject,
    Objects,
    cluster_provider,
    kind_of,
    labels_of,
)
from components.targets.kubernetes.ovms_server import OvmsServer
from components.targets.order import once

READY_PATH = "/health"
KEY_SECONDS = 180
"""Seconds for which a new key may be refused: a node takes up to two minutes to hand a changed
Secret to a pod, and a request may have to be repeated."""
PORT = 443
LOOPBACK = ("localhost", "127.0.0.1")

_ORDER = (
    frozenset({"Namespace"}),
    # All that is in none of the others: what pods mount, as whom they run, who reaches them.
    frozenset[str](),
    frozenset({"Deployment", "CronJob", "HealthCheckPolicy", "GCPBackendPolicy"}),
    # The way in, once what filters it is there.
    frozenset({"HTTPRoute"}),
)
"""Kinds by when they come; at the end they go the other way round."""
_UNLISTED = 1


class PodEndpoint(pulumi.ComponentResource):
    """A namespace that serves models over HTTPS with a key, and that has proved it.

    It refuses engines that its `place` does not take, and a way in without a host. The servers are
    scaled by a command, so that what an idle job has parked is not changed back and forth; the next
    deployment wakes it; objects of other controllers say it themselves. No key is in the cluster,
    only their hashes.
    """

    outputs: StackOutputs
    provider: pulumi.ProviderResource
    """The cluster's, for what else of the stack is sent there."""
    certificate: pulumi.Output[str]
    """PEM of the authority that has signed for the gateway, known before anything serves."""

    def __init__(
        self, name: str, args: PodEndpointArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        plan = args["plan"]
        host = _host(args)
        for server in plan.servers:
            form_for(server.launch, args["place"])
        rendered = render(plan)
        shown = {
            "namespace": plan.namespace,
            "models": [server.model for server in plan.servers],
            "digest": rendered.digest(),
        }
        super().__init__("llm-endpoint:kubernetes:PodEndpoint", name, shown, opts)
        keys = api_keys(name, args["keys"], args["python"], self)
        made = own_authority(name, _signed_for(plan, host), args["python"], self)
        known = late(keys, made, host, args.get("registry"))
        self.certificate = known.certificate
        provider = self.provider = cluster_provider(
            name,
            self,
            access=args["access"],
            identifier=args["cluster_identifier"],
            ready=args["ready"],
            python=args["python"],
        )
        sent, servers = self._send(name, args, rendered.objects, known, provider)
        scaled = self._scaled(name, args, servers)
        certificate = None if plan.expose is Expose.GATEWAY else known.certificate
        if plan.parked:
            self.outputs = parked_outputs(
                plan.servers[0].launch,
                args.get("embedding_model"),
                {key: command.stdout for key, command in keys.items()},
                billing=args["billing"],
                ca_certificate=certificate,
            )
        else:
            triggers = [
                rendered.digest(),
                *scaled,
                known.certificate,
                # A key is another one exactly when its command is.
                *(command.id for command in keys.values()),
                *args.get("triggers", ()),
            ]
            self.outputs = self._verify(
                name,
                args,
                keys,
                # Nothing answers before all of it is there.
                host=once(host, *(one.id for one in sent)),
                certificate=certificate,
                triggers=triggers,
            )
        self.register_outputs({"state": self.outputs.state, "namespace": plan.namespace})

    def _send(
        self,
        name: str,
        args: PodEndpointArgs,
        manifests: Sequence[Manifest],
        known: Late,
        provider: pulumi.ProviderResource,
    ) -> tuple[list[KubernetesObject], list[OvmsServer]]:
        """Register all objects: those of a server below its component, the others below this."""
        objects = Objects(name, provider)
        names = {server.name for server in args["plan"].servers}
        own = [filled(one, known) for one in manifests if _owner(one) not in names]
        sent: list[KubernetesObject] = []
        servers: list[OvmsServer] = []
        for rank in range(len(_ORDER)):
            first = [*(args.get("front", ()) if rank else ()), *sent]
            sent += [
                objects.send(
                    manifest,
                    self,
                    first,
                    # All claims, and so the models' disks, go with it.
                    protect=args["plan"].keep_data and kind_of(manifest) == "Namespace",
                )
                for manifest in own
                if _rank(manifest) == rank
            ]
            if rank == _UNLISTED:
                servers = [
                    self._server(name, args, server, manifests, objects, sent)
                    for server in args["plan"].servers
                ]
        return [*sent, *(one for server in servers for one in server.sent)], servers

    def _server(  # noqa: PLR0917
        self,
        name: str,
        args: PodEndpointArgs,
        server: PodServer,
        manifests: Sequence[Manifest],
        objects: Objects,
        sent: Sequence[pulumi.Resource],
    ) -> OvmsServer:
        plan = args["plan"]
        own = [one for one in manifests if _owner(one) == server.name]
        jobs = [one for one in own if kind_of(one) == "Job"]
        return OvmsServer(
            f"{name}-{server.name}",
            {
                "server": server,
                "manifests": own,
                "workload": WORKLOADS[plan.deploy],
                "objects": objects,
                "first": [*sent, *([self._rest(name, args, server, jobs)] if jobs else [])],
                "keep_data": plan.keep_data,
            },
            pulumi.ResourceOptions(parent=self),
        )

    def _rest(
        self, name: str, args: PodEndpointArgs, server: PodServer, jobs: Sequence[Manifest]
    ) -> local.Command:
        """Take the server's pods, whose room and disk its Job needs, each time that is another."""
        return local.Command(
            f"{name}-{server.name}-rest",
            create=shlex.join([*args["python"], "-m", "scripts.gke.rest"]),
            environment={
                Variable.CLUSTER: args["access"],
                Variable.NAMESPACE: args["plan"].namespace,
                Variable.REST: json.dumps([server.name]),
            },
            triggers=[digest(jobs)],
            logging=local.Logging.STDERR,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _scaled(
        self, name: str, args: PodEndpointArgs, servers: Sequence[OvmsServer]
    ) -> list[pulumi.Output[str]]:
        """Return what changes when the servers are scaled, or are others."""
        if args["plan"].deploy is Deploy.DEPLOYMENT:
            return [self._scale(name, args, servers).id]
        return [server.uid for server in servers]

    def _scale(
        self, name: str, args: PodEndpointArgs, servers: Sequence[OvmsServer]
    ) -> local.Command:
        """Give the servers their pods, anew where they are others or were parked in between."""
        wanted = _wanted(args["plan"])
        return local.Command(
            f"{name}-scale",
            create=shlex.join([*args["python"], "-m", "scripts.gke.scale"]),
            environment={
                Variable.CLUSTER: args["access"],
                Variable.NAMESPACE: args["plan"].namespace,
                Variable.SCALE: wanted,
            },
            triggers=[wanted, args.get("parked_at", ""), *(server.uid for server in servers)],
            logging=local.Logging.STDERR,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _verify(
        self,
        name: str,
        args: PodEndpointArgs,
        keys: Mapping[str, local.Command],
        *,
        host: pulumi.Input[str],
        certificate: pulumi.Output[str] | None,
        triggers: list[pulumi.Input[str]],
    ) -> StackOutputs:
        plan = args["plan"]
        inside = plan.expose is Expose.INTERNAL
        endpoint = VerifiedEndpoint(
            name,
            {
                "url": pulumi.Output.format("https://{0}", host),
                "keys": {key: command.stdout for key, command in keys.items()},
                "launch": plan.servers[0].launch,
                "verify": [*args["python"], "-m", "scripts.verify"],
                "triggers": triggers,
                "wait_seconds": args["ready_seconds"],
                "streams": args["streams"],
                "min_tokens_per_second": args.get("min_tokens_per_second"),
                "embedding_model": args.get("embedding_model"),
                "engine_package": args["engine_package"],
                "billing": args["billing"],
                "ready_path": READY_PATH,
                "ca_certificate": certificate,
                "address": args.get("address"),
                "boot": f"kubernetes:{plan.namespace}",
                "via": f"kubernetes:{plan.namespace}/{GATEWAY}/{PORT}" if inside else None,
                "cluster": args["access"],
                "classic": [str(model) for server in plan.servers for model in server.models],
                "allowed_cidrs": plan.allowed_cidrs,
                "key_seconds": KEY_SECONDS,
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        return endpoint.outputs


def _host(args: PodEndpointArgs) -> pulumi.Input[str]:
    """Return what clients ask for. Raises ValueError where nobody has said it."""
    host = args.get("host")
    if host is None:
        host = args["plan"].host
    if host is None:
        raise ValueError(
            f"expose {args['plan'].expose.value} has an address that is not the plan's to know: "
            "give the endpoint its host"
        )
    return host


def _signed_for(plan: PodPlan, host: pulumi.Input[str]) -> pulumi.Input[str]:
    """Return what the authority can sign for: inside a cluster also where a port-forward ends."""
    if plan.expose is not Expose.INTERNAL:
        return host
    return pulumi.Output.format("{0} {1}", host, " ".join(LOOPBACK))


def _wanted(plan: PodPlan) -> str:
    """Return how many pods each server is to have, as JSON."""
    return json.dumps(
        {
            server.name: (
                {"replicas": 0, "most": None}
                if plan.parked
                else {"replicas": server.replicas, "most": server.most_replicas}
            )
            for server in plan.servers
        }
    )


def _owner(manifest: Manifest) -> str | None:
    """Return the name of what an object belongs to, a server's among them."""
    return labels_of(manifest).get(NAME_LABEL)


def _rank(manifest: Manifest) -> int:
    for rank, kinds in enumerate(_ORDER):
        if kind_of(manifest) in kinds:
            return rank
    return _UNLISTED
