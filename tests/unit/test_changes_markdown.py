"""A preview's Markdown: what comes first, what is escaped, what is cut."""

from __future__ import annotations

import re
from dataclasses import replace

from scripts.changes import markdown, shown
from scripts.changes.model import (
    ABSENT,
    Bill,
    Billing,
    Change,
    Diagnostic,
    Drift,
    FileChange,
    Files,
    Preview,
    Property,
    Violation,
)


def change(kind, name, *properties: Property, **more) -> Change:
    return Change(kind, "gcp:compute/instance:Instance", name, properties, **more)


def told(preview: Preview, clean=str) -> str:
    return markdown.written(preview, clean)


EVERYTHING = Preview(
    stack="dev",
    changes=(
        change("create", "made"),
        change("update", "updated", Property("a", 1, 2)),
        change("delete", "deleted"),
        change("replace", "replaced", Property("b", "x", "y", replaces=True), Property("c", 1, 2)),
    ),
    unchanged=7,
)


def test_replacements_and_deletions_come_first():
    text = told(EVERYTHING)
    assert text.startswith("<!-- llm-endpoint preview dev -->\n### dev\n\n")
    assert "**1 to replace, 1 to delete, 1 to create, 1 to update.** 7 stay as they are." in text
    rows = [line for line in text.splitlines() if line.startswith("| ") and "`" in line]
    assert rows == [
        "| **replace** | `replaced` | `gcp:compute:Instance` | **`b`**, `c` |",
        "| **delete** | `deleted` | `gcp:compute:Instance` |  |",
        "| update | `updated` | `gcp:compute:Instance` | `a` |",
        "| create | `made` | `gcp:compute:Instance` |",
    ]


def test_values_before_and_after_stand_in_a_diff_with_what_causes_a_replacement():
    text = told(EVERYTHING)
    assert '! b (causes the replacement)\n- "x"\n+ "y"\n! c\n- 1\n+ 2\n' in text


def test_nothing_to_change_is_said_in_one_line():
    assert told(Preview("dev", unchanged=1)) == (
        "<!-- llm-endpoint preview dev -->\n### dev\n\n**Nothing to change.** 1 stays as it is.\n"
    )


def test_a_mocked_preview_says_so_in_its_heading_and_why_below():
    text = told(replace(EVERYTHING, mocked="no plugin can be had."))
    assert "### dev · mocked\n" in text
    assert "\nMocked: no plugin can be had.\n" in text


def test_what_forbids_an_up_stands_at_the_top():
    refused = Preview(
        "dev",
        changes=(change("delete", "disk", protected=True),),
        violations=(
            Violation("advice", False, "", "mind it"),
            Violation("closed", True, "fw", "set allowed_cidrs"),
        ),
    )
    lines = told(refused).splitlines()
    assert lines[3] == "**The policy pack refuses this: it violates a mandatory policy.**"
    assert lines[5].startswith("**`up` will refuse this: `disk` must not be deleted")
    rows = [
        line for line in lines if (line.startswith("| ") and "`closed`" in line) or "advice" in line
    ]
    assert rows == [
        "| **mandatory** | `closed` | `fw` | set allowed_cidrs |",
        "| advisory | `advice` | the stack | mind it |",
    ]


def test_a_preview_that_failed_says_so_first_and_shows_its_errors_open():
    said = (Diagnostic("warning", "", "w"), Diagnostic("error", "vm", "no such zone"))
    text = told(Preview("dev", failed=True, diagnostics=said))
    assert text.index("The preview failed") < text.index("<details open><summary>Errors (1)")
    assert "```text\nvm:\nno such zone\n```" in text
    assert "Nothing to change" not in text


def test_drift_is_told_apart_from_what_an_up_would_do():
    drift = (Drift("t:m:T", "gone", True), Drift("t:m:T", "moved", False, (Property("a", 1, 2),)))
    text = told(Preview("dev", drift=drift))
    assert "- `gone` (`t:m:T`): is gone\n- `moved` (`t:m:T`): `a`\n" in text
    assert "**Nothing to change.**" in text


def test_nothing_in_a_text_is_markup_or_a_mention():
    hostile = "@team <img src=x> | `code` **bold** [a](b) &amp;\nsecond\x1b[1m line"
    text = shown.text(hostile)
    assert "@team" not in text
    assert not re.search(r"(?<!\\)[<>|`*\[\]]", text)
    assert "\n" not in text
    assert "\x1b" not in text
    assert "&amp;amp;" in text


def test_code_holds_backticks_and_pipes():
    assert shown.code("a`b") == "`` a`b ``"
    assert shown.code("a|b") == "`a\\|b`"


def test_a_fence_is_longer_than_any_within():
    assert shown.fenced(["a", "````", "b"]) == ["`````diff", "a", "````", "b", "`````"]


