"""Takes secrets out of text, in the forms in which a server may echo them."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from scripts.verify.shape import Json

MASK = "[key]"
PART_CHARACTERS = 12
"""A run of this many characters of a secret is taken out too: texts come cut off."""
WORD_CHARACTERS = 8
"""A secret shorter than this is taken out only where it stands as a word of its own."""

_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def _base64_forms(secret: bytes) -> set[str]:
    """Return the part of any Base64 text with `secret` in it that does not depend on the rest.

    Base64 turns 3 bytes into 4 characters, so it depends on where the secret begins, modulo 3.
    """
    forms: set[str] = set()
    for offset in range(3):
        plain = b"\0" * offset + secret
        first = -(-offset * 8 // 6)
        last = len(plain) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            forms.add(encode(plain).decode()[first:last])
    return forms


def _forms(secret: str) -> set[str]:
    data = secret.encode()
    forms = {
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        "".join(f"%{byte:02x}" for byte in data),
        html.escape(secret),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        data.hex(),
    }
    return forms | _base64_forms(data)


class Scrubber:
    """Replaces the secrets it knows by `[key]`, whichever case or encoding they come in.

    Encodings: URL, Base64 (at every offset, both alphabets), hexadecimal, HTML and JSON escapes.
    Parts of `PART_CHARACTERS` or more go as well. Secrets shorter than `WORD_CHARACTERS` are
    known only as a plain word: they are too short to be told from other text.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        known = [secret for secret in secrets if secret]
        words = [re.escape(secret) for secret in known if len(secret) < WORD_CHARACTERS]
        self._words = (
            re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(words)})(?![A-Za-z0-9])") if words else None
        )
        self._parts: dict[int, set[str]] = {}
        for secret in known:
            if len(secret) < WORD_CHARACTERS:
                continue
            for form in _forms(secret):
                size = min(len(form), PART_CHARACTERS)
                lowered = form.translate(_LOWER)
                parts = (lowered[at : at + size] for at in range(len(form) - size + 1))
                self._parts.setdefault(size, set()).update(parts)

    def text(self, text: str) -> str:
        """Return `text` without the secrets."""
        if self._words:
            text = self._words.sub(MASK, text)
        return self._without_parts(text) if self._parts else text

    def _without_parts(self, text: str) -> str:
        lowered = text.translate(_LOWER)
        clean: list[str] = []
        kept = 0
        at = 0
        end = 0  # the characters from the last hit's start up to here belong to a secret
        while at < len(text):
            hits = [n for n, parts in self._parts.items() if lowered[at : at + n] in parts]
            if hits:
                if at >= end:
                    clean += [text[kept:at], MASK]
                end = max(end, at + max(hits))
                kept = end
            at += 1
        return "".join([*clean, text[kept:]])

    def tree(self, value: Json) -> Json:
        """Return the JSON `value` with every string in it scrubbed, names in objects as well."""
        match value:
            case str():
                return self.text(value)
            case list():
                return [self.tree(item) for item in value]
            case dict():
                return {self.text(name): self.tree(item) for name, item in value.items()}
            case _:
                return value
