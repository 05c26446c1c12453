"""The receipt's JSON form."""

import json
from dataclasses import replace

import pytest

from scripts.verify.receipt import Check, Concurrency, Engine, Model, Receipt

RECEIPT = Receipt(
    status="failed",
    endpoint_url="http://127.0.0.1:8080",
    verified_at="2026-11-21T10:00:00+00:00",
    verified_from="here",
    engine=Engine("llama_cpp", "b1"),
    model=Model("m", "someone", 12, 34, stand_in=True),
    time_to_first_token_seconds=0.25,
    tokens_per_second=12.5,
    concurrency=Concurrency(2, (10.0, None), 18.5),
    checks=(
        Check("reachable", "passed", 0.01, seen="HTTP 200"),
        Check("ready", "failed", 1.5, "503", "200", "look at the log", ("line one", "line two")),
        Check("chat", "skipped", 0.0, reason='after "ready" failed'),
    ),
    boot="gcp:p/z/i",
)


def test_a_receipt_comes_back_from_its_json_as_it_was():
    assert Receipt.loads(RECEIPT.dumps()) == RECEIPT
    bare = replace(
        RECEIPT,
        engine=Engine(None, None),
        model=Model(None),
        time_to_first_token_seconds=None,
        tokens_per_second=None,
        concurrency=None,
    )
    assert Receipt.loads(bare.dumps(indent=2)) == bare


def test_fields_keep_their_names_and_order():
    value = RECEIPT.as_json()
    assert list(value) == [
        "schema_version",
        "status",
        "endpoint_url",
        "verified_at",
        "verified_from",
        "boot",
        "via",
        "engine",
        "model",
        "time_to_first_token_seconds",
        "tokens_per_second",
        "concurrency",
        "checks",
    ]
    assert value["schema_version"] == 1
    passed, failed, skipped = json.loads(RECEIPT.dumps())["checks"]
    assert list(passed) == ["name", "status", "seconds", "seen"]
    assert list(failed) == ["name", "status", "seconds", "seen", "expected", "next", "log_tail"]
    assert list(skipped) == ["name", "status", "seconds", "reason"]


def test_a_stand_in_carries_its_notice_and_a_real_model_none():
    assert "STAND-IN" in json.loads(RECEIPT.dumps())["model"]["notice"]
    real = replace(RECEIPT, model=Model("m"))
    assert json.loads(real.dumps())["model"]["notice"] is None


def test_the_failed_check_is_found():
    check = RECEIPT.failed_check
    assert check is not None
    assert check.name == "ready"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version is 2"),
        ({"schema_version": None}, "schema_version is None"),
        ({"status": "fine"}, "'fine'"),
        ({"checks": [{"name": "chat", "status": "great"}]}, "'great'"),
        ({"concurrency": {"streams": 1}}, "concurrency"),
    ],
)
def test_what_is_no_receipt_is_refused(change: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        Receipt.loads(json.dumps(RECEIPT.as_json() | change))
