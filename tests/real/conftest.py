"""What the real tests share with the unit tests: the stand-in for the hub."""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent

sys.path.insert(0, str(_HERE.parent / "unit"))
