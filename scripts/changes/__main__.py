"""`python -m scripts.changes`: what a change does to a stack, as Markdown.

`render-diff` and `mocked` need no engine, no plugin and no credentials. `logged` makes the Markdown
of an engine's preview: scripts/preview runs that, and then this.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

from components.settings import ConfigurationError
from scripts.changes import events, markdown, secrecy, snapshot, values
from scripts.changes.base import SALT, Base, BaseError, unpacked
from scripts.changes.files import compare as compare_files
from scripts.changes.mocked import mocked as run_mocked
from scripts.changes.model import Billing, Diagnostic, Files, Preview, Violation
from scripts.changes.policies import PolicyError, judged
from scripts.render import RenderError, rendered

_PLACES = 3
"""How many places of a traceback are told, the last ones."""
CHANGED = 3
"""Exit status with `--expect-no-changes` where something would change."""


def render_diff(stack: str, base: Base) -> Files:
    """Return how the rendered files of `stack` differ from the base's."""
    try:
        now = rendered(stack, {})
        before = base.files(stack)
    except (BaseError, RenderError) as error:
        return Files(base.ref, problem=str(error))
    except Exception as error:
        return Files(base.ref, problem=_raised(error, stack))
    return Files(base.ref, tuple(compare_files(before, now)), len(now))


def mocked(stack: str, reason: str, base: Base | None, *, policy: bool) -> Preview:
    """Return what mocks say that an `up` would do, compared with the same run of `base`."""
    salt = secrets.token_hex(16)
    try:
        with redirect_stdout(sys.stderr):
            found = run_mocked(stack)
    except Exception as error:
        # Whatever a program raises is told, as the engine does.
        said = Diagnostic("error", "", _raised(error, stack))
        return Preview(stack, diagnostics=(said,), mocked=reason, failed=True)
    now = snapshot.of(found, salt)
    before: snapshot.Snapshot | None = None
    said_too = [Diagnostic("warning", "", words) for words in now.warnings]
    violations: tuple[Violation, ...] = ()
    if policy:
        try:
            violations = judged(found, stack)
        except PolicyError as wrong:
            said_too.append(Diagnostic("error", "", str(wrong)))
    notes: list[str] = []
    if base is not None:
        try:
            before = base.snapshot(stack, salt)
        except BaseError as error:
            notes.append(f"All of it is told as created, since {error}")
    if before is not None:
        notes.append(
            f"Compared with the same run of {base.ref if base else ''}. Which changes replace a "
            "resource is up to its plugin, and known here only where the program says it."
        )
    if now.made_up:
        stood_in = ", ".join(f"{key} = {value}" for key, value in now.made_up.items())
        notes.append(f"Not configured, and made up for this: {stood_in}.")
    changes, unchanged = snapshot.compare(before, now)
    return Preview(
        stack=stack,
        changes=changes,
        unchanged=unchanged,
        outputs=snapshot.outputs(before, now),
        violations=violations,
        diagnostics=tuple(said_too),
        billing=Billing(now.bills, None if before is None else before.bills, mocked=True),
        mocked=reason,
        notes=tuple(notes),
        failed=any(one.severity == "error" for one in said_too),
    )


def _raised(error: Exception, stack: str) -> str:
    """Return what a program's run raised, with the places where it did unless a key is wrong."""
    if isinstance(error, ConfigurationError):
        return str(error.for_stack(stack))
    return "".join(traceback.format_exception(error, limit=-_PLACES))


def logged(stack: str, log: Path, complaint: Path | None) -> Preview:
    """Return what the engine's event log says; what bills is mocked where it doesn't know yet.

    `complaint` has what pulumi said, if it failed: the log of one that never began is empty.
    """
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    found = events.read(lines, stack, failed=complaint is not None)
    if found.failed and complaint and not any(one.severity == "error" for one in found.diagnostics):
        said = complaint.read_text(encoding="utf-8", errors="replace").strip()
        found = replace(
            found, diagnostics=(*found.diagnostics, Diagnostic("error", "", said or "nothing"))
        )
    if found.billing is not None or found.failed:
        return found
    try:
        with redirect_stdout(sys.stderr):
            now = snapshot.of(run_mocked(stack), secrets.token_hex(16))
    except ConfigurationError:
        # The engine's own run of the program has said so.
        return found
    except Exception as error:
        # What the engine told is worth more than this.
        said = f"what bills is not told, since no mocked run can be made: {_raised(error, stack)}"
        return replace(found, diagnostics=(*found.diagnostics, Diagnostic("warning", "", said)))
    return replace(found, billing=Billing(now.bills, None, mocked=True))


