"""A stack's outputs, as its program returns them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from emulator.mocks.recording import Run, Seen
from scripts.reference.first_up import NOTHING, PARKED, FirstUps, Given, can_park
from stacks import Program

DESCRIPTIONS: Mapping[str, str] = {
    "state": "`serving` or `parked`.",
    "endpoint_url": "The endpoint's origin, scheme included.",
    "openai_base_url": "What OpenAI's clients take as `base_url`: the origin with `/v1`.",
    "model": "The model's id as the server lists it.",
    "embedding_model": "The id that answers `/v1/embeddings`, where one does.",
    "engine": "What serves the model.",
    "api_key": "The key named `default`.",
    "api_keys": "All keys, by name.",
    "ca_certificate": "The authority's certificate, where it is the stack's own.",
    "verification": "The receipt of the checks: each with its outcome, time, and what was seen.",
    "billing": "What bills while it runs, and while it is parked.",
    "client_snippet": "Python with the OpenAI client, run in the checkout.",
    "cluster": "How the cluster's control plane is reached, as JSON without a credential.",
    "models_url": "Where the classic models lie, with `classic_models`.",
    "port_forward": "The `kubectl` command that opens a way to the runtime.",
    "colab_url": "The URL that Colab takes once that way is open. It has the token in it.",
    "runtime": "The receipt of the runtime's checks.",
    "registry": "The registry's URL, which other stacks take as their key `registry`.",
    "models": "What lies in the registry, each as `NAME@VERSION`.",
    "state_backend": "The bucket's URL, as Pulumi takes it for a backend.",
    "secrets_provider": "The key's URL, as Pulumi takes it for a secrets provider.",
    "github_repository": "The repository whose workflows are let in.",
    "github_environment": "The GitHub environment whose jobs may deploy.",
    "github_branch": "The branch whose jobs may deploy.",
    "github_variables": "The variables that the workflows read, name and value.",
}
"""By an output's name, what it is: the same on every stack that has it."""
_NO_ENDPOINT = "None: it has no endpoint."
_FURTHER: Mapping[str, Given] = {
    name: {"registry": "gs://models", "classic_models": "resnet50@1"}
    for name in ("gke-ovms", "gke-colab")
}
"""By a program's name, a configuration that has outputs which its first `up` has not."""
_SHOWN_LENGTH = 30


def output_table(program: Program, first_ups: FirstUps) -> str:
    """Return a Markdown table of the outputs: name, secret or not, while parked, meaning.

    Raises KeyError for an output that has no description.
    """
    seen = first_ups.of(program, _FURTHER.get(program.name, NOTHING)).outputs
    parked = first_ups.of(program, PARKED) if can_park(program) else None
    columns = ["Output", "Secret", *(["While parked"] if parked else []), "What"]
    rows = [_row(columns), "|---" * len(columns) + "|"]
    for name, serving in seen.items():
        while_parked = [_while_parked(name, serving, parked)] if parked else []
        secret = "secret" if serving.secret else ""
        has_none = serving.value is None and parked is None
        what = _NO_ENDPOINT if has_none else DESCRIPTIONS[name]
        rows.append(_row([f"`{name}`", secret, *while_parked, what]))
    return "\n".join(rows)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _while_parked(name: str, serving: Seen, parked: Run) -> str:
    """Return what of an output is there while the stack is parked; "" for one that it has not."""
    if serving.value is None:
        return ""
    found = parked.outputs.get(name)
    if found is None or found.value is None:
        return "none"
    if found.value == serving.value:
        return "kept"
    text = found.value if isinstance(found.value, str) else json.dumps(found.value)
    return f"`{text}`" if len(text) <= _SHOWN_LENGTH and not found.secret else "kept"
