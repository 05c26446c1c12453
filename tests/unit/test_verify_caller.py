"""This machine's own address against `allowed_cidrs`, and what to type."""

import json
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from fake_endpoint import Exchange, FakeEndpoint, verified

from scripts.verify import wait
from scripts.verify.caller import SERVICES, Caller, own_address, services

CIDRS = (ip_network("203.0.113.0/24"), ip_network("192.0.2.1/32"))


def says(text: str) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.send(200, text.encode())


@pytest.fixture
def page() -> Iterator[FakeEndpoint]:
    with FakeEndpoint() as page:
        yield page


def caller(page: FakeEndpoint | None) -> Caller:
    return Caller(CIDRS, (f"{page.url}/ip",) if page else (), "cpu-vm")


def test_a_caller_who_is_not_let_in_gets_the_command_that_adds_it(page: FakeEndpoint):
    page.on("GET", "/ip", says("198.51.100.7\n"))
    assert caller(page).advice() == (
        "this machine's address 198.51.100.7 is not in allowed_cidrs (203.0.113.0/24, "
        "192.0.2.1/32): scripts/pulumi config set allowed_cidrs "
        "203.0.113.0/24,192.0.2.1/32,198.51.100.7/32 --stack cpu-vm, then scripts/up cpu-vm"
    )


def test_a_caller_who_is_let_in_looks_elsewhere(page: FakeEndpoint):
    page.on("GET", "/ip", says("203.0.113.99"))
    assert caller(page).refusal() is None
    assert "203.0.113.99 is in allowed_cidrs" in caller(page).advice()


def test_a_caller_of_unknown_address_is_told_how_to_find_it():
    advice = caller(None).advice()
    assert "not known here" in advice
    assert f"curl {SERVICES[0]}" in advice
    assert "203.0.113.0/24,192.0.2.1/32,ADDRESS/32 --stack cpu-vm" in advice
    assert caller(None).refusal() is None


def test_the_first_page_that_tells_is_believed(page: FakeEndpoint):
    page.on("GET", "/broken", says("<html>"))
    page.on("GET", "/gone", lambda e: e.error(500, "gone"))
    page.on("GET", "/ip", says("198.51.100.7"))
    pages = ["file:///etc/hostname", *(f"{page.url}/{name}" for name in ("broken", "gone", "ip"))]
    assert str(own_address(pages)) == "198.51.100.7"
    assert own_address(pages[:3]) is None


def test_pages_come_from_the_environment():
    assert services({}) == SERVICES
    variable = {"LLM_ENDPOINT_ADDRESS_SERVICE": "https://a, https://b,"}
    assert services(variable) == ("https://a", "https://b")
    assert services({"LLM_ENDPOINT_ADDRESS_SERVICE": ""}) == ()


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection is answered."""

    def never(*_: object, **__: object) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("urllib3.util.connection.create_connection", never)


@pytest.mark.usefixtures("silence")
def test_a_connection_that_times_out_says_whether_the_caller_is_let_in(page: FakeEndpoint):
    page.on("GET", "/ip", says("198.51.100.7"))
    result = verified(
        "https://192.0.2.1",
        key="sk-12345678",
        wait_seconds=0,
        allowed_cidrs=CIDRS,
        address_pages=(f"{page.url}/ip",),
        stack="cpu-vm",
    )
    assert result.failed.seen == "the connection timed out"
    assert "198.51.100.7 is not in allowed_cidrs" in (result.failed.next_step or "")


def test_a_refused_connection_is_no_firewall(page: FakeEndpoint):
    page.on("GET", "/ip", says("198.51.100.7"))
    result = verified(
        "http://127.0.0.1:9", wait_seconds=0, allowed_cidrs=CIDRS, address_pages=(page.url,)
    )
    assert "allowed_cidrs" not in (result.failed.next_step or "")
    assert page.exchanges == []


@pytest.mark.usefixtures("silence")
def test_a_machine_that_stays_silent_gets_the_firewall_suspected_early(
    page: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
):
    page.on("GET", "/ip", says("198.51.100.7"))
    monkeypatch.setattr(wait, "SILENT_SECONDS", 0.0)
    result = verified(
        "https://192.0.2.1",
        key="sk-12345678",
        wait_seconds=0.2,
        allowed_cidrs=CIDRS,
        address_pages=(f"{page.url}/ip",),
    )
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "198.51.100.7 is not in allowed_cidrs" in warnings[0]
    assert len(page.exchanges) == 1


@pytest.mark.usefixtures("silence")
def test_a_machine_that_serves_and_stays_silent_is_behind_its_firewall(
    page: FakeEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    page.on("GET", "/ip", says("198.51.100.7"))
    monkeypatch.setattr(wait, "SILENT_SECONDS", 0.0)
    console = tmp_path / "console"
    records = ({"stage": stage, "state": "done"} for stage in ("server", "gateway", "ready"))
    console.write_text("".join(f"llm-endpoint: {json.dumps(record)}\n" for record in records))
    result = verified(
        "https://192.0.2.1",
        key="sk-12345678",
        wait_seconds=3600,
        allowed_cidrs=CIDRS,
        address_pages=(f"{page.url}/ip",),
        boot=f"file:{console}",
    )
    assert result.failed.expected == "a reachable server that lets this machine in"
    assert "198.51.100.7 is not in allowed_cidrs" in (result.failed.next_step or "")
