"""What of the docs comes from the code is current."""

from itertools import takewhile
from pathlib import Path

import pytest
from docs_pages import DOCS, page

from scripts.reference import documents
from scripts.reference.__main__ import main
from scripts.reference.first_up import FirstUps
from scripts.reference.outputs import DESCRIPTIONS, output_table
from stacks import PROGRAMS


@pytest.fixture(scope="module")
def first_ups() -> FirstUps:
    return FirstUps()


def test_the_generated_parts_of_the_docs_are_current(
    first_ups: FirstUps, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(documents, "FirstUps", lambda: first_ups)
    assert main(["--check"]) == 0


def test_every_description_of_an_output_is_some_programs(first_ups: FirstUps):
    tables = "\n".join(output_table(program, first_ups) for program in PROGRAMS.values())
    assert [name for name in DESCRIPTIONS if f"| `{name}` |" not in tables] == []


def test_secrets_are_marked_and_what_parking_takes_is_said(first_ups: FirstUps):
    table = output_table(PROGRAMS["gke-colab"], first_ups).splitlines()
    secret = {row.split("|")[1].strip() for row in table if "| secret |" in row}
    assert secret == {"`api_key`", "`api_keys`", "`colab_url`"}
    assert any(row.startswith("| `endpoint_url` |  | none |") for row in table)
    assert any(row.startswith("| `state` |  | `parked` |") for row in table)


def test_a_persons_own_stack_changes_no_docs(first_ups: FirstUps, monkeypatch: pytest.MonkeyPatch):
    def read(*_: object) -> dict[str, str]:
        raise AssertionError("a stack's own file was read")

    monkeypatch.setattr("scripts.stack_file.raw_values", read)
    assert FirstUps().of(PROGRAMS["local"]).outputs["state"].value == "serving"


def test_that_all_is_current_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "page.md"
    monkeypatch.setattr(documents, "CHECKOUT", tmp_path)
    monkeypatch.setattr(documents, "generated", lambda: {file: "text"})
    assert main(["--check"]) == 1
    assert capsys.readouterr().out == ""
    file.write_text("text", encoding="utf-8")
    assert main(["--check"]) == 0
    assert capsys.readouterr().out == "all 1 files are current\n"


def test_a_page_without_a_place_for_a_table_is_named():
    with pytest.raises(documents.NoPlaceError, match=r"docs/x\.md has no place for .*`keys`"):
        documents.renewed("no place here", {"keys": "table"}, "docs/x.md")


OPENED_TO = {
    "203.0.113.0/24": "`allowed_cidrs`",
    "35.235.240.0/20": "Google's IAP (35.235.240.0/20)",
    "0.0.0.0/0": "everybody",
    "35.191.0.0/16": "Google's health checks",
    "130.211.0.0/22": "Google's health checks",
}
"""By a range of a firewall's rule, how docs/security.md calls it."""


def test_the_security_page_says_what_a_machines_firewall_opens(first_ups: FirstUps):
    all_of_it = {
        "tls": "acme",
        "domain": "llm.example.org",
        "spot": "true",
        "spot_recovery": "mig",
    }
    made = first_ups.of(PROGRAMS["cpu-vm"], all_of_it).registrations.values()
    rules = [one.plain() for one in made if one.token == "gcp:compute/firewall:Firewall"]
    opened = {
        (port, OPENED_TO[cidr])
        for rule in rules
        for allowed in rule.get("allows", [])
        for port in allowed["ports"]
        for cidr in rule["sourceRanges"]
    }
    rows = list(page(DOCS / "security.md").rows("Where", "Port", "From"))
    machines = next(at for at, cells in enumerate(rows) if "`cpu-vm`" in cells[0])
    of_machines = [rows[machines], *takewhile(lambda cells: not cells[0], rows[machines + 1 :])]
    assert {(cells[1].split(",")[0], cells[2]) for cells in of_machines} == opened
