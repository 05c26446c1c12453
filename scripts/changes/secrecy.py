"""What must not be shown of a stack: the secrets of its state, its configuration and its shell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from scripts.changes import values
from scripts.changes.shown import Clean

_SHORTEST = 8
"""Shorter ones can't be told from other text."""
_NAMES = re.compile(r"TOKEN|SECRET|PASSPHRASE|PASSWORD|API_KEY|ACCESS_KEY$")


def of_state(export: object) -> Iterator[str]:
    """Yield each secret in what `pulumi stack export --show-secrets` printed."""
    if values.is_secret(export):
        text = values.entries(export).get("plaintext")
        if isinstance(text, str):
            try:
                opened: object = json.loads(text)
            except ValueError:
                opened = text
            yield from values.leaves(opened)
        return
    for inner in (*values.entries(export).values(), *values.items(export)):
        yield from of_state(inner)


def of_configuration(config: object) -> Iterator[str]:
    """Yield each secret in what `pulumi config --json --show-secrets` printed."""
    for entry in map(values.entries, values.entries(config).values()):
        if entry.get("secret") is True:
            yield from values.leaves(entry.get("value"))


def of_environment(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield what variables hold whose names say that it is a secret."""
    for name, held in environment.items():
        if _NAMES.search(name) and not name.endswith(("_FILE", "_PATH", "_URL")):
            yield held


def cleaner(secrets: Iterable[str]) -> Clean:
    """Return what takes `secrets` out of a text, in every form that a server may echo."""
    from scripts.verify.scrub import Scrubber

    lines = (line.strip() for secret in secrets for line in secret.splitlines())
    # The first and last line of a PEM are the same in every key.
    known = {line for line in lines if len(line) >= _SHORTEST and not line.startswith("-----")}
    return Scrubber(known).text if known else str
