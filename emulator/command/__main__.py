"""Starts the plugin: `python -m emulator.command` or, with no PYTHONPATH, by this folder's path.

A launcher takes the path: a PYTHONPATH would reach every command that the plugin runs.
"""

import sys

if not __package__:
    from pathlib import Path

    # Python has put this folder on the import path: the checkout is what belongs there.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from emulator.command.server import main

if __name__ == "__main__":
    main(sys.argv[1:])
