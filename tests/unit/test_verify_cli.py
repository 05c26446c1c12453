"""The command line: exit statuses, what goes where, and no key anywhere."""

import ast
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_endpoint import CHAT, Exchange, FakeEndpoint

from scripts.verify.__main__ import main
from scripts.verify.receipt import Receipt

KEY = "sk-0123456789abcdef"
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with FakeEndpoint(key=KEY) as endpoint:
        yield endpoint


def run(*arguments: str) -> int:
    return main([*arguments], {"MY_KEY": KEY})


def test_a_pass_is_0_with_progress_on_stderr_and_the_receipt_on_stdout(
    endpoint: FakeEndpoint, capsys: pytest.CaptureFixture[str]
):
    claims = "--claims=embeddings,tool_calls,json_schema"
    assert run(f"{endpoint.url}/v1", "--key-env", "MY_KEY", claims) == 0
    out, err = capsys.readouterr()
    receipt = Receipt.loads(out)
    assert receipt.status == "passed"
    assert receipt.endpoint_url == endpoint.url
    lines = err.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [check.name for check in receipt.checks]
    assert all(" … ok " in line for line in lines[:-1])
    assert KEY not in out + err


def test_json_puts_the_receipt_on_one_line(
    endpoint: FakeEndpoint, capsys: pytest.CaptureFixture[str]
):
    assert run(endpoint.url, "--key-env", "MY_KEY", "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["schema_version"] == 1


def test_quiet_says_nothing_while_all_is_well(
    endpoint: FakeEndpoint, capsys: pytest.CaptureFixture[str]
):
    assert run(endpoint.url, "--key-env", "MY_KEY", "--quiet") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out


def test_a_failed_check_is_1_and_says_what_to_look_at_quiet_or_not(
    endpoint: FakeEndpoint, capsys: pytest.CaptureFixture[str]
):
    assert run(endpoint.url, "--key-env", "MY_KEY", "--quiet", "--model", "other") == 1
    out, err = capsys.readouterr()
    failed = Receipt.loads(out).failed_check
    assert failed is not None
    for part in (failed.name, failed.expected, failed.seen, failed.next_step):
        assert part
        assert part in err


def test_a_server_that_never_gets_ready_is_3(
    endpoint: FakeEndpoint, capsys: pytest.CaptureFixture[str]
):
    endpoint.on("GET", "/up", lambda e: e.error(425, "Loading"))
    probe = ["--probe-path", "/up", "--probe-loading-status", "425"]
    assert run(endpoint.url, "--key-env", "MY_KEY", *probe, "--wait-seconds", "0") == 3
    assert "still loading (HTTP 425 from /up)" in capsys.readouterr().err


def test_a_stand_in_is_said_loudly_even_when_quiet(
    endpoint: FakeEndpoint, capsys: pytest.CaptureFixture[str]
):
    assert run(endpoint.url, "--key-env", "MY_KEY", "--stand-in", "--quiet") == 0
    out, err = capsys.readouterr()
    assert err.startswith("STAND-IN: ")
    model = json.loads(out)["model"]
    assert model["stand_in"] is True
    assert model["notice"].startswith("STAND-IN: ")


def test_a_key_may_come_from_a_file(endpoint: FakeEndpoint, tmp_path: Path):
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    assert run(endpoint.url, "--key-file", str(file)) == 0


def test_a_key_over_plain_http_to_another_host_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("no_proxy", "")
    with FakeEndpoint() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        arguments = ["--key-env", "MY_KEY", "--wait-seconds", "0"]
        assert run("http://llm.example.com", *arguments) == 3
    assert capsys.readouterr().err.startswith("warning: the key travels unencrypted")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "required: URL"),
        (["http://a", "--key-env", "UNSET_KEY"], "UNSET_KEY is not set"),
        (["http://a", "--key", KEY], "never taken as an argument"),
        (["http://a", f"--key={KEY}"], "never taken as an argument"),
        (["http://a", f"--api-key={KEY}"], "never taken as an argument"),
        (["http://a", "--api_key", KEY], "never taken as an argument"),
        (["http://a", KEY], "an argument after the URL"),
        (["http://a", f"--token={KEY}"], "unknown: --token"),
        (["http://a", "--key-env", KEY], "is not set"),
        (["http://a", "--key-env", "MY_KEY", "--key-file", KEY], "not allowed with"),
        (["http://a", "--key-file", KEY], "can't be read"),
        (["http://a", "--concurrency", KEY], "--concurrency"),
        (["http://a", f"--stand-in={KEY}"], "--stand-in takes no value"),
        (["http://a", "--concurrency", "0"], "--concurrency"),
        (["http://a", "--wait-seconds", "nan"], "--wait-seconds"),
        (["http://a", "--check-seconds", "0"], "--check-seconds"),
        (["http://a", "--claims", "images"], "'images'"),
        (["http://a", "--probe-path", "health"], "--probe-path"),
        (["http://a", "--ca-file", "/none.pem"], "/none.pem"),
        (["http://a", "--ca-env", "MY_KEY"], "MY_KEY holds no certificate"),
        (["http://a", "--ca-env", "MY_CA", "--ca-file", "/none.pem"], "not allowed with"),
        (["http://a", "--address", "llm.example.com"], "--address takes an IP address"),
        (["http://a", "--boot", "gcp:project/zone"], "gcp:PROJECT/ZONE/INSTANCE"),
        (["http://a", "--boot", "file:"], "file:PATH"),
        (["http://a", "--allowed-cidrs", "203.0.113.0/33"], "--allowed-cidrs"),
        (["http://a", "--key-seconds", "-1"], "--key-seconds"),
        ([KEY], "origin"),
        ([f"http://{KEY}@a"], "user or a password"),
    ],
)
def test_a_command_line_that_cannot_be_followed_is_2_and_repeats_no_key(
    arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]
):
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert part in err
    assert KEY not in err
    assert len(err.splitlines()) == 1