def test_no_text_from_outside_leaves_its_fence_or_its_cell():
    hostile = "```\n</details>\n| x | @team |\n```"
    text = told(
        Preview(
            "dev",
            changes=(change("update", "a|b`c", Property("p|q", "old", hostile)),),
            violations=(Violation("p", True, "r|s", hostile),),
            diagnostics=(Diagnostic("error", "", hostile),),
            billing=Billing((Bill(hostile, True, False),), None, mocked=False),
            files=Files("main", (FileChange("changed", "f", tuple(hostile.splitlines())),), 1),
        )
    )
    outside, fence = [], ""
    for line in text.splitlines():
        opened = re.match(r"`{3,}", line)
        if fence:
            fence = "" if line == fence else fence
        elif opened:
            fence = opened[0]
        else:
            outside.append(line)
    assert not fence
    assert not [line for line in outside if re.search(r"@team|^```", line)]
    assert sum(line == "</details>" for line in outside) == sum(
        line.startswith("<details") for line in outside
    )
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in outside if line.startswith("|")]
    assert set(cells) == {5}


def test_json_in_a_value_is_compared_line_by_line():
    one = Property("launch", '{"args": ["--ctx", "16384"]}', '{"args": ["--ctx", "8192"]}')
    lines = list(shown.difference(one, str))
    assert [line for line in lines if line[0] in "+-"] == ['-  "16384"', '+  "8192"']


def test_a_secret_that_changes_is_told_as_another_one():
    one = Property("key", "[secret]", "[secret]")
    assert list(shown.difference(one, str)) == ["  [secret], another one"]


def test_what_is_known_to_be_secret_is_taken_out_of_every_text():
    secret = "sk-do-not-show-me"
    preview = Preview(
        "dev",
        changes=(
            change("update", "a", Property("p", secret, f"x\n{secret}\ny")),
            change("create", "b", Property("q", ABSENT, secret)),
        ),
        outputs=(Property("url", ABSENT, secret),),
        violations=(Violation("p", False, "a", secret),),
        diagnostics=(Diagnostic("error", "", secret),),
        billing=Billing((Bill(secret, True, False),), None, mocked=False),
        files=Files("main", (FileChange("changed", "f", (f"+{secret}",)),), 1),
        mocked=secret,
        notes=(secret,),
    )
    text = markdown.written(preview, lambda words: words.replace(secret, "[key]"))
    assert secret not in text
    assert text.count("[key]") + text.count("\\[key\\]") >= 10


def test_billing_tells_what_is_new_and_what_is_no_more():
    kept, new, gone = (Bill(name, True, name == "kept") for name in ("kept", "new", "gone"))
    text = told(Preview("dev", billing=Billing((kept, new), (kept, gone), mocked=True)))
    assert "| What bills (from the mocked run) |" in text
    assert "| kept | yes | yes |  |\n| new | yes | no | **new** |\n" in text
    assert "| gone | yes | no | **no more** |" in text


def test_a_stack_of_which_nothing_bills_says_so():
    text = told(Preview("dev", billing=Billing((), None, mocked=False)))
    assert "`billing`: nothing of it bills." in text


def files(lines: int) -> Files:
    return Files("main", (FileChange("changed", "f", tuple(f"+{n:040}" for n in range(lines))),), 9)


def test_the_rendered_files_diff_is_cut_first_and_says_so():
    preview = replace(EVERYTHING, files=files(5000), billing=Billing((), None, mocked=False))
    text = told(preview)
    assert len(text) <= markdown.MOST_CHARACTERS
    assert "! b (causes the replacement)" in text
    assert "nothing of it bills" in text
    (left,) = re.findall(r"Cut here: (\d+) lines more", text)
    assert int(left) + len(re.findall(r"^\+0", text, re.MULTILINE)) == 5000


def test_a_preview_of_very_many_resources_is_cut_and_keeps_its_summary():
    many = tuple(
        change(
            "update",
            f"{kind}-{'x' * 60}-{n}",
            *(Property(f"p{i}", "o" * 200, "n" * 200) for i in range(9)),
        )
        for kind in ("a", "b")
        for n in range(400)
    )
    text = told(Preview("dev", changes=many, files=files(5000)))
    assert len(text) <= markdown.MOST_CHARACTERS
    assert "**800 to update.**" in text
    (more,) = re.findall(r"… (\d+) resources more", text)
    assert int(more) + len(re.findall(r"^\| update \|", text, re.MULTILINE)) == 800
    assert text.count("<details") == text.count("</details>")


def test_the_longest_of_everything_stays_below_what_a_comment_takes():
    words = "w" * 3000
    text = told(
        Preview(
            "dev",
            changes=tuple(
                change("create", f"{words}{n}", Property("p", 1, words)) for n in range(900)
            ),
            violations=tuple(Violation("p", True, "r", f"{words}{n}") for n in range(90)),
            diagnostics=tuple(Diagnostic("error", "r", f"{words}\n" * 90) for n in range(9)),
            billing=Billing(tuple(Bill(words, True, True) for _ in range(90)), None, mocked=True),
            files=files(5000),
        )
    )
    assert len(text) <= markdown.MOST_CHARACTERS
    assert text.count("<details") == text.count("</details>")


def test_rendered_files_that_are_the_same_or_cannot_be_told_say_so():
    assert "Rendered files: the same 9 files as `main`." in told(
        Preview("dev", files=Files("main", (), 9))
    )
    assert "Rendered files: no diff against `main`: too old" in told(
        Preview("dev", files=Files("main", problem="too old"))
    )
    alone = markdown.render_diff("dev", files(2), str)
    assert alone.startswith("<!-- llm-endpoint preview dev -->\n### dev · rendered files\n")
    assert "Rendered files against main: 1 changed" in alone
