"""Several previews as one text that fits, with nothing left open where it is cut."""

import pytest

from scripts.ci.joining import MOST_CHARACTERS, Part, cut, join, parts_of

NOTICE = "\n*cut*\n"


def test_short_parts_stay_whole_in_the_order_of_the_matrix():
    texts = {"zeta": "### zeta\n", "alpha": "### alpha\n"}
    joined = join("# All", parts_of(texts, ["zeta", "alpha"]), "")
    assert joined == "# All\n\n### zeta\n\n### alpha\n"


def test_a_stack_that_handed_nothing_on_is_named():
    joined = join("# All", parts_of({}, ["cpu-vm"]), "https://github.com/o/r/actions/runs/7")
    assert "### cpu-vm" in joined
    assert "[the run](https://github.com/o/r/actions/runs/7) says why" in joined


def test_a_stack_that_nobody_expected_is_there_all_the_same():
    assert parts_of({"extra": "x"}, ["cpu-vm"]) == [Part("cpu-vm", None), Part("extra", "x")]


def test_the_whole_fits_and_the_short_part_is_not_the_one_that_is_cut():
    long = "".join(f"line {at} of the long one\n" for at in range(20_000))
    texts = {"long": long, "longer": long * 2, "short": "### short\nall of it\n"}
    joined = join("# All", parts_of(texts, [*texts]), "")
    assert MOST_CHARACTERS * 0.99 < len(joined) <= MOST_CHARACTERS
    assert "### short\nall of it\n" in joined
    assert joined.count("*Cut here: the run has the whole.*") == 2


def test_many_stacks_fit_too():
    texts = {f"stack-{at}": "a line\n" * 10_000 for at in range(40)}
    assert len(join("# All", parts_of(texts, [*texts]), "")) <= MOST_CHARACTERS


@pytest.mark.parametrize("limit", range(40, 140, 3))
def test_what_a_cut_leaves_open_is_closed(limit: int):
    text = (
        "before\n<details>\n<summary>the files</summary>\n\n````diff\n"
        "+ ```\n+ one\n+ two\n+ three\n````\n\n</details>\n" + "after\n" * 20
    )
    short = cut(text, limit, NOTICE)
    assert len(short) <= limit
    assert short.endswith(NOTICE)
    lines = short.splitlines()
    assert lines.count("````diff") == lines.count("````")
    assert lines.count("<details>") == lines.count("</details>")


def test_a_text_that_fits_is_not_touched():
    assert cut("a\n", 2, NOTICE) == "a\n"


def test_one_line_that_is_too_long_gives_way_to_the_notice():
    assert cut("x" * 500, 100, NOTICE) == NOTICE
