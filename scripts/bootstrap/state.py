"""scripts/state: where a stack's state lies, and how it gets elsewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from scripts.backend import asking, place
from scripts.backend.held import Move
from scripts.backend.place import Place
from scripts.backend.service import bring
from scripts.bootstrap import backend, decrypting, locks, stack
from scripts.bootstrap.backend import Backend
from scripts.bootstrap.console import BootstrapError, note
from scripts.bootstrap.environment import Prepared, prepare
from scripts.bootstrap.places import Checkout

USAGE = """\
usage: scripts/state where STACK
       scripts/state move STACK URL [--secrets-provider PROVIDER]
URL is gs://BUCKET[/FOLDER], s3://BUCKET[/FOLDER]?region=REGION, file:///FOLDER or
https://api.pulumi.com. PROVIDER is gcpkms://…, awskms://…, azurekeyvault://…, hashivault://…
or passphrase; without it the secrets stay encrypted as they are."""

_PROVIDER_OPTION = "--secrets-provider"
_BY_PASSPHRASE = "passphrase"  # noqa: S105 - the engine's name of that provider
_PROVIDERS = re.compile(r"(?:gcpkms|awskms|azurekeyvault|hashivault)://\S+|passphrase|default")


def state(checkout: Checkout, arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run `scripts/state ARGUMENTS` and return its exit status. Raises `BootstrapError`."""
    provider, words = _provider(arguments)
    match words:
        case ["where", name] if provider is None:
            stack.parse([name])
            return where(checkout, name, environment)
        case ["move", name, url]:
            stack.parse([name])
            target = place.parse(url, environment)
            return move(
                prepare(checkout, name, environment, state_alone=True), name, target, provider
            )
        case _:
            note(USAGE)
            return 2


def where(checkout: Checkout, name: str, environment: Mapping[str, str]) -> int:
    """Say where the state of the stack `name` lies, and what is there."""
    chosen = backend.choose(checkout, environment)
    print(f"{name}: {chosen.shown} ({chosen.why})")
    if chosen.url.startswith(("https://", "http://")):
        return 0
    found = asking.ask(checkout, environment, "look", name, place.parse(chosen.url, environment))
    checkpoint = cast("Mapping[str, object] | None", found["checkpoint"])
    if checkpoint is None:
        print("It has no such stack.")
        return 0
    print(
        f"{checkpoint['resources']} resources, {found['updates']} updates in its history, secrets "
        f"encrypted by {checkpoint['encrypted_by'] or 'nothing yet'}"
    )
    for lock in asking.locks_of(found):
        print(
            _said(lock.move)
            if lock.move
            else f"locked by {lock.username}@{lock.hostname} "
            f"(pid {lock.pid}, since {lock.timestamp})"
        )
    return 0


def move(ready: Prepared, name: str, target: Place, provider: str | None) -> int:
    """Move the state of the stack `name` to `target`; its secrets to `provider` where one is given.

    Raises `BootstrapError`. Run again after it was broken off it goes on.
    """
    source = place.parse(ready.backend.url, ready.variables)
    if source.identity == target.identity:
        own = ready.checkout.state / "backend"
        if locks.left_behind(ready, name):
            # Of before the checkout looked elsewhere: that one is meant.
            left = _at(ready, place.parse(place.folder_url(own), ready.variables))
            return move(left, name, target, provider)
        if not stack.exists(ready.checkout, name, ready.backend, ready.cli, ready.variables):
            raise BootstrapError(
                f"{ready.backend.shown} has no stack {name}, nor has {own}",
                f"where it lies: PULUMI_BACKEND_URL=URL scripts/state move {name} '{target.url}'",
            )
        print(f"The state of {name} lies in {ready.backend.shown} already.")
        return 0
    if source.service is not None:
        raise BootstrapError(
            f"what lies in {source.shown} is no files that can be copied",
            "docs/state.md says how a state leaves Pulumi Cloud",
        )
    note(f"Moving the state of {name} from {source.shown} to {target.shown}")
    decrypting.refuse_another_passphrase(ready, name)
    there = _at(ready, target)
    if target.service is None:
        carried = _copy(ready, "carry", name, source, target, provider)
    else:
        # The service takes no history: what was goes into a folder here.
        archive = _archive(ready, name)
        carried = _copy(ready, "archive", name, source, target, archive, provider)
        bring(ready, there, name, _encrypted_by(stack.configuration_file(ready.checkout, name)))
    note(
        f"Copied and compared {carried['objects']} objects: {carried['resources']} resources, "
        f"{carried['updates']} updates of its history."
    )
    # Of a move that was broken off: that one's, unless another is given now.
    provider = cast("str | None", carried["provider"])
    locks.settle(there, name)
    if provider is not None:
        _encrypt(there, name, provider)
    _require_readable(there, name, source)
    asking.ask(ready.checkout, ready.variables, "leave", name, source, target)
    for line in closing(ready, name, source, target, provider):
        print(line)
    return 0


