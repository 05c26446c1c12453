"""A verified Colab runtime in a namespace of a Kubernetes cluster."""

from __future__ import annotations

import copy
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import cast

import pulumi
from pulumi_command import local

from components.keys import api_keys
from components.rendering.kubernetes.colab.names import (
    AUTHORITY_CONFIG,
    AUTHORITY_FILE,
    BACKUP_SECRET,
    PORT,
    RUNTIME,
    SECRETS_ANNOTATION,
    TOKEN_KEY,
    TOKEN_SECRET,
)
from components.rendering.kubernetes.colab.plan import ColabPlan
from components.rendering.kubernetes.colab.render import render
from components.rendering.kubernetes.manifests import Manifest
from components.rendering.process import Variable
from components.targets.kubernetes.colab_args import ColabRuntimeArgs
from components.targets.kubernetes.objects import KubernetesObject, Objects, kind_of, name_of

KEY_NAME = "colab"
"""The token's name among commands that make keys."""
_KEPT = frozenset({"Namespace", "PersistentVolumeClaim"})
"""What notebooks' files go with."""
_ORDER = (
    frozenset({"Namespace"}),
    # All that is in none of the others: what the pod mounts, as whom it runs, who reaches it.
    frozenset[str](),
    frozenset({"Deployment", "CronJob"}),
)
"""Kinds by when they come; at the end they go the other way round."""
_UNLISTED = 1


