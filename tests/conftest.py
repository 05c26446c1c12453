"""What all tests share: the checkout itself and `checkout.py` are importable."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS), str(TESTS.parent)]


def pytest_configure(config: pytest.Config) -> None:
    """Give the real tests their order (`tests/real/lanes.py`)."""
    if config.option.markexpr != "real":
        return
    sys.path.insert(0, str(TESTS / "real"))
    import lanes

    config.pluginmanager.register(lanes)
