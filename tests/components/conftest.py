"""The components and programs on the recording engine: what each registers, and how.

A reviewer reads these first. Nothing here needs a plugin, a cloud or an engine: the programs run,
and what they register is kept as it was sent, with parents, options and secretness
(`emulator/mocks/recording.py`). `cpu_vm_program.py`, `gke_program.py` and `colab_program.py` run
a component or a program once for all tests that ask for the same.
"""

import sys
from pathlib import Path

_HERE = Path(__file__).parent
# The fakes are those of the unit tests.
sys.path[:0] = [str(_HERE), str(_HERE.parent / "unit")]
