"""Which model a pod's server serves, as the deployment says it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

from machine.table import Table, WrongError

VARIABLE = "LLM_ENDPOINT_POD_MODEL"
"""The environment variable with a JSON object of server, model and form."""


class Form(StrEnum):
    """In which form a model lies on a volume."""

    OPENVINO = "openvino"
    """A folder of OpenVINO's files."""
    GGUF = "gguf"
    """One file, or the parts of one."""


@dataclass(frozen=True)
class Wanted:
    """`model` is a model reference; `server` the name of the server that loads it."""

    server: str
    model: str
    form: Form


def parse(text: str) -> Wanted:
    """Read what `VARIABLE` says. Raises `WrongError`, which names the key."""
    try:
        content: object = json.loads(text)
    except ValueError:
        raise WrongError("it is not JSON") from None
    table = Table(content, "")
    table.only("server", "model", "form")
    if not table.text("server").replace("-", "").isalnum():
        raise table.refuse("server", "a server's name: letters, digits and -")
    form = table.text("form")
    if form not in list(Form):
        raise table.refuse("form", " or ".join(Form))
    return Wanted(table.text("server"), table.text("model"), Form(form))
