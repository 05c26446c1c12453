"""No form of a key that a server may echo gets through the scrubber."""

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest

from scripts.verify.scrub import MASK, Scrubber

KEY = "sk-Ab+c/d=e&f\"g'h<i>-0123456789-~^-Zz"
PLAIN_KEY = "sk-4f9a0c77d1be42e8a6f3"

ECHOES = {
    "as it is": str,
    "in capitals": str.upper,
    "in a URL": quote,
    "in a URL's query": lambda key: quote(key, safe=""),
    "in a form": quote_plus,
    "percent-encoded in small letters": lambda key: quote(key, safe="").lower(),
    "with every byte percent-encoded": lambda key: "".join(f"%{b:02X}" for b in key.encode()),
    "in hexadecimal": lambda key: key.encode().hex(),
    "in HTML": html.escape,
    "in JSON": lambda key: json.dumps(key)[1:-1],
    "in JSON as it is": lambda key: json.dumps(key, ensure_ascii=False)[1:-1],
    "in Python's repr": lambda key: repr(key)[1:-1],
}


@pytest.mark.parametrize("key", [KEY, PLAIN_KEY])
@pytest.mark.parametrize("echo", ECHOES)
def test_a_key_is_taken_out_in_every_form(key: str, echo: str):
    clean = Scrubber([key]).text(f"denied: <{ECHOES[echo](key)}> is not known")
    assert clean == f"denied: <{MASK}> is not known"


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", [b"", b":", b"a:", b"abc", b"Authorization: Bearer "])
@pytest.mark.parametrize("after", [b"", b"\r\n", b"\xff\xfe\xfd"])
@pytest.mark.parametrize("key", [KEY, PLAIN_KEY])
def test_base64_leaves_only_what_the_bytes_around_the_key_decide(encode, before, after, key):
    encoded = encode(before + key.encode() + after).decode()
    clean = Scrubber([key]).text(encoded)
    assert MASK in clean
    first, last = clean.split(MASK)
    assert len(first) <= -(-len(before) * 8 // 6)
    assert len(last.rstrip("=")) <= -(-len(after) * 8 // 6) + 1


def test_a_key_that_was_cut_off_is_taken_out_too():
    clean = Scrubber([PLAIN_KEY]).text(f"Bearer {PLAIN_KEY[:15]}")
    assert clean == f"Bearer {MASK}"


def test_a_key_met_twice_is_masked_twice_and_the_rest_stays():
    clean = Scrubber([PLAIN_KEY]).text(f"<{PLAIN_KEY}> and <{PLAIN_KEY}>")
    assert clean == f"<{MASK}> and <{MASK}>"


def test_a_short_key_goes_only_where_it_is_a_word():
    scrubber = Scrubber(["k"])
    assert scrubber.text("Bearer k, check k") == f"Bearer {MASK}, check {MASK}"


def test_without_secrets_text_stays_as_it_is():
    assert Scrubber([""]).text("all of it") == "all of it"


def test_a_tree_is_scrubbed_in_every_string_and_keeps_its_other_values():
    value = {"a": [PLAIN_KEY, 1, None, True], PLAIN_KEY: {"b": f"x {PLAIN_KEY}"}}
    assert Scrubber([PLAIN_KEY]).tree(value) == {
        "a": [MASK, 1, None, True],
        MASK: {"b": f"x {MASK}"},
    }
