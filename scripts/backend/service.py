"""A state brought to Pulumi Cloud, or to what speaks like it: by the engine's export and import."""

from __future__ import annotations

import shutil

from scripts.backend.layout import short
from scripts.bootstrap import exported, stack
from scripts.bootstrap.console import BootstrapError, note
from scripts.bootstrap.environment import Prepared


def bring(source: Prepared, there: Prepared, name: str, provider: str | None) -> None:
    """Make the stack `name` at the service and import the source's state, as it is encrypted.

    `provider` is that of the stack's file, None where it has no secrets yet. Where an earlier try
    has imported it already nothing is done. Raises `BootstrapError`.
    """
    state = exported.export(source.checkout, short(name), source.cli, source.variables)
    wanted = {one["urn"] for one in exported.resources(state)}
    if not stack.exists(there.checkout, name, there.backend, there.cli, there.variables):
        _make(there, name, provider)
    found = exported.export(there.checkout, name, there.cli, there.variables)
    urns = {one["urn"] for one in exported.resources(found)}
    if wanted and urns == wanted:
        return
    if urns:
        raise BootstrapError(
            f"{there.backend.shown} has a stack {name} already, and it has other resources",
            f"take another name, or remove it there: PULUMI_BACKEND_URL='{there.backend.url}' "
            f"scripts/pulumi stack rm {name}",
        )
    file = source.checkout.make_state() / f"{short(name)}.export"
    file.touch(mode=0o600)
    try:
        _good(source, ["stack", "export", "--file", str(file), "--stack", short(name)])
        _good(there, ["stack", "import", "--file", str(file), "--stack", name])
    finally:
        file.unlink(missing_ok=True)
    note(f"Imported {len(wanted)} resources into {there.backend.shown}.")


def _make(there: Prepared, name: str, provider: str | None) -> None:
    """Make an empty stack whose file stays as it is.

    The engine writes the service's own encryption into the file of a stack that it makes, and
    leaves there the values that it can't decrypt then.
    """
    file = stack.configuration_file(there.checkout, name)
    kept = there.checkout.make_state() / f"{file.name}.before-init"
    if file.exists():
        shutil.copy2(file, kept)
    given = [] if provider is None else ["--secrets-provider", provider]
    try:
        _good(there, ["stack", "init", name, "--no-select", *given])
    finally:
        if kept.exists():
            shutil.move(kept, file)


def _good(ready: Prepared, words: list[str]) -> None:
    done = stack.run(ready.checkout, ready.cli, ready.variables, words)
    if done.returncode != 0:
        raise BootstrapError(
            f"pulumi {' '.join(words[:2])} fails in {ready.backend.shown}: {stack.complaint(done)}",
            "log in there (PULUMI_ACCESS_TOKEN, or scripts/pulumi login), then run the same again",
        )
