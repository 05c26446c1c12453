"""The verification receipt: what was checked, what was seen, how fast, and of what.

Its JSON form is a contract: fields keep their names and their order, and a change that breaks a
reader raises `SCHEMA_VERSION`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, TypeAlias

from scripts.verify.shape import Json, dig, dig_count, dig_text, parse_json

SCHEMA_VERSION = 1

CheckStatus: TypeAlias = Literal["passed", "failed", "skipped"]
ReceiptStatus: TypeAlias = Literal["passed", "failed"]

STAND_IN_NOTICE = (
    "STAND-IN: this model is not a language model. Its answers are fixed, and good for trying "
    "the endpoint only. Set `model` to a real one."
)


@dataclass(frozen=True)
class Check:
    """One check.

    `seen` says in a few words what came. A failed check also has what was `expected`, what to
    look at next, and, where the server died or never got ready, the end of its log. A skipped one
    has its `reason` and took 0 s.
    """

    name: str
    status: CheckStatus
    seconds: float
    seen: str | None = None
    expected: str | None = None
    next_step: str | None = None
    log_tail: tuple[str, ...] = ()
    reason: str | None = None

    def as_json(self) -> dict[str, Json]:
        """Return the check as in the receipt; what does not apply is left out."""
        fields: dict[str, Json] = {
            "name": self.name,
            "status": self.status,
            "seconds": self.seconds,
            "seen": self.seen,
            "expected": self.expected,
            "next": self.next_step,
            "log_tail": [*self.log_tail] or None,
            "reason": self.reason,
        }
        return {name: value for name, value in fields.items() if value is not None}

    @classmethod
    def from_json(cls, value: Json) -> Check:
        """Return the check that `as_json` made `value` of. Raises `ValueError`."""
        status = dig(value, "status")
        if status not in ("passed", "failed", "skipped"):
            raise ValueError(
                f"a check's status is passed, failed or skipped in a receipt, not {status!r}"
            )
        log_tail = dig(value, "log_tail")
        return cls(
            name=dig_text(value, "name"),
            status=status,
            seconds=_number(value, "seconds") or 0.0,
            seen=_optional_text(value, "seen"),
            expected=_optional_text(value, "expected"),
            next_step=_optional_text(value, "next"),
            log_tail=tuple(map(str, log_tail)) if isinstance(log_tail, list) else (),
            reason=_optional_text(value, "reason"),
        )


@dataclass(frozen=True)
class Concurrency:
    """`streams` chats at once.

    `tokens_per_second` holds each stream's own rate, as in `Receipt.tokens_per_second`.
    `total_tokens_per_second` is all their tokens over the time from the first request's start to
    the last stream's end: what the endpoint delivered, waiting included.
    """

    streams: int
    tokens_per_second: tuple[float | None, ...]
    total_tokens_per_second: float

    def as_json(self) -> dict[str, Json]:
        """Return it as in the receipt."""
        return {
            "streams": self.streams,
            "tokens_per_second": [*self.tokens_per_second],
            "total_tokens_per_second": self.total_tokens_per_second,
        }

    @classmethod
    def from_json(cls, value: Json) -> Concurrency:
        """Return what `as_json` made `value` of. Raises `ValueError`."""
        rates = dig(value, "tokens_per_second")
        streams, total = dig_count(value, "streams"), _number(value, "total_tokens_per_second")
        if not isinstance(rates, list) or streams is None or total is None:
            raise ValueError("`concurrency` in a receipt lacks a field")
        return cls(
            streams=streams,
            tokens_per_second=tuple(_number(rates, at) for at in range(len(rates))),
            total_tokens_per_second=total,
        )


@dataclass(frozen=True)
class Engine:
    """The engine's name and package as the caller gave them, and its version as it reports it."""

    name: str | None
    version: str | None
    package: str | None = None


@dataclass(frozen=True)
class Model:
    """The model that was checked: its id, and what `/v1/models` says of it.

    `parameters` is their count, `size_bytes` that of the weights. `stand_in`: it is no language
    model.
    """

    id: str | None
    owned_by: str | None = None
    parameters: int | None = None
    size_bytes: int | None = None
    stand_in: bool = False

    @property
    def notice(self) -> str | None:
        """What a reader must know of the model, or None."""
        return STAND_IN_NOTICE if self.stand_in else None