def status(preview: Preview, *, expect_no_changes: bool) -> int:
    """Return the exit status that tells how a preview ended."""
    if preview.failed or preview.mandatory:
        return 1
    changed = any(change.kind != "read" for change in preview.changes)
    return CHANGED if expect_no_changes and changed else 0


def main(arguments: Sequence[str]) -> int:
    """Write the Markdown; return 0, 1 for a preview that failed, or 3 (`--expect-no-changes`)."""
    options = _parser().parse_args(arguments)
    if options.command == "snapshot":
        return _snapshot(options.stack)
    clean = secrecy.cleaner([*secrecy.of_environment(os.environ), *_told(options)])
    if options.base is None:
        preview = _preview(options, None)
    else:
        try:
            with unpacked(options.base, options.stack) as base:
                if options.command == "render-diff":
                    files = render_diff(options.stack, base)
                    _write(markdown.render_diff(options.stack, files, clean), options.out)
                    return 1 if files.problem else 0
                preview = _preview(options, base)
                files = render_diff(options.stack, base)
                # Where the program fails, its files do too, and that is told already.
                if not (preview.failed and files.problem):
                    preview = replace(preview, files=files)
        except BaseError as error:
            print(f"error: {clean(str(error))}", file=sys.stderr)
            return 1
    _write(markdown.written(preview, clean), options.out)
    return status(preview, expect_no_changes=options.expect_no_changes)


def _preview(options: argparse.Namespace, base: Base | None) -> Preview:
    if options.command == "mocked":
        return mocked(options.stack, options.because, base, policy=not options.no_policy)
    return logged(options.stack, options.events, options.failed)


def _snapshot(stack: str) -> int:
    try:
        with redirect_stdout(sys.stderr):
            found = snapshot.of(run_mocked(stack), os.environ.get(SALT) or secrets.token_hex(16))
    except ConfigurationError as error:
        print(str(error.for_stack(stack)), file=sys.stderr)
        return 1
    print(snapshot.written(found))
    return 0


def _told(options: argparse.Namespace) -> list[str]:
    """Return the secrets that scripts/preview says on stdin, as a JSON list."""
    if not getattr(options, "secrets_on_stdin", False):
        return []
    return [text for text in values.items(json.load(sys.stdin)) if isinstance(text, str)]


def _write(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.changes", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, help_: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help_)
        made.add_argument("stack", metavar="STACK", help="a stack's or a program's name")
        return made

    def with_markdown(made: argparse.ArgumentParser, *, base_required: bool) -> None:
        made.add_argument(
            "--base",
            metavar="REF",
            required=base_required,
            help="the commit to compare with, such as origin/main",
        )
        made.add_argument("--out", metavar="FILE", type=Path, help="write the Markdown there")

    with_markdown(command("render-diff", "how the rendered files change"), base_required=True)
    mocked_ = command("mocked", "what would be registered, without any engine")
    with_markdown(mocked_, base_required=False)
    mocked_.add_argument(
        "--because",
        metavar="REASON",
        default="no engine, plugin or cloud was asked.",
        help="why no engine is asked, for the reader",
    )
    mocked_.add_argument("--no-policy", action="store_true", help="don't judge by policy/")
    logged_ = command("logged", "what an engine's event log says")
    with_markdown(logged_, base_required=False)
    logged_.add_argument("--events", metavar="FILE", type=Path, required=True)
    logged_.add_argument(
        "--failed", metavar="FILE", type=Path, help="pulumi failed, and said what is there"
    )
    for made in (mocked_, logged_):
        made.add_argument("--expect-no-changes", action="store_true", help="exit 3 on changes")
        made.add_argument(
            "--secrets-on-stdin", action="store_true", help="a JSON list of what must not be shown"
        )
    command("snapshot", "a mocked run as JSON, which another checkout's is compared with")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
