"""Values of properties: paths, differences, what is hidden; rendered files' differences."""

import json

import pytest

from scripts.changes import secrecy, values
from scripts.changes.files import compare, diff
from scripts.changes.model import ABSENT, FileChange, Property

SECRET = {values.SIGNATURE: values.SECRET_SIGNATURE, "plaintext": json.dumps("hush-hush-hush")}


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("a", ("a",)),
        ("a.b[0].c", ("a", "b", 0, "c")),
        ('metadata["user-data"]', ("metadata", "user-data")),
        ('a["b.c"]["d\\"e"][12]', ("a", "b.c", 'd"e', 12)),
        ("triggers[*]", ("triggers", "*")),
    ],
)
def test_a_path_is_read_as_the_engine_writes_it(path, steps):
    assert values.steps(path) == steps
    assert values.top(path) == steps[0]


def test_a_path_is_written_so_that_it_can_be_read():
    for steps in (("a", "b"), ("a", "b.c", 0, "d"), ("llm-endpoint:x", "y")):
        path = ""
        for one in steps:
            path = values.joined(path, one)
        assert values.steps(path) == steps


def test_differences_go_down_to_the_deepest_path_that_both_sides_have():
    before = {"a": {"b": 1, "c": [1, 2]}, "gone": {"x": 1}, "same": [1]}
    after = {"a": {"b": 2, "c": [1, 3, 4]}, "new": "n", "same": [1]}
    assert list(values.differences(before, after)) == [
        Property("a.b", 1, 2),
        Property("a.c[1]", 2, 3),
        Property("a.c[2]", ABSENT, 4),
        Property("gone", {"x": 1}, ABSENT),
        Property("new", ABSENT, "n"),
    ]


def test_no_part_of_a_secret_is_ever_looked_at():
    assert values.at({"a": SECRET}, "a.plaintext") == values.SECRET
    assert values.plain([{"deep": [SECRET]}]) == [{"deep": [values.SECRET]}]
    (found,) = values.differences({"a": "open"}, {"a": SECRET})
    assert (found.before, found.after) == ("open", values.SECRET)


def test_every_secret_of_a_state_and_of_a_configuration_is_known_to_the_cleaner():
    keys = {
        values.SIGNATURE: values.SECRET_SIGNATURE,
        "plaintext": json.dumps('{"a": "key-of-a-1"}'),
    }
    state = {"deployment": {"resources": [{"outputs": {"k": [SECRET]}}, {"inputs": keys}]}}
    config = {
        "llm-endpoint:token": {"value": "token-in-config", "secret": True},
        "llm-endpoint:model": {"value": "public-model-name", "secret": False},
    }
    shell = {"GITHUB_TOKEN": "token-of-the-shell", "TOKEN_FILE": "/a/long/path", "LANG": "C.UTF-8"}
    known = [
        *secrecy.of_state(state),
        *secrecy.of_configuration(config),
        *secrecy.of_environment(shell),
    ]
    assert known == ["hush-hush-hush", "key-of-a-1", "token-in-config", "token-of-the-shell"]
    clean = secrecy.cleaner(known)
    text = clean("it said key-of-a-1, hush-hush-hush and public-model-name")
    assert text == "it said [key], [key] and public-model-name"


def test_a_key_in_pem_is_hidden_and_the_words_around_it_are_not():
    pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n-----END PRIVATE KEY-----\n"
    clean = secrecy.cleaner([pem])
    assert clean(pem.splitlines()[1]) == "[key]"
    assert clean("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"


def test_without_any_secret_a_text_stays_as_it_is():
    assert secrecy.cleaner(["", "short"])("a short text") == "a short text"


def test_files_that_come_go_and_change_are_told_in_the_order_of_their_paths():
    found = list(compare({"a": "1\n", "b": "x\n", "same": "s"}, {"b": "y\n", "c": "", "same": "s"}))
    assert found == [
        FileChange("removed", "a", ("--- a/a", "+++ /dev/null", "@@ -1 +0,0 @@", "-1")),
        FileChange("changed", "b", ("--- a/b", "+++ b/b", "@@ -1 +1 @@", "-x", "+y")),
        FileChange("added", "c", ()),
    ]


def test_a_last_line_that_loses_its_end_is_told():
    assert list(diff("a\n", "a", "f")) == ["\\ Only before the last line ends with a line break"]


def test_of_base64_only_that_it_changed_is_told():
    old, new = (f"content: |\n  {one * 76}\n  {one * 76}\n  {one * 9}==\nend\n" for one in "AB")
    lines = list(diff(old, new))
    assert [line[:28] for line in lines if line.startswith(("-", "+"))] == [
        "-  [3 lines of Base64, sha25",
        "+  [3 lines of Base64, sha25",
    ]
