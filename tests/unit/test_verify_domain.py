"""A domain has to point at the endpoint's address before anything else is looked at."""

import socket
import threading
from ipaddress import ip_address

import pytest
from fake_endpoint import FakeEndpoint, verified

from scripts.verify import domain
from scripts.verify.bounds import Deadline
from scripts.verify.domain import DomainCheck, record, resolve
from scripts.verify.options import Address, parse_endpoint
from scripts.verify.outcome import ExitStatus, Failure, Skipped

ADDRESS = ip_address("203.0.113.7")


def check(*answers: str, seconds: float = 60, lines: list[str] | None = None) -> DomainCheck:
    """A check of llm.example.com whose resolver gives `answers`, the last one for ever."""
    found = [frozenset(ip_address(word) for word in answer.split()) for answer in answers]
    ticks = iter(range(0, 10**6, 7))
    return DomainCheck(
        parse_endpoint("https://llm.example.com"),
        ADDRESS,
        Deadline(seconds),
        (lines if lines is not None else []).append,
        resolve=lambda _: found.pop(0) if len(found) > 1 else found[0],
        pause=lambda _: None,
        clock=lambda: float(next(ticks)),
    )


def failure(*answers: str) -> Failure:
    with pytest.raises(Failure) as caught:
        check(*answers).points_here()
    assert caught.value.never_ready
    return caught.value


def test_a_domain_with_the_address_passes():
    assert check("203.0.113.7").points_here() == "llm.example.com is 203.0.113.7"


def test_addresses_of_the_other_version_are_none_of_its_business():
    assert check("203.0.113.7 2001:db8::1").points_here().endswith("2001:db8::1, 203.0.113.7")


def test_a_record_that_shows_after_a_while_is_waited_for():
    lines: list[str] = []
    found = check("", "198.51.100.1", "203.0.113.7", lines=lines).points_here()
    assert found == "llm.example.com is 203.0.113.7"
    assert lines == [
        "domain … llm.example.com has 198.51.100.1 and needs 203.0.113.7, 14 s of 60 s"
    ]


def test_a_domain_without_a_record_names_the_one_to_make():
    failed = failure("")
    assert failed.expected == "llm.example.com to have the address 203.0.113.7 within 60 s"
    assert failed.seen == "llm.example.com has no address"
    assert "llm.example.com. A 203.0.113.7" in failed.next_step
    assert "dns_zone" in failed.next_step


def test_a_domain_that_points_elsewhere_says_where():
    assert failure("198.51.100.1 2001:db8::1").seen == (
        "llm.example.com has 198.51.100.1, 2001:db8::1"
    )


def test_an_old_record_beside_the_right_one_is_to_go():
    failed = failure("198.51.100.1 203.0.113.7")
    assert failed.seen == "llm.example.com has other addresses too: 198.51.100.1"
    assert "remove the records for 198.51.100.1" in failed.next_step


def test_an_ipv6_address_takes_another_kind_of_record():
    assert record("a.example", ip_address("2001:db8::1")) == "a.example. AAAA 2001:db8::1"


def test_a_url_with_the_address_itself_has_no_domain_to_check():
    bare = DomainCheck(parse_endpoint("https://203.0.113.7"), ADDRESS, Deadline(1), str)
    with pytest.raises(Skipped, match="an address and no name"):
        bare.points_here()


def test_the_domain_comes_first_in_the_receipt(monkeypatch: pytest.MonkeyPatch):
    def no_address(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    monkeypatch.setattr(domain, "DOMAIN_SECONDS", 0.0)
    result = verified("https://llm.example.com", key="sk-12345678", address=ADDRESS)
    assert result.verdict.exit_status == ExitStatus.NEVER_READY
    assert [c.status for c in result.receipt.checks[:2]] == ["failed", "skipped"]
    assert result.failed.name == "domain"


def test_an_endpoint_by_its_address_skips_the_domain_and_passes():
    with FakeEndpoint(key="sk-12345678") as endpoint:
        result = verified(endpoint, address=ip_address("127.0.0.1"))
    assert result.verdict.exit_status == ExitStatus.PASSED
    assert result.receipt.checks[0].name == "domain"
    assert result.check("domain").reason == "the URL has an address and no name"


def test_a_name_that_hangs_counts_as_one_without_an_address(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(domain, "_LOOKUP_SECONDS", 0.0)
    monkeypatch.setattr("scripts.verify.bounds.GRACE_SECONDS", 0.0)
    hanging = check("")
    let_go = threading.Event()

    def hang(_: str) -> frozenset[Address]:
        let_go.wait(30)
        return frozenset()

    hanging.resolve = hang
    with pytest.raises(Failure, match="has no address"):
        hanging.points_here()
    let_go.set()


def test_this_machine_s_resolver_gives_addresses(monkeypatch: pytest.MonkeyPatch):
    def answer(*_: object, **__: object) -> list[object]:
        entries = ["127.0.0.1", "fe80::1%eth0"]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, 0)) for text in entries]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    assert resolve("x") == {ip_address("127.0.0.1"), ip_address("fe80::1")}
