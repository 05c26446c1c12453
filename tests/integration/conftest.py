"""What the tests of whole stacks share with the unit tests: the fake endpoint."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
