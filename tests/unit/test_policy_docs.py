"""The page on policies names each rule as it is, and each exception that ships."""

import re
from pathlib import Path

import pytest
from policy_resources import RULES, SHIPPED_CONFIGURATION

from policy.configuration import read
from policy.exceptions import KEY, exemptions

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")


def test_each_rule_has_its_row_with_its_level():
    rows = [row for row in PAGE.splitlines() if "| mandatory |" in row or "| advisory |" in row]
    assert rows == [f"| `{rule.name}` | {rule.level} | {rule.description}. |" for rule in RULES]


def test_each_exception_that_ships_has_its_row():
    for name, said in SHIPPED_CONFIGURATION.items():
        assert isinstance(said, dict)
        for one in exemptions(name, said[KEY]):
            assert f"| `{name}` | `{one.resource}` | `{one.what}` | " in PAGE


@pytest.mark.parametrize("block", re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
def test_each_configuration_on_the_page_is_one(tmp_path: Path, block: str):
    file = tmp_path / "config.json"
    file.write_text(block, encoding="utf-8")
    assert read(file, RULES)
