"""Words of systemd's unit files: what comes in is what the program gets."""

import random

import pytest

from components.rendering.machine.words import WordError, argument, command, quoted, variable

ALPHABET = "ab 7-=./'\"\\$%{}();&|<>*?~#!@^`,:[]éß漢🙂 "


def unquoted(text: str) -> list[str]:
    """Split as systemd.syntax(7) and systemd.service(5) say, specifiers and variables expanded."""
    words: list[str] = []
    word: str | None = None
    in_quotes = False
    characters = iter(text)
    for character in characters:
        if character == '"':
            in_quotes = not in_quotes
            word = word or ""
        elif character == "\\":
            following = next(characters)
            assert following in '\\"', f"no such escape: {following}"
            word = (word or "") + following
        elif character == " " and not in_quotes:
            if word is not None:
                words.append(word)
            word = None
        else:
            assert in_quotes or character not in "';", "a sign that only quotes make harmless"
            word = (word or "") + character
    assert not in_quotes
    return words if word is None else [*words, word]


def halved(word: str, sign: str) -> str:
    """Take doubled signs for one each; a single one would begin something else."""
    parts = word.split(sign * 2)
    assert not any(sign in part for part in parts), f"a single {sign} in {word!r}"
    return sign.join(parts)


def test_a_program_gets_the_words_that_were_quoted():
    chance = random.Random(4)
    for _ in range(2000):
        words = ["/bin/x"] + [
            "".join(chance.choices(ALPHABET, k=chance.randrange(9)))
            for _ in range(chance.randrange(4))
        ]
        seen = [halved(halved(word, "%"), "$") for word in unquoted(command(words))]
        assert seen == words


def test_the_environment_keeps_dollar_signs():
    chance = random.Random(5)
    for _ in range(500):
        word = "".join(chance.choices(ALPHABET, k=8))
        (seen,) = unquoted(quoted(word))
        assert halved(seen, "%") == word


def test_plain_words_stay_as_people_write_them():
    assert command(["/bin/x", "--port", "8081", "a/b:c.gguf"]) == "/bin/x --port 8081 a/b:c.gguf"


def test_an_empty_word_stays_a_word():
    assert argument("") == '""'


def test_a_semicolon_does_not_begin_another_command():
    assert argument(";") == '";"'


@pytest.mark.parametrize("word", ["a\nExecStartPre=/bin/sh", "a\rb", "a\0b", "\t", "\x7f"])
def test_control_characters_are_refused_by_name(word: str):
    with pytest.raises(WordError, match="control character"):
        argument(word)


@pytest.mark.parametrize("words", [[], ["python3"], ["-/bin/x"], ["+/bin/x"], [""]])
def test_a_program_without_its_path_is_refused(words: list[str]):
    with pytest.raises(WordError, match="absolute path"):
        command(words)


def test_a_variable_is_one_word_whatever_its_value_holds():
    # systemd.service(5): "${FOO}" as (a part of) a word is replaced by the exact value.
    assert variable("LLM_ENDPOINT_MODEL") == "${LLM_ENDPOINT_MODEL}"
