"""What the keys of any engine in a container have in common: its image, and what is its alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from components.engines import llama_cpp, ovms, vllm
from components.models.reference import HubFile, UrlFile
from components.settings.base import Problem, Settings

IMAGE = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9._/:-]*[a-z0-9])(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))"
    r"(?:@sha256:(?P<digest>[0-9a-f]{64}))?"
)

_PUBLISHED = {
    "llama.cpp": llama_cpp.NAME,
    "vllm-openai": vllm.NAME,
    "model_server": ovms.NAME,
}
"""The engine in an image, by the last part of the names that their publishers give."""


def is_gguf(reference: object) -> bool:
    """Whether a reference names a GGUF file, or a repository that says it has them."""
    if isinstance(reference, HubFile):
        return reference.selector is not None or "gguf" in reference.repo.lower()
    return isinstance(reference, UrlFile)


def name_and_tag(reference: str | None) -> tuple[str, str]:
    """Return the name and the tag of an image's reference; empty for none."""
    match = IMAGE.fullmatch(reference or "")
    return (match["name"], match["tag"]) if match else ("", "")


def key_is_of(settings: Settings, key: str, its: str, engine: str) -> Iterator[Problem]:
    """Yield what is wrong where `key`, which only the engine `its` reads, is set with `engine`."""
    default = type(settings).model_fields[key].default
    if engine == its or getattr(settings, key) == default:
        return
    yield Problem(
        key,
        f"it is for {its}, and engine is {engine!r}",
        f"scripts/pulumi config rm {key}, or scripts/pulumi config set engine {its}",
    )


def image_of_another_engine(name: str, engine: str, engines: Iterable[str]) -> Iterator[Problem]:
    """Yield what is wrong where the image of that name has another engine than `engine`.

    `engines` are those that the program serves with.
    """
    its = _PUBLISHED.get(name.rpartition("/")[2], engine)
    if its == engine:
        return
    other = f", or scripts/pulumi config set engine {its}" if its in engines else ""
    yield Problem(
        "container_image",
        f"that is the image of {its}, and engine is {engine!r}",
        f"scripts/pulumi config rm container_image{other}",
    )


def image_without_digest(reference: str) -> Iterator[Problem]:
    """Yield what is wrong where an image's reference may mean another image tomorrow."""
    if "@sha256:" in reference:
        return
    yield Problem(
        "container_image",
        "it has no digest, without which a tag may mean another image tomorrow",
        "scripts/up STACK, which looks it up and records it, or python -m scripts.resolve STACK",
    )
