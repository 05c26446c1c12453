"""What objects say that is known only while they are deployed: keys, the authority, the host."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import pulumi
from pulumi_command import local

from components.rendering.kubernetes.manifests import Manifest
from components.rendering.kubernetes.names import (
    AUTHORITY_ANNOTATION,
    CA_CERTIFICATE,
    CA_KEY,
    CA_SECRET,
    GATEWAY,
    HOST_CONFIG,
    HOST_KEY,
    KEYS_FILE,
    KEYS_SECRET,
    REGISTRY_SECRET,
)
from components.targets import authority
from components.targets.kubernetes.objects import kind_of, name_of


@dataclass(frozen=True)
class Late:
    """What is known late. Hashes, key and registry are secret; certificate and host are not."""

    hashes: pulumi.Output[str]
    """A JSON object: the sha256 of each API key in hex by the key's name."""
    certificate: pulumi.Output[str]
    certificate_key: pulumi.Output[str]
    host: pulumi.Input[str]
    registry: pulumi.Output[Mapping[str, str]] | None = None
    """The data of the Secret by which pods read their registry; None where there is no such one."""


def late(
    keys: Mapping[str, local.Command],
    made: local.Command,
    host: pulumi.Input[str],
    registry: pulumi.Output[Mapping[str, str]] | None = None,
) -> Late:
    """Return what the commands of the keys and of the authority printed, as objects say it.

    `registry` is as `Late` has it.
    """
    printed = pulumi.Output.all(**{name: command.stdout for name, command in keys.items()})
    return Late(
        hashes=pulumi.Output.secret(printed.apply(_hashed)),
        certificate=authority.certificate(made.stdout),
        certificate_key=pulumi.Output.secret(
            made.stdout.apply(lambda text: json.loads(text)["key"])
        ),
        host=host,
        registry=None if registry is None else pulumi.Output.secret(registry),
    )


def filled(manifest: Manifest, known: Late) -> Manifest:
    """Return `manifest` with what belongs into it of `known`: most objects need nothing."""
    match kind_of(manifest), name_of(manifest):
        case "Secret", name if name == KEYS_SECRET:
            return {**manifest, "stringData": {KEYS_FILE: known.hashes}}
        case "Secret", name if name == CA_SECRET:
            files = {CA_CERTIFICATE: known.certificate, CA_KEY: known.certificate_key}
            # As a whole: what is beside a secret is not to be told from it.
            return {**manifest, "stringData": pulumi.Output.secret(files)}
        case "Secret", name if name == REGISTRY_SECRET:
            if known.registry is None:
                raise ValueError(f"the Secret {name} has no data: give the endpoint its registry's")
            return {**manifest, "stringData": known.registry}
        case "ConfigMap", name if name == HOST_CONFIG:
            return {**manifest, "data": {HOST_KEY: known.host}}
        case "Deployment", name if name == GATEWAY:
            return _with_authority(manifest, known)
        case _:
            return manifest


def _with_authority(manifest: Manifest, known: Late) -> Manifest:
    """Return the Deployment whose pods begin anew with another authority, which Caddy reads once.

    Another host has another authority.
    """
    changed = copy.deepcopy(manifest)
    held = changed
    for step in ("spec", "template", "metadata"):
        held = cast("Manifest", held[step])
    given = cast("Mapping[str, object]", held.get("annotations", {}))
    digest = known.certificate.apply(lambda pem: hashlib.sha256(pem.encode()).hexdigest())
    held["annotations"] = {**given, AUTHORITY_ANNOTATION: digest}
    return changed


def _hashed(keys: Mapping[str, str]) -> str:
    hashes = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in keys.items()}
    return json.dumps(hashes, sort_keys=True) + "\n"
