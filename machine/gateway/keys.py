"""Whose key a request carries."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast


class KeyFile:
    """The file of the keys' hashes, read again whenever it is another one.

    Where it is not there, or is not what it should be, no key is right.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._hashes: Mapping[str, bytes] = {}
        self._problem: str | None = None
        self._refresh()

    @property
    def problem(self) -> str | None:
        """Why nobody gets in; None where the keys are there."""
        self._refresh()
        return self._problem

    def name_of(self, key: bytes) -> str | None:
        """Return the name of `key`, or None where it is none of ours.

        Takes as long for one key as for another: every hash is compared, and wholly.
        """
        self._refresh()
        presented = hashlib.sha256(key).hexdigest().encode()
        name = None
        for each, expected in self._hashes.items():
            if hmac.compare_digest(expected, presented):
                name = each
        return name

    def _refresh(self) -> None:
        seen = None
        hashes: dict[str, bytes] = {}
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen == self._seen:
                return
            hashes = _parse(self._path.read_bytes())
        except OSError as error:
            seen = None
            self._problem = f"the file of the keys can't be read: {error.strerror}"
        except ValueError:
            self._problem = "the file of the keys is damaged"
        else:
            self._problem = None if hashes else "there is no key yet"
        self._seen, self._hashes = seen, hashes


def _parse(text: bytes) -> dict[str, bytes]:
    """Return the hashes by the keys' names. Raises `ValueError`."""
    content: object = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("not an object")
    hashes: dict[str, bytes] = {}
    for name, value in cast("dict[str, object]", content).items():
        if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
            raise ValueError("not the sha256 of a key")
        hashes[name] = value.encode()
    return hashes


def bearer(authorization: Sequence[str]) -> bytes | None:
    """Return the key in a request's Authorization headers; None unless there is exactly one."""
    if len(authorization) != 1:
        return None
    scheme, _, key = authorization[0].partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        return None
    return key.strip().encode("utf-8", "surrogateescape")
