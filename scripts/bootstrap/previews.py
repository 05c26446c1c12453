"""scripts/preview: what an `up` would change, in Markdown.

The engine is asked where it can be, with an event log that is read afterwards; else the program
runs on mocks (`scripts/changes`). Nothing is made or written: no stack, no state, no configuration.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.bootstrap import backend, event_log, locks, plugins, policy, stack, virtual_environment
from scripts.bootstrap.console import BootstrapError, note
from scripts.bootstrap.environment import Prepared, add_plugins, prepare
from scripts.bootstrap.places import Checkout

USAGE = """\
usage: scripts/preview [STACK] [--base REF] [--mocked] [--no-policy] [--expect-no-changes]
                       [--out FILE] [arguments of `pulumi preview`]
Prints in Markdown what scripts/up STACK would change (STACK: local). Ends with 1 where the preview
failed or a mandatory policy is violated, 3 with --expect-no-changes where something would change.
  --base REF            with the rendered files' diff against that commit, such as origin/main;
                        a mocked preview is compared with the same run of that commit
  --mocked              ask no engine, no plugin and no cloud
  --no-policy           without the policy pack (policy/)
  --out FILE            write the Markdown there"""

_TELL = ("-m", "scripts.changes")
_REFUSED: Mapping[str, str] = {
    "--config": "it would be saved in the stack's file: set it there (scripts/pulumi config set)",
    "-c": "it would be saved in the stack's file: set it there (scripts/pulumi config set)",
    "--json": "the Markdown is made from the engine's event log",
    "-j": "the Markdown is made from the engine's event log",
    "--event-log": "the Markdown is made from it",
    "--show-secrets": "a preview is made to be shown",
}


class UsageError(Exception):
    """A command line that says nothing that can be done."""


@dataclass(frozen=True)
class Asked:
    """What the command line asks for; `rest` is for `pulumi preview`."""

    stack: str
    base: str | None = None
    mocked: bool = False
    policy: bool = True
    expect_no_changes: bool = False
    out: Path | None = None
    rest: tuple[str, ...] = ()


def parse(arguments: Sequence[str]) -> Asked:
    """Return what `arguments` ask for. Raises `UsageError`."""
    given = Asked(stack="")
    kept: list[str] = []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        option, equals, value = argument.partition("=")
        if option in ("--base", "--out"):
            if not equals:
                value = left.pop(0) if left else ""
            if not value or value.startswith("-"):
                raise UsageError(f"{option} takes a value, and has none")
            given = (
                replace(given, base=value)
                if option == "--base"
                else replace(given, out=Path(value).absolute())
            )
        elif argument == "--mocked":
            given = replace(given, mocked=True)
        elif argument == "--no-policy":
            given = replace(given, policy=False)
        elif argument == "--expect-no-changes":
            given = replace(given, expect_no_changes=True)
        elif (refused := option if option.startswith("--") else option[:2]) in _REFUSED:
            # The value of a short option may stand right behind it.
            raise UsageError(f"{refused} is not taken: {_REFUSED[refused]}")
        else:
            kept.append(argument)
    try:
        name, rest = stack.parse(kept)
    except BootstrapError as error:
        raise UsageError(str(error)) from None
    if given.mocked and rest:
        raise UsageError(f"{rest[0]} is pulumi's, and --mocked runs no pulumi")
    return replace(given, stack=name, rest=tuple(rest))


def preview(checkout: Checkout, arguments: list[str], environment: Mapping[str, str]) -> int:
    """Print the Markdown and return the exit status: 0, 1, 2 for usage, 3 (see `USAGE`).

    Raises `BootstrapError` where not even a mocked preview can be made.
    """
    try:
        asked = parse(arguments)
    except UsageError as error:
        note(f"error: {error}\n{USAGE}")
        return 2
    stack.require_program(checkout, asked.stack)
    if asked.mocked:
        return _mocked(checkout, asked, "no engine was asked, as --mocked says.", environment)
    ready = _engine(checkout, asked.stack, environment)
    if isinstance(ready, str):
        return _mocked(checkout, asked, ready, environment)
    return _real(ready, asked, environment)


def _engine(checkout: Checkout, name: str, environment: Mapping[str, str]) -> Prepared | str:
    """Return what the engine needs for the stack, or why it can't be asked.

    Raises `BootstrapError` for what else is missing.
    """
    local = stack.is_local(checkout, name)
    chosen = backend.choose(checkout, environment)
    if chosen.folder is not None and not stack.in_folder(chosen.folder, name):
        # Told without an engine, which may have to be built first.
        return _not_there(name, chosen)
    ready = prepare(checkout, name, environment, state_alone=not local)
    locks.refuse_old_copy(ready, name)
    if not stack.exists(checkout, name, ready.backend, ready.cli, ready.variables):
        return _not_there(name, ready.backend)
    if local:
        return ready
    try:
        ready = add_plugins(ready, name, environment)
    except BootstrapError as error:
        return f"{error.problem}."
    return ready


def _not_there(name: str, where: backend.Backend) -> str:
    place = "this checkout's own" if where.why == "the default" else where.shown
    return f"the backend ({place}) has no stack {name} yet, so that an up would make all of it."


def _mocked(checkout: Checkout, asked: Asked, reason: str, environment: Mapping[str, str]) -> int:
    """Print the mocked preview; a mocked run can't tell whether a stack has drifted."""
    if asked.expect_no_changes:
        raise BootstrapError(
            f"whether {asked.stack} would change can't be told by mocks, and {reason}",
            f"scripts/preview {asked.stack}, without --expect-no-changes, says what an up does",
        )
    local = stack.is_local(checkout, asked.stack)
    purpose = virtual_environment.LOCAL_STACK if local else virtual_environment.ANY_STACK
    environment = plugins.outer_environment(checkout, environment)
    python = virtual_environment.ensure(checkout, purpose, environment)
    words = ["mocked", asked.stack, "--because", reason]
    words += [] if asked.policy else ["--no-policy"]
    return _tell(checkout, python, asked, words, environment, secrets=())


