"""What `local.Command` and `local.run` do with their properties; no gRPC here."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from emulator.plugin.values import Properties, Special

from . import outputs
from .assets import archive, asset
from .errors import OutputNotText
from .execution import Command, Printed, Processes, run
from .globbing import matching_files
from .properties import (
    ALWAYS_IN_STATE,
    COMMAND_INPUTS,
    COMMAND_OUTPUTS,
    HowToRun,
    refuse_faults,
    text,
)


@dataclass(frozen=True)
class Shell:
    """What it takes to run a command for one resource."""

    processes: Processes
    log: Callable[[str], None]
    limit_seconds: float | None = None


def new_id(name: str) -> str:
    """An id for the resource NAME."""
    return name + secrets.token_hex(4)


def create(inputs: Properties, shell: Shell, *, preview: bool) -> Properties:
    """The outputs of a new command. Nothing runs in a preview, nor without `create`.

    Raises:
        PluginError: the inputs are invalid or the command fails; no state comes of it then.
    """
    refuse_faults(inputs, COMMAND_INPUTS)
    results: Properties = {"stdout": "", "stderr": ""}
    script = text(inputs, "create")
    if script is not None and not preview:
        results = execute(script, inputs, results, shell)
    kept = {**outputs.all_passed_on(inputs), **results}
    return outputs.of_creation(inputs, kept, preview=preview)


def update(inputs: Properties, state: Properties, shell: Shell, *, preview: bool) -> Properties:
    """The outputs after an update by `update`, else by `create`; the old ones without either.

    Raises:
        PluginError: the inputs or the state are invalid, or the command fails; the state stays.
    """
    refuse_faults(state, COMMAND_OUTPUTS, ALWAYS_IN_STATE)
    refuse_faults(inputs, COMMAND_INPUTS)
    results = _results(state)
    script = text(inputs, "update")
    if script is None:
        script = text(inputs, "create")
    if script is not None and not preview:
        results = execute(script, inputs, results, shell)
    kept = {**outputs.all_passed_on(inputs), **results}
    return outputs.of_update(inputs, kept, state, preview=preview)


def delete(state: Properties, shell: Shell) -> None:
    """Runs `delete` where there is one.

    Raises:
        PluginError: the state is invalid or the command fails; the resource stays.
    """
    refuse_faults(state, COMMAND_OUTPUTS, ALWAYS_IN_STATE)
    script = text(state, "delete")
    if script is not None:
        execute(script, state, _results(state), shell)


def execute(script: str, inputs: Properties, previous: Properties, shell: Shell) -> Properties:
    """Runs SCRIPT as INPUTS say; the results, laid over those of PREVIOUS.

    Raises:
        PluginError: the command fails, prints what is not UTF-8, or its files can't be read.
    """
    how = HowToRun.of(inputs)
    environment = dict(how.environment)
    if how.previous_output_in_environment:
        for stream in ALWAYS_IN_STATE:
            if printed := text(previous, stream):
                environment[f"PULUMI_COMMAND_{stream.upper()}"] = printed
    command = Command(
        words=(*how.interpreter, script),
        directory=how.directory,
        environment=environment,
        stdin=how.stdin,
        limit_seconds=shell.limit_seconds,
    )
    printed = run(
        command,
        shell.processes,
        shell.log,
        log_stdout=how.logs_stdout,
        log_stderr=how.logs_stderr,
    )
    return {**previous, **_collected(how), **_texts(printed)}


def _results(state: Properties) -> Properties:
    """What commands have left in STATE, without its marks."""
    plain: Properties = {stream: text(state, stream) for stream in ALWAYS_IN_STATE}
    for name in ("assets", "archive"):
        if name in state:
            plain[name] = state[name]
    return plain


def _collected(how: HowToRun) -> Properties:
    found: Properties = {}
    if how.asset_globs is not None:
        found["assets"] = dict(_assets(how, how.asset_globs))
    if how.archive_globs is not None:
        found["archive"] = archive(_assets(how, how.archive_globs))
    return found


def _assets(how: HowToRun, globs: tuple[str, ...]) -> dict[str, Special]:
    directory = os.getcwd() if how.directory is None else how.directory  # noqa: PTH109
    return {path: asset(directory, path) for path in matching_files(directory, globs)}


def _texts(printed: Printed) -> Properties:
    return {
        "stdout": _text("stdout", printed.stdout),
        "stderr": _text("stderr", printed.stderr),
    }


def _text(stream: str, printed: bytes) -> str:
    """PRINTED without its last end of line."""
    try:
        return printed.removesuffix(b"\n").decode()
    except UnicodeDecodeError as error:
        raise OutputNotText(
            f"the command has run, but its {stream} is not UTF-8 (byte {error.start} is "
            f"0x{printed[error.start]:02x}), and a Pulumi string must be: let the command encode "
            "it, by base64 for example"
        ) from error