def test_an_interrupt_is_130_and_leaves_no_traceback(endpoint: FakeEndpoint):
    waiting = threading.Event()

    def hang(exchange: Exchange) -> None:
        waiting.set()
        exchange.hang()

    endpoint.on("POST", CHAT, hang)
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.verify", endpoint.url, "--key-env", "MY_KEY"],
        cwd=CHECKOUT,
        env=os.environ | {"MY_KEY": KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.wait(30)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "interrupted: nothing was decided"
    assert "Traceback" not in err


def test_an_interrupt_while_waiting_is_130_too(
    endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("scripts.verify.wait.Waiter.ready", interrupt)
    assert run(endpoint.url, "--key-env", "MY_KEY") == 130
    assert "interrupted" in capsys.readouterr().err


def test_nothing_but_the_output_writes():
    """A module that wrote on its own could write the key."""
    for file in sorted((CHECKOUT / "scripts" / "verify").glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        writers = names & {"print", "stdout", "stderr", "logging", "warnings"}
        assert file.name == "output.py" or not writers, f"{file.name} uses {sorted(writers)}"


def test_the_command_line_answers_without_loading_what_it_does_not_need():
    code = (
        "import sys; from scripts.verify.__main__ import main; main([], {});"
        "print(sorted({'requests', 'psutil', 'pydantic', 'pulumi'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_failure_leaves_no_receipt_where_only_a_passed_one_is_wanted(
    endpoint: FakeEndpoint, capsys: pytest.CaptureFixture[str]
):
    assert run(endpoint.url, "--key-env", "MY_KEY", "--if-passed", "--model", "another") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "failed: lists_model" in err
    assert run(endpoint.url, "--key-env", "MY_KEY", "--if-passed") == 0
    assert Receipt.loads(capsys.readouterr().out).status == "passed"
