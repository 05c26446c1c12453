"""What the renderer makes of a plan for pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import yaml

from components.rendering.kubernetes.manifests import Manifest, digest
from components.rendering.readable_yaml import ReadableDumper


@dataclass(frozen=True)
class RenderedObjects:
    """Everything of a plan, in an order in which it can be applied: the Namespace first.

    The objects that `names.KEYS_SECRET`, `CA_SECRET` and, where the plan has no host,
    `HOST_CONFIG` name have no data.
    """

    objects: tuple[Manifest, ...]

    def digest(self) -> str:
        """Sha256 of all objects, as 64 hex digits."""
        return digest(self.objects)

    def files(self) -> Mapping[str, str]:
        """Return each object as YAML, by a path that keeps their order."""
        return {
            f"kubernetes/{number:02}-{_name(manifest)}.yaml": _text(manifest)
            for number, manifest in enumerate(self.objects)
        }


def _name(manifest: Manifest) -> str:
    metadata = cast("dict[str, object]", manifest["metadata"])
    return f"{str(manifest['kind']).lower()}-{metadata['name']}"


def _text(manifest: Manifest) -> str:
    return yaml.dump(
        manifest, Dumper=ReadableDumper, sort_keys=False, allow_unicode=True, width=100, indent=2
    )