@dataclass(frozen=True)
class Receipt:
    """The result of one verification.

    `time_to_first_token_seconds` runs from the start of the streamed chat's request to its first
    chunk with text (answer or reasoning). `tokens_per_second` is that stream's tokens after the
    first over the time from that chunk to the one with the finish reason; tokens as the server's
    `usage` counts them, else one a chunk. Both are None where the check did not get that far or
    could not measure it.

    `verified_at` is UTC in ISO 8601, `verified_from` this machine's host name, `endpoint_url` the
    origin that was asked. `boot` is where the boot of the endpoint's machine can be read
    (`--boot`) and `via` where was connected to instead of its host (`--via`), None where nobody
    said.
    """

    status: ReceiptStatus
    endpoint_url: str
    verified_at: str
    verified_from: str
    engine: Engine
    model: Model
    time_to_first_token_seconds: float | None
    tokens_per_second: float | None
    concurrency: Concurrency | None
    checks: tuple[Check, ...]
    boot: str | None = None
    via: str | None = None

    @property
    def failed_check(self) -> Check | None:
        """The check that failed, if one did."""
        return next((check for check in self.checks if check.status == "failed"), None)

    def as_json(self) -> dict[str, Json]:
        """Return the receipt as JSON values, fields in their order."""
        return {
            "schema_version": SCHEMA_VERSION,
            "status": self.status,
            "endpoint_url": self.endpoint_url,
            "verified_at": self.verified_at,
            "verified_from": self.verified_from,
            "boot": self.boot,
            "via": self.via,
            "engine": {
                "name": self.engine.name,
                "version": self.engine.version,
                "package": self.engine.package,
            },
            "model": {
                "id": self.model.id,
                "owned_by": self.model.owned_by,
                "parameters": self.model.parameters,
                "size_bytes": self.model.size_bytes,
                "stand_in": self.model.stand_in,
                "notice": self.model.notice,
            },
            "time_to_first_token_seconds": self.time_to_first_token_seconds,
            "tokens_per_second": self.tokens_per_second,
            "concurrency": self.concurrency.as_json() if self.concurrency else None,
            "checks": [check.as_json() for check in self.checks],
        }

    def dumps(self, indent: int | None = None) -> str:
        """Return the receipt as JSON text, on one line unless `indent` spaces are asked for."""
        return json.dumps(self.as_json(), indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, value: Json) -> Receipt:
        """Return the receipt that `as_json` made `value` of.

        Raises `ValueError` where it is no receipt or one of another schema.
        """
        version = dig(value, "schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"not a receipt of schema_version {SCHEMA_VERSION}: schema_version is {version!r}"
            )
        status, checks = dig(value, "status"), dig(value, "checks")
        if status not in ("passed", "failed") or not isinstance(checks, list):
            raise ValueError(f"a receipt's status is passed or failed, not {status!r}")
        concurrency = dig(value, "concurrency")
        return cls(
            status=status,
            endpoint_url=dig_text(value, "endpoint_url"),
            verified_at=dig_text(value, "verified_at"),
            verified_from=dig_text(value, "verified_from"),
            engine=Engine(
                name=_optional_text(value, "engine", "name"),
                version=_optional_text(value, "engine", "version"),
                package=_optional_text(value, "engine", "package"),
            ),
            model=Model(
                id=_optional_text(value, "model", "id"),
                owned_by=_optional_text(value, "model", "owned_by"),
                parameters=dig_count(value, "model", "parameters"),
                size_bytes=dig_count(value, "model", "size_bytes"),
                stand_in=dig(value, "model", "stand_in") is True,
            ),
            time_to_first_token_seconds=_number(value, "time_to_first_token_seconds"),
            tokens_per_second=_number(value, "tokens_per_second"),
            concurrency=None if concurrency is None else Concurrency.from_json(concurrency),
            checks=tuple(Check.from_json(check) for check in checks),
            boot=_optional_text(value, "boot"),
            via=_optional_text(value, "via"),
        )

    @classmethod
    def loads(cls, text: str) -> Receipt:
        """Return the receipt in JSON `text`. Raises `ValueError` as `from_json` does."""
        return cls.from_json(parse_json(text))


def _number(value: Json, *path: str | int) -> float | None:
    found = dig(value, *path)
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def _optional_text(value: Json, *path: str | int) -> str | None:
    found = dig(value, *path)
    return found if isinstance(found, str) else None
