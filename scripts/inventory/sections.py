"""An inventory: what a run of a program registered and returned, in lines by section."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from components.settings import NAMESPACE
from emulator.mocks.recording import Registration, Run
from scripts.inventory.access import access
from scripts.inventory.exposure import exposure
from scripts.inventory.machines import images, machines
from scripts.inventory.values import at, each, pairs, text, truth

Inventory = Mapping[str, tuple[str, ...]]
"""Lines by section, each in an order of its own."""


def inventory(run: Run, stack: str) -> Inventory:
    """Return what a reviewer has to see of what `stack` would be."""
    found = [*run.registrations.values()]
    root = f"{NAMESPACE}-{stack}"
    return {
        "makes": _sorted(_made(one, root) for one in found),
        "who reaches what": _of_each(exposure, found),
        "who may do what": _of_each(access, found),
        "machines and disks": _of_each(machines, found),
        "images": _of_each(images, found),
        "secrets": _of_each(secrets, found),
        "kept": _of_each(kept, found),
        "bills": _bills(run),
        "outputs": _sorted(
            f"{name} (secret)" if one.secret else name for name, one in run.outputs.items()
        ),
    }


def _sorted(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(lines))


def _of_each(
    tell: Callable[[Registration], Iterable[str]], found: Iterable[Registration]
) -> tuple[str, ...]:
    return _sorted(dict.fromkeys(line for one in found for line in tell(one)))


def _made(one: Registration, root: str) -> str:
    what = text(one.inputs, "service") if one.token.endswith(":Service") else ""
    below = "" if one.parent == root else f", below {one.parent}"
    return f"{one.token} {one.name}{f' ({what})' if what else ''}{below}"


def secrets(one: Registration) -> Iterable[str]:
    """Yield which inputs are secret, by their names alone."""
    kind = one.token.rpartition(":")[2]
    hidden = [*_hidden(one.without_secrets(), "")]
    if hidden:
        yield f"{kind} {one.name}: {', '.join(sorted(hidden))}"
    if "stdout" in one.additional_secret_outputs:
        yield f"{kind} {one.name}: what it prints"


def _hidden(value: object, path: str) -> Iterable[str]:
    if value == "[secret]":
        yield path
    for name, inner in pairs(value).items():
        yield from _hidden(inner, f"{path}.{name}" if path else name)
    for number, inner in enumerate(each(value)):
        yield from _hidden(inner, f"{path}[{number}]")


def kept(one: Registration) -> Iterable[str]:
    """Yield in which ways the deletion of `one` is held up."""
    inputs = one.inputs
    kind = one.token.rpartition(":")[2]
    ways = [
        *(["protected"] if one.protect else []),
        *(["stays when the stack goes"] if one.retain_on_delete else []),
        *(["deletion protection of its own"] if truth(inputs, "deletionProtection") else []),
        *(["never deleted with what is in it"] if at(inputs, "forceDestroy") is False else []),
    ]
    if ways:
        yield f"{kind} {one.name}: {', '.join(ways)}"


def _bills(run: Run) -> tuple[str, ...]:
    billing = run.outputs.get("billing")
    entries = each(billing.value) if billing is not None else []
    lines: list[str] = []
    for entry in entries:
        times = [time for time in ("running", "parked") if truth(entry, time)]
        lines.append(f"{text(entry, 'resource')}: {' and '.join(times)}")
    return _sorted(lines)
