"""What of the docs comes from the code is current."""

from scripts import reference


def test_the_generated_parts_of_the_docs_are_current():
    assert reference.main(["--check"]) == 0


def test_a_table_that_has_no_place_is_missed():
    try:
        reference.renewed("no place here", {"keys": "table"})
    except KeyError as missing:
        assert missing.args == ("keys",)
    else:
        raise AssertionError("nothing was missed")
