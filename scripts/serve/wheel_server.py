"""`llama-server` out of the wheel: the same flags, llama.cpp's own HTTP server, nothing compiled.

Run as `python -m scripts.serve.wheel_server --model … --port …`. It serves until it is ended;
SIGTERM ends it at once, also while a model loads.
"""

from __future__ import annotations

import importlib
import signal
import sys
from pathlib import Path
from typing import Any

from components.engines.llama_cpp_flags import (
    ChoiceFlag,
    Flag,
    FlagError,
    IntegerFlag,
    KeyFileFlag,
    NumberFlag,
    SwitchFlag,
    TextFlag,
    TextListFlag,
    parse,
)


def _assign(parameters: Any, attribute: str, value: object) -> None:
    *path, last = attribute.split(".")
    for name in path:
        parameters = getattr(parameters, name)
    setattr(parameters, last, value)


def apply(wheel: Any, parameters: Any, flag: Flag, value: str) -> None:
    """Set on `parameters` (`xllamacpp.CommonParams`) what `flag` with `value` means."""
    match flag:
        case IntegerFlag(attribute):
            _assign(parameters, attribute, int(value))
        case NumberFlag(attribute):
            _assign(parameters, attribute, float(value))
        case TextFlag(attribute):
            _assign(parameters, attribute, value)
        case TextListFlag(attribute):
            _assign(parameters, attribute, [value])
        case SwitchFlag(attribute, switched):
            _assign(parameters, attribute, switched)
        case ChoiceFlag(attribute, enum, choices):
            _assign(parameters, attribute, getattr(getattr(wheel, enum), choices[value]))
        case KeyFileFlag():
            keys = Path(value).read_text(encoding="utf-8").split()
            _assign(parameters, "api_keys", keys)


def main(arguments: list[str]) -> int:
    """Serve until ended; returns 2 for a bad command line, 1 where the server can't start."""
    try:
        pairs = parse(arguments)
    except FlagError as error:
        print(f"wheel_server: {error}", file=sys.stderr)
        return 2
    wheel: Any = importlib.import_module("xllamacpp")
    parameters = wheel.CommonParams()
    for flag, value in pairs:
        apply(wheel, parameters, flag, value)
    print(f"llama.cpp {wheel.BUILD_INFO}", file=sys.stderr, flush=True)
    try:
        server = wheel.Server(parameters)
    except RuntimeError as error:
        print(f"wheel_server: {error}", file=sys.stderr)
        return 1
    print(f"serving on {server.listening_address}", file=sys.stderr, flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    # Before the model loads, which holds the interpreter: the default action needs none.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:]))
