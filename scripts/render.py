"""`python -m scripts.render STACK`: every file that the stack would put on a machine.

It needs no credentials, no cloud and no Pulumi engine. Settings come from the program's defaults,
over them the stack's own file `stacks/Pulumi.STACK.yaml`, over both `--config KEY=VALUE`.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from components.rendering.kubernetes.colab.names import RUNTIME
from components.settings import (
    NAMESPACE,
    ConfigurationError,
    GkeColabSettings,
    GkeOvmsSettings,
    Settings,
)
from scripts.made_up import made_up
from scripts.stack_file import file_of, raw_values
from stacks import HERE, Program, choose

MANIFEST = ".rendered-files"
"""Lists what was written into a folder, so that only that is ever replaced there."""


class RenderError(Exception):
    """What can't be rendered, or not there; the message says what to do."""


def overrides(pairs: Sequence[str]) -> dict[str, str]:
    """Return `KEY=VALUE` pairs as raw values, also those that begin with this project's name.

    Raises `RenderError`.
    """
    raw: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise RenderError(f"--config {pair!r} has no key and value: write --config KEY=VALUE")
        raw[key.removeprefix(f"{NAMESPACE}:")] = value
    return raw


def rendered(stack: str, given: Mapping[str, str]) -> Mapping[str, str]:
    """Return the files of `stack`, path -> text; empty where it puts none on a machine.

    `given` goes over the stack's own file. Raises `RenderError` and `ConfigurationError`.
    """
    short = stack.rsplit("/", 1)[-1]
    raw = {**raw_values(file_of(stack, HERE)), **given}
    program = choose(raw, short)
    for key, value in made_up(program, raw).items():
        raw[key] = value
        _note(f"{key} is not set: rendered as for {value}, which {_decides(program, key)}")
    settings = program.settings(raw)
    for warning in settings.warnings():
        _note(warning)
    files: Callable[[Settings, str], Mapping[str, str]] | None
    files = getattr(import_module(f"stacks.{program.module}"), "files", None)
    if files is None:
        _note(f"{program.name} puts no files on a machine: it runs where pulumi does")
        return {}
    try:
        shown = files(settings, short)
        if isinstance(settings, GkeOvmsSettings):
            _note_replicas(settings, short)
        return shown
    except ValueError as error:
        raise RenderError(f"{stack} can't be rendered: {error}") from None


def _decides(program: Program, key: str) -> str:
    """Return what of the files a key decides whose value was made up."""
    if key == "gcp:project" and issubclass(program.schema, GkeColabSettings):
        return "names the bucket of backups, and decides nothing else"
    return "decides none of these files"


def _note_replicas(settings: GkeOvmsSettings, stack: str) -> None:
    """Say how many pods there will be: what scales them writes that, and no file."""
    from stacks.gke_ovms import plan

    planned = plan(settings, stack)
    counts = [
        f"{one.name} {0 if planned.parked else one.replicas}"
        + (f" to {one.most_replicas}" if one.most_replicas and not planned.parked else "")
        for one in planned.servers
    ]
    if isinstance(settings, GkeColabSettings):
        counts.append(f"{RUNTIME} {settings.runtime_replicas}")
    _note(f"replicas: {', '.join(counts)}: set by up, not in the files")


def write_tree(files: Mapping[str, str], folder: Path) -> None:
    """Write `files` below `folder`, in place of those that an earlier call wrote there.

    Raises `RenderError` for a folder that holds anything else.
    """
    manifest = folder / MANIFEST
    if manifest.is_file():
        _remove(manifest, folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RenderError(
            f"{folder} is there and holds what was not rendered into it: name another folder, or "
            "empty this one"
        )
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if text.startswith("#!"):
            path.chmod(0o755)
    folder.mkdir(parents=True, exist_ok=True)
    manifest.write_text("".join(f"{name}\n" for name in sorted(files)), encoding="utf-8")


def _remove(manifest: Path, folder: Path) -> None:
    """Remove what `manifest` lists below `folder`, and the folders that are empty then."""
    root = folder.resolve()
    for name in manifest.read_text(encoding="utf-8").splitlines():
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            raise RenderError(f"{manifest} names {name}, which lies outside of {folder}: remove it")
        path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == root or not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()
    manifest.unlink()


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def main(arguments: Sequence[str]) -> int:
    """Print the files, or write them; returns 1 where the stack can't be rendered."""
    parser = argparse.ArgumentParser(prog="python -m scripts.render", description=__doc__)
    parser.add_argument("stack", metavar="STACK", help="a stack's or a program's name")
    parser.add_argument("--out", metavar="DIR", type=Path, help="write a tree of files there")
    parser.add_argument(
        "--config",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a key of the stack's configuration, over its file; may be repeated",
    )
    options = parser.parse_args(arguments)
    try:
        files = rendered(options.stack, overrides(options.config))
        if options.out is not None and files:
            write_tree(files, options.out)
            print(f"{len(files)} files are in {options.out}")
            return 0
    except ConfigurationError as error:
        print(error.for_stack(options.stack), file=sys.stderr)
        return 1
    except RenderError as error:
        print(error, file=sys.stderr)
        return 1
    for name, text in files.items():
        print(f"==== {name}\n{text}" if text.endswith("\n") else f"==== {name}\n{text}\n")
    return 0


if __name__ == "__main__":
    # `| head` ends it quietly.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:]))
