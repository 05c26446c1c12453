"""What a team commits is none of its tests: its backend, its stacks' configuration."""

import re
from pathlib import Path

import pytest
from checkout import without_backend

from scripts.bootstrap import backend
from scripts.bootstrap.places import Checkout


@pytest.mark.parametrize(
    "written",
    [
        "backend: {url: gs://states}",
        "backend:\n  url: gs://states",
        "backend:  # the team's\n\n  # since June\n    url: 'gs://states'",
    ],
)
@pytest.mark.parametrize("more", ["", "options:\n  refresh: always\n"])
def test_no_test_meets_a_team_s_backend(tmp_path: Path, written: str, more: str):
    project = tmp_path / "Pulumi.yaml"
    text = f"name: llm-endpoint\n{written}\n{more}"
    project.write_text(text, encoding="utf-8")
    environment = {"HOME": str(tmp_path)}
    assert backend.choose(Checkout(tmp_path), environment).url == "gs://states"
    project.write_text(without_backend(text), encoding="utf-8")
    assert backend.choose(Checkout(tmp_path), environment).why == "the default"
    assert project.read_text(encoding="utf-8") == f"name: llm-endpoint\n{more}"


@pytest.mark.parametrize("folder", ["unit", "components"])
def test_no_test_runs_a_program_over_a_team_s_own_configuration(folder: str):
    reads_files = re.compile(
        r"from scripts\.changes\.mocked import .*\bmocked\b|\btold\.of_stack\("
    )
    files = sorted((Path(__file__).parents[1] / folder).glob("*.py"))
    found = [file.name for file in files if reads_files.search(file.read_text(encoding="utf-8"))]
    assert found in ([], [Path(__file__).name]), "mocked_with and of_values read no file"
