"""Images are named by their digest: a tag may mean another one tomorrow."""

from __future__ import annotations

import re
from collections.abc import Iterator

from policy.resources import Resource, at, each, pairs, text
from policy.rule import AnyRule, Options, Rule, Violation
from policy.rules.machines import is_machine, machine_settings
from policy.rules.pods import pod_specs

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_LISTS = ("containers", "initContainers", "ephemeralContainers")
_IN_ONE_TEXT = ("image",), ("image_name",), ("predictor", "model", "image")
"""Where the specs of operators' and KServe's custom resources have one besides pods."""
_BUILT = "built"


def _by_digest(resource: Resource, _: Options) -> Iterator[Violation]:
    for image in sorted(set(_images(resource))):
        if not _DIGEST.search(image):
            yield Violation(
                resource,
                image,
                f"{resource.name} runs {image}, which names no digest: scripts/pins looks it up, "
                "and scripts/up that of an image in the configuration (container_image, "
                "runtime_image)",
            )


def _images(resource: Resource) -> Iterator[str]:
    for spec in pod_specs(resource):
        for name in _LISTS:
            for container in each(spec, name):
                image = text(container, "image")
                # A controller fills in what has none.
                if image:
                    yield image
        for volume in each(spec, "volumes"):
            if at(volume, "image") is not None:
                yield text(volume, "image", "reference")
    if resource.type.startswith("kubernetes:"):
        for path in _IN_ONE_TEXT:
            image = at(resource.props, "spec", *path)
            if isinstance(image, str):
                yield image
    if is_machine(resource):
        settings = machine_settings(resource) or {}
        for engine in pairs(settings, "engines").values():
            image = pairs(engine, "image")
            if image and at(image, "kind") != _BUILT:
                yield text(image, "reference")


RULES: tuple[AnyRule, ...] = (
    Rule("images-by-digest", "Container images are named by their digest", "mandatory", _by_digest),
)