class ColabRuntime(pulumi.ComponentResource):
    """A notebook server for Colab that nobody reaches but by a port-forward, with a token.

    It refuses a plan whose backup takes an access key without one, and one with an endpoint without
    its certificate. Its disks are never made anew while a pod has them, and never without a backup.
    How many pods there are is scaled by a command, so that what an idle job has parked is not
    changed back and forth; the next deployment wakes it, and verifies it again.
    """

    token: pulumi.Output[str]
    """Secret."""
    port_forward: str
    """The command that opens a way to it."""
    url: pulumi.Output[str]
    """What Colab is given while that way is open. Secret: it has the token in it."""
    receipt: pulumi.Output[Mapping[str, object]]
    """What the verification found, or that it is parked."""

    def __init__(
        self, name: str, args: ColabRuntimeArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        plan = args["plan"]
        _check(args)
        rendered = render(plan)
        shown = {
            "namespace": plan.namespace,
            "image": plan.images.runtime,
            "digest": rendered.digest(),
        }
        super().__init__("llm-endpoint:kubernetes:ColabRuntime", name, shown, opts)
        generation = {KEY_NAME: args["token_generation"]}
        made = api_keys(name, generation, args["python"], self)[KEY_NAME]
        self.token = made.stdout
        self.port_forward = (
            f"kubectl port-forward --namespace {plan.namespace} service/{RUNTIME} {PORT}:{PORT}"
        )
        self.url = pulumi.Output.secret(
            pulumi.Output.format("http://127.0.0.1:{0}/?token={1}", PORT, self.token)
        )
        sent = self._send(name, args, rendered.objects)
        (pod,) = (one for one, manifest in sent if kind_of(manifest) == "Deployment")
        scaled = self._scale(name, args, pod.uid)
        if plan.replicas:
            triggers = [rendered.digest(), scaled.id, made.id, *args.get("triggers", ())]
            self.receipt = self._verify(name, args, [one for one, _ in sent], triggers)
        else:
            parked: Mapping[str, object] = {"status": "parked"}
            self.receipt = pulumi.Output.from_input(parked)
        self.register_outputs({"namespace": plan.namespace, "receipt": self.receipt})

    def _send(
        self, name: str, args: ColabRuntimeArgs, manifests: Sequence[Manifest]
    ) -> list[tuple[KubernetesObject, Manifest]]:
        objects = Objects(name, args["provider"])
        sent: list[tuple[KubernetesObject, Manifest]] = []
        before = [*args.get("first", ()), *self._rest(name, args)]
        for rank in range(len(_ORDER)):
            first = [*(before if rank else ()), *(one for one, _ in sent)]
            sent += [
                (
                    objects.send(
                        self._filled(manifest, args),
                        self,
                        first,
                        protect=args["plan"].keep_data and kind_of(manifest) in _KEPT,
                        ignore_changes=_ignored(args["plan"], manifest),
                    ),
                    manifest,
                )
                for manifest in manifests
                if _rank(manifest) == rank
            ]
        return sent

    def _rest(self, name: str, args: ColabRuntimeArgs) -> list[local.Command]:
        """Take the pod before its disks may be made anew: one is deleted once no pod has it, and
        the command that scales comes after them."""
        plan = args["plan"]
        if not _makes_disks_anew(plan):
            return []
        return [
            local.Command(
                f"{name}-rest",
                create=shlex.join([*args["python"], "-m", "scripts.gke.rest"]),
                environment={
                    Variable.CLUSTER: args["access"],
                    Variable.NAMESPACE: plan.namespace,
                    Variable.REST: json.dumps([f"Deployment/{RUNTIME}"]),
                },
                triggers=[plan.storage_class],
                logging=local.Logging.STDERR,
                opts=pulumi.ResourceOptions(parent=self),
            )
        ]

    def _filled(self, manifest: Manifest, args: ColabRuntimeArgs) -> Manifest:
        """Return `manifest` with what of it is known only now: most objects need nothing."""
        keys = args.get("backup_secret") or {}
        match kind_of(manifest), name_of(manifest):
            case "Secret", name if name == TOKEN_SECRET:
                return {**manifest, "stringData": {TOKEN_KEY: self.token}}
            case "Secret", name if name == BACKUP_SECRET:
                # As a whole: what is beside a secret is not to be told from it.
                return {**manifest, "stringData": pulumi.Output.secret(dict(keys))}
            case "ConfigMap", name if name == AUTHORITY_CONFIG:
                return {**manifest, "data": {AUTHORITY_FILE: args.get("ca_certificate")}}
            case "Deployment", name if name == RUNTIME:
                return _annotated(manifest, _digest(self.token, keys))
            case _:
                return manifest

    def _scale(self, name: str, args: ColabRuntimeArgs, pod: pulumi.Input[str]) -> local.Command:
        """Give the runtime its pod, anew where it is another one or was parked in between."""
        plan = args["plan"]
        wanted = json.dumps(
            {RUNTIME: {"replicas": plan.replicas, "most": None, "kind": "Deployment"}}
        )
        return local.Command(
            f"{name}-scale",
            create=shlex.join([*args["python"], "-m", "scripts.gke.scale"]),
            environment={
                Variable.CLUSTER: args["access"],
                Variable.NAMESPACE: plan.namespace,
                Variable.SCALE: wanted,
            },
            triggers=[wanted, args.get("parked_at", ""), pod],
            logging=local.Logging.STDERR,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _verify(
        self,
        name: str,
        args: ColabRuntimeArgs,
        sent: Sequence[KubernetesObject],
        triggers: list[pulumi.Input[str]],
    ) -> pulumi.Output[Mapping[str, object]]:
        words = [*args["python"], "-m", "scripts.runtime.verify", "--json"]
        words += ["--wait-seconds", str(args["ready_seconds"]), "--stack", pulumi.get_stack()]
        verification = local.Command(
            f"{name}-verification",
            create=shlex.join(words),
            environment={
                Variable.CLUSTER: args["access"],
                Variable.NAMESPACE: args["plan"].namespace,
                Variable.RUNTIME_TOKEN: self.token,
            },
            triggers=triggers,
            # The receipt is shown as an output; the log gets the progress.
            logging=local.Logging.STDERR,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(sent)),
        )
        # A plugin may lay the token's secretness on it; it was scrubbed where it was written.
        return pulumi.Output.unsecret(verification.stdout).apply(_read_receipt)


def _check(args: ColabRuntimeArgs) -> None:
    """Raise ValueError for a plan that lacks what only the deployment knows."""
    plan = args["plan"]
    if plan.backup is not None and plan.backup.has_secret and not args.get("backup_secret"):
        raise ValueError(f"backups go to {plan.backup.url}: give the runtime its access key")
    if plan.endpoint is not None and args.get("ca_certificate") is None:
        raise ValueError(f"notebooks ask {plan.endpoint}: give the runtime its authority")


def _ignored(plan: ColabPlan, manifest: Manifest) -> tuple[str, ...]:
    """Return what of an object stays as it was.

    Another class makes a disk anew, which waits for the pod that has it, and deletes its files.
    """
    if kind_of(manifest) != "PersistentVolumeClaim" or _makes_disks_anew(plan):
        return ()
    return ("spec.storageClassName",)


def _makes_disks_anew(plan: ColabPlan) -> bool:
    """Whether disks of another class take the place of the old: their files come back then."""
    return plan.backup is not None and not plan.replicas


def _annotated(manifest: Manifest, digest: pulumi.Output[str]) -> Manifest:
    """Return the Deployment whose pod begins anew with another `digest`."""
    changed = copy.deepcopy(manifest)
    held = changed
    for step in ("spec", "template", "metadata"):
        held = cast("Manifest", held[step])
    given = cast("Mapping[str, object]", held.get("annotations", {}))
    held["annotations"] = {**given, SECRETS_ANNOTATION: digest}
    return changed


def _digest(token: pulumi.Output[str], keys: Mapping[str, pulumi.Input[str]]) -> pulumi.Output[str]:
    """Return what tells these secrets from others, and tells nobody what they are.

    The token in it is as long as a key: who has the digest can try no access key on it.
    """
    known = pulumi.Output.all(token, *(keys[name] for name in sorted(keys)))
    return pulumi.Output.unsecret(
        known.apply(lambda values: hashlib.sha256(json.dumps(values).encode()).hexdigest())
    )


def _rank(manifest: Manifest) -> int:
    for rank, kinds in enumerate(_ORDER):
        if kind_of(manifest) in kinds:
            return rank
    return _UNLISTED


def _read_receipt(stdout: str) -> Mapping[str, object]:
    return json.loads(stdout)
