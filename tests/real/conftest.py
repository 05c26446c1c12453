"""What the tests of real guests share with the unit tests: the stand-in for the hub."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