def _copy(
    ready: Prepared,
    verb: str,
    name: str,
    source: Place,
    target: Place,
    *more: Place | str | None,
) -> Mapping[str, object]:
    given = [one for one in more if one is not None]
    variables = ready.variables
    return asking.ask(ready.checkout, variables, verb, name, source, target, os.getpid(), *given)


def _archive(ready: Prepared, name: str) -> Place:
    """Return the folder for the history of a stack that goes where none can be had."""
    folder = ready.checkout.make_state() / "archive"
    folder.mkdir(mode=0o700, exist_ok=True)
    return place.parse(place.folder_url(folder), ready.variables)


def take_home(ready: Prepared, name: str) -> int:
    """Move the state of a `ci` stack that has come up into the bucket that it made.

    Nothing is done where it lies there, or where its backend is no folder of this machine: who
    chose another one keeps it. Raises `BootstrapError`.
    """
    outputs = _plain_outputs(ready, name)
    home, provider = outputs.get("state_backend"), outputs.get("secrets_provider")
    if not isinstance(home, str) or not isinstance(provider, str):
        raise BootstrapError(
            f"the outputs of {name} name no state_backend and secrets_provider",
            f"scripts/up {name} again; see docs/ci.md",
        )
    target = place.parse(home, ready.variables)
    if place.parse(ready.backend.url, ready.variables).identity == target.identity:
        return 0
    if ready.backend.folder is None:
        note(
            f"The state of {name} stays in {ready.backend.shown} ({ready.backend.why}). "
            f"scripts/state move {name} '{home}' {_PROVIDER_OPTION} '{provider}' moves it to its "
            "bucket."
        )
        return 0
    return move(ready, name, target, provider)


def _provider(arguments: list[str]) -> tuple[str | None, list[str]]:
    """Return what --secrets-provider names, and the other words. Raises `BootstrapError`."""
    provider: str | None = None
    words: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=")
        if option != _PROVIDER_OPTION:
            words.append(word)
            continue
        provider = value if equals else (rest.pop(0) if rest else "")
    if provider is not None and _PROVIDERS.fullmatch(provider) is None:
        raise BootstrapError(
            f"{provider!r} is no secrets provider",
            "give gcpkms://projects/…, awskms://…, azurekeyvault://…, hashivault://… or passphrase",
        )
    return provider, words


def _at(ready: Prepared, target: Place) -> Prepared:
    chosen = Backend(target.url, "the target", target.folder)
    if target.folder is not None:
        target.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return replace(
        ready, backend=chosen, variables={**ready.variables, "PULUMI_BACKEND_URL": target.url}
    )


def _encrypt(there: Prepared, name: str, provider: str) -> None:
    """Encrypt configuration and state anew, with the key of `provider`.

    The engine writes the new provider into the stack's file before it encrypts that file's values
    with it, so the file as it was is kept until all is done: broken off, it is put back. Raises
    `BootstrapError`, also where somebody has changed the file since then.
    """
    file = stack.configuration_file(there.checkout, name)
    kept = there.checkout.make_state() / f"{file.name}.before-move"
    if kept.exists():
        if file.exists() and _plain_lines(file) - _plain_lines(kept):
            raise BootstrapError(
                f"{file} has changed since an encryption of its secrets was broken off; as it was "
                f"before that it is kept in {kept}",
                f"make {file} of both as it should be, remove {kept}, then run the same again",
            )
        shutil.copy2(kept, file)
    if _encrypted_by(file) == provider:
        note(f"Its secrets are encrypted by {provider} already.")
        kept.unlink(missing_ok=True)
        return
    if file.exists():
        shutil.copy2(file, kept)
    words = ["stack", "change-secrets-provider", provider, "--stack", name]
    done = stack.run(there.checkout, there.cli, there.variables, words)
    if done.returncode != 0:
        if kept.exists():
            shutil.move(kept, file)
        raise BootstrapError(
            f"the secrets of {name} can't be encrypted by {provider}: {stack.complaint(done)}",
            "check that the key is there and that you may encrypt and decrypt with it, then: "
            f"scripts/state move {name} '{there.backend.url}', which goes on",
        )
    kept.unlink(missing_ok=True)
    note(f"Encrypted the secrets of {name} by {provider}.")