def _real(ready: Prepared, asked: Asked, environment: Mapping[str, str]) -> int:
    """Ask the engine, and print what it says."""
    name = asked.stack
    words = ["preview", "--suppress-outputs", "--suppress-permalink=true", "--color", "never"]
    words += ["--non-interactive", "--stack", name, *asked.rest]
    if asked.policy:
        words += policy.arguments(ready, environment, name)
    secrets = _secrets(ready, name)
    with tempfile.TemporaryDirectory(prefix="llm-endpoint-") as folder:
        log = Path(folder) / "events.json"
        log.touch(mode=0o600)
        said = Path(folder) / "said"
        said.touch(mode=0o600)
        told = ["logged", name, "--events", str(log)]
        if _run(ready, [*words, "--event-log", str(log)], said, secrets) != 0:
            told += ["--failed", str(said)]
        told += ["--expect-no-changes"] if asked.expect_no_changes else []
        return _tell(ready.checkout, ready.python, asked, told, ready.variables, secrets=secrets)


def _run(ready: Prepared, words: Sequence[str], said: Path, secrets: Sequence[str]) -> int:
    """Run pulumi and return its exit status; its stderr is in the file `said` afterwards.

    All goes to stderr, since the Markdown alone goes to stdout, and without `secrets`: a pull
    request's log is read by whoever reads its comment.
    """
    from scripts.changes import secrecy

    clean = secrecy.cleaner([*secrecy.of_environment(ready.variables), *secrets])
    with (
        said.open("w", encoding="utf-8") as complaint,
        subprocess.Popen(
            [str(ready.cli.program), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaint,
            encoding="utf-8",
            errors="replace",
            cwd=ready.checkout.root,
            env={**ready.variables, **event_log.VARIABLES},
        ) as running,
    ):
        for line in running.stdout or ():
            sys.stderr.write(clean(line))
            sys.stderr.flush()
    for line in said.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        sys.stderr.write(clean(line))
    return running.returncode


def _secrets(ready: Prepared, name: str) -> list[str]:
    """Return the secrets that a message of the engine or of a plugin might quote.

    They stay in memory. Where they can't be read, what quotes one can't either.
    """
    found: list[str] = []
    from scripts.changes import secrecy

    for words, read in (
        (["stack", "export"], secrecy.of_state),
        (["config", "--json"], secrecy.of_configuration),
    ):
        asked = [*words, "--show-secrets", "--stack", name]
        done = stack.run(ready.checkout, ready.cli, ready.variables, asked)
        if done.returncode == 0:
            found += read(json.loads(done.stdout))
        else:
            what = " ".join(words)
            note(f"note: the secrets to be hidden can't be read ({what}): {stack.complaint(done)}")
    return found


def _tell(
    checkout: Checkout,
    python: Path,
    asked: Asked,
    words: Sequence[str],
    variables: Mapping[str, str],
    *,
    secrets: Sequence[str],
) -> int:
    """Have the Markdown written; return the exit status."""
    options = ["--secrets-on-stdin"]
    options += ["--base", asked.base] if asked.base is not None else []
    options += ["--out", str(asked.out)] if asked.out is not None else []
    sys.stdout.flush()
    done = subprocess.run(
        [str(python), *_TELL, *words, *options],
        input=json.dumps(list(secrets)),
        text=True,
        cwd=checkout.root,
        env=dict(variables),
        check=False,
    )
    return done.returncode
