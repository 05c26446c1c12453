"""What of the docs comes from the code is current."""

from pathlib import Path

import pytest

from scripts import reference


def test_the_generated_parts_of_the_docs_are_current():
    assert reference.main(["--check"]) == 0


def test_that_all_is_current_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "page.md"
    monkeypatch.setattr(reference, "CHECKOUT", tmp_path)
    monkeypatch.setattr(reference, "generated", lambda: {file: "text"})
    assert reference.main(["--check"]) == 1
    assert capsys.readouterr().out == ""
    file.write_text("text", encoding="utf-8")
    assert reference.main(["--check"]) == 0
    assert capsys.readouterr().out == "all 1 files are current\n"


def test_a_table_that_has_no_place_is_missed():
    try:
        reference.renewed("no place here", {"keys": "table"})
    except KeyError as missing:
        assert missing.args == ("keys",)
    else:
        raise AssertionError("nothing was missed")
