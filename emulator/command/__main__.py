"""Starts the plugin: `python -m emulator.command` or, with no PYTHONPATH, by this folder's path.

A launcher takes the path: a PYTHONPATH would reach every command that the plugin runs.
"""

import sys
from pathlib import Path

if not __package__:
    # Python has put this folder on the import path: the checkout is what belongs there.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

if __name__ == "__main__":
    from emulator.plugin.bare import leave_out_the_sdk

    leave_out_the_sdk()
    from emulator.command.execution import Processes
    from emulator.command.provider import CommandProvider
    from emulator.plugin.serving import serve

    processes = Processes()
    serve(
        sys.argv[1:],
        "pulumi_command",
        lambda version, engine: CommandProvider(version, engine, processes),
        processes.cancel,
    )
