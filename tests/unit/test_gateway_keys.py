"""The file of the keys' hashes."""

from pathlib import Path

import pytest
from gateway_harness import write_keys

from machine.gateway.keys import KeyFile, bearer
from machine.paths import Paths


def test_keys_are_known_by_their_hashes(tmp_path: Path):
    paths = Paths(tmp_path)
    write_keys(paths, default="sk-a", alice="sk-b")
    keys = KeyFile(paths.keys)
    assert keys.problem is None
    assert [keys.name_of(key) for key in (b"sk-a", b"sk-b", b"sk-c", b"")] == [
        *("default", "alice"),
        *(None, None),
    ]
    assert "sk-a" not in paths.keys.read_text()


def test_keys_that_are_added_and_revoked_are_noticed(tmp_path: Path):
    paths = Paths(tmp_path)
    write_keys(paths, default="sk-a")
    keys = KeyFile(paths.keys)
    write_keys(paths, alice="sk-b")
    assert (keys.name_of(b"sk-a"), keys.name_of(b"sk-b")) == (None, "alice")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"default": 1}', '{"default": "abc"}', '{"default": "sk-secret"}', b"\xff"],
)
def test_a_damaged_file_lets_nobody_in_and_is_not_repeated(tmp_path: Path, content: str | bytes):
    paths = Paths(tmp_path)
    write_keys(paths, default="sk-a")
    keys = KeyFile(paths.keys)
    paths.keys.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert keys.name_of(b"sk-a") is None
    assert keys.problem == "the file of the keys is damaged"


def test_a_missing_file_and_one_without_keys_let_nobody_in(tmp_path: Path):
    paths = Paths(tmp_path)
    keys = KeyFile(paths.keys)
    assert keys.name_of(b"") is None
    assert keys.problem == "the file of the keys can't be read: No such file or directory"
    write_keys(paths)
    assert keys.problem == "there is no key yet"
    write_keys(paths, default="sk-a")
    assert keys.name_of(b"sk-a") == "default"


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        (["Bearer sk-a"], b"sk-a"),
        (["bearer  sk-a "], b"sk-a"),
        (["Bearer"], None),
        (["Bearer "], None),
        (["sk-a"], None),
        (["Basic sk-a"], None),
        (["Bearer sk-a", "Bearer sk-a"], None),
        ([], None),
        (["Bearer \udcff"], b"\xff"),
    ],
)
def test_a_key_comes_in_one_authorization_header(headers: list[str], key: bytes | None):
    assert bearer(headers) == key