def _plain_lines(file: Path) -> set[str]:
    """Return the lines that no key changes; one without an end was cut off while it was written."""
    lines = _CIPHERS.sub("", file.read_text(encoding="utf-8")).splitlines(keepends=True)
    return {line.strip() for line in lines if line.endswith("\n")}


_CIPHERS = re.compile(
    r"^(?:secretsprovider|encryptedkey|encryptionsalt):.*\n?|(?<=secure:).*", re.MULTILINE
)


def _encrypted_by(file: Path) -> str | None:
    """Return the secrets provider that a stack's file names; None where it has no secrets yet."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    named = re.search(r"^secretsprovider:\s*(\S+)\s*$", text, re.MULTILINE)
    if named is not None:
        return named[1].strip("'\"")
    return _BY_PASSPHRASE if re.search(r"^encryptionsalt:", text, re.MULTILINE) else None


def _require_readable(there: Prepared, name: str, source: Place) -> None:
    """Raise `BootstrapError` unless the engine decrypts state and configuration at the target.

    What it decrypts goes nowhere.
    """
    for words in (decrypting.IN_PLAIN, ("config", "--show-secrets", "--json")):
        done = stack.run(there.checkout, there.cli, there.variables, [*words, "--stack", name])
        failed = done.returncode != 0
        complaint = stack.complaint(done) if failed else decrypting.complaint_of(done.stdout)
        if complaint is not None:
            raise BootstrapError(
                f"pulumi can't read {name} in {there.backend.shown}: {complaint}",
                f"mend that, then: scripts/state move {name} '{there.backend.url}', which goes on; "
                f"or give the move up: PULUMI_BACKEND_URL='{source.url}' scripts/pulumi cancel "
                f"--stack {name}",
            )


def _plain_outputs(ready: Prepared, name: str) -> Mapping[str, object]:
    done = stack.run(
        ready.checkout, ready.cli, ready.variables, ["stack", "output", "--json", "--stack", name]
    )
    if done.returncode != 0:
        raise BootstrapError(
            f"the outputs of {name} can't be read: {stack.complaint(done)}", "see that message"
        )
    return cast("Mapping[str, object]", json.loads(done.stdout))


def _said(move: Move) -> str:
    return (
        f"an old copy: moved to {move.to}" if move.step == "moved" else f"on its way to {move.to}"
    )


def closing(
    ready: Prepared, name: str, source: Place, target: Place, provider: str | None
) -> list[str]:
    """Return what a person is told once the state of the stack `name` has moved."""
    file = stack.configuration_file(ready.checkout, name)
    shown = file.relative_to(ready.checkout.root)
    lines = [
        "",
        f"The state of {name} is in {target.shown} now"
        + ("" if target.service else ", with its history")
        + ".",
        f"What lies in {source.shown} is an old copy, marked so that no pulumi goes on with it.",
    ]
    if target.service is not None:
        lines.append(f"The history lies in {_archive(ready, name).shown}: keep it.")
    if provider is not None:
        lines.append(
            "History and backups are encrypted as they were when written: keep the old key or "
            "passphrase as long as you may go back to them."
        )
    elif target.bucket is not None and _encrypted_by(file) == _BY_PASSPHRASE:
        lines.append(
            "Its secrets are encrypted with the passphrase that this checkout has: whoever goes on "
            f"with it elsewhere needs that too, or a key that is shared ({_PROVIDER_OPTION})."
        )
    if target.folder == ready.checkout.state / "backend":
        lines.append(
            "Next: that is where this checkout looks, once neither Pulumi.yaml has a `backend` nor "
            "PULUMI_BACKEND_URL is set."
        )
        return lines
    steps: list[str] = []
    if backend.of_project(ready.checkout) != target.url:
        steps.append(
            f"have Pulumi.yaml say `backend: {{url: '{target.url}'}}` (for all stacks of the "
            f"project), or set PULUMI_BACKEND_URL='{target.url}'"
        )
    if target.folder is None:
        steps.append(
            f"for a team: below /stacks/Pulumi.*.yaml in .gitignore add !/{shown}, and "
            f"commit Pulumi.yaml and {shown}, whose secrets are encrypted"
        )
    return [*lines, *(f"{'      ' if at else 'Next: '}{step}" for at, step in enumerate(steps))]
