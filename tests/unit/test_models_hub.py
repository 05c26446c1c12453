"""The hub: which files a reference names, what its refusals mean, and where a token goes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import FakeHub, Fault, gguf_bytes, sha256

from components.models.reference import HubFile, parse_model_reference
from scripts.models import hub as hub_api
from scripts.models.ensure import ModelError, ModelFile, Patience, ensure_model, hub_answers
from scripts.models.hub import choose

REPOSITORY = "owner/repo-GGUF"
CONTENT = gguf_bytes(1, 5000)
TOKEN = "hf_" + "x" * 34


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    made = FakeHub()
    made.put(REPOSITORY, {"m-Q4_K_M.gguf": CONTENT})
    monkeypatch.setenv("HF_ENDPOINT", f"{made.url}/")
    yield made
    made.close()


def pull(
    cache: Path, reference: str = f"{REPOSITORY}:Q4_K_M", read_seconds: float = 5.0
) -> ModelFile:
    patience = Patience(read_seconds=read_seconds, retries=1, sleep=lambda _: None)
    return ensure_model(
        parse_model_reference(reference), cache=cache, report=lambda _: None, patience=patience
    )


def refusal(cache: Path, reference: str = f"{REPOSITORY}:Q4_K_M", read_seconds: float = 5.0) -> str:
    with pytest.raises(ModelError) as caught:
        pull(cache, reference, read_seconds)
    message = str(caught.value)
    assert "\nnext: " in message
    assert TOKEN not in message
    return message


def chosen(selector: str | None, *paths: str) -> tuple[str, ...]:
    return choose(HubFile("owner", "repo", selector=selector), sorted(paths))


@pytest.mark.parametrize(
    ("selector", "paths", "expected"),
    [
        ("Q4_K_M", ["m-Q4_K_M.gguf", "m-Q8_0.gguf"], "m-Q4_K_M.gguf"),
        ("q4_k_m", ["m.Q4_K_M.gguf", "m.Q8_0.gguf"], "m.Q4_K_M.gguf"),
        ("Q4_K_M", ["m-UD-Q4_K_M.gguf", "m-Q4_K_M.gguf"], "m-Q4_K_M.gguf"),
        ("UD-Q4_K_M", ["m-UD-Q4_K_M.gguf", "m-Q4_K_M.gguf"], "m-UD-Q4_K_M.gguf"),
        ("Q4_K_M", ["m-UD-Q4_K_M.gguf"], "m-UD-Q4_K_M.gguf"),
        ("F16", ["m-BF16.gguf", "m-F16.gguf"], "m-F16.gguf"),
        ("Q4_0", ["m-Q4_0_4_4.gguf", "m-Q4_0.gguf"], "m-Q4_0.gguf"),
        ("Q4_K_M", ["m-Q4_K_M-imat.gguf", "m-Q8_0-imat.gguf"], "m-Q4_K_M-imat.gguf"),
        ("Q8_0", ["mmproj-m-Q8_0.gguf", "m-Q8_0.gguf"], "m-Q8_0.gguf"),
        ("m-Q8_0.gguf", ["m-Q8_0.gguf", "m-Q4_0.gguf"], "m-Q8_0.gguf"),
        ("mmproj-m.gguf", ["mmproj-m.gguf", "m-Q4_0.gguf"], "mmproj-m.gguf"),
        ("m.gguf", ["sub/m.gguf", "n.gguf"], "sub/m.gguf"),
        (None, ["m-Q2_K.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf"], "m-Q4_K_M.gguf"),
        (None, ["m-Q2_K.gguf", "m-Q8_0.gguf"], "m-Q8_0.gguf"),
        (None, ["only.gguf", "mmproj.gguf"], "only.gguf"),
    ],
)
def test_one_model_is_chosen(selector: str | None, paths: list[str], expected: str):
    assert chosen(selector, *paths) == (expected,)


def test_a_split_model_is_chosen_with_its_parts():
    parts = tuple(f"Q4_0/m-Q4_0-0000{n}-of-00002.gguf" for n in (1, 2))
    assert chosen("Q4_0", *parts, "m-Q8_0.gguf") == parts
    assert chosen(parts[0], *parts) == parts


@pytest.mark.parametrize(
    ("selector", "paths", "told"),
    [
        ("Q5_K_M", ["m-Q4_0.gguf", "m-Q8_0.gguf"], "it has Q4_0, Q8_0"),
        ("Q5_K_M", ["plain.gguf"], "it has plain.gguf"),
        ("Q4_0", ["a-Q4_0.gguf", "b-Q4_0.gguf"], "has 2 models where Q4_0 should name one"),
        ("Q4_0", ["a-Q4_0.gguf", "b-Q4_0.gguf"], "a-Q4_0.gguf, b-Q4_0.gguf"),
        (None, ["a-Q2_K.gguf", "a-Q3_K.gguf"], "a-Q2_K.gguf, a-Q3_K.gguf"),
        (None, ["m.safetensors"], "the engine vllm loads"),
        (None, [], "has no GGUF file"),
        ("m-q4_0.gguf", ["m-Q4_0.gguf"], "did you mean m-Q4_0.gguf?"),
        ("m.gguf", ["a/m.gguf", "b/m.gguf"], "did you mean a/m.gguf or b/m.gguf?"),
        ("Q4_0", ["m-Q4_0-00001-of-00002.gguf"], "lacks m-Q4_0-00002-of-00002.gguf"),
    ],
)
def test_what_names_no_one_model_is_told_what_there_is(
    selector: str | None, paths: list[str], told: str
):
    with pytest.raises(ModelError) as caught:
        chosen(selector, *paths)
    assert told in str(caught.value)


def test_a_long_listing_is_read_page_by_page(hub: FakeHub, tmp_path: Path):
    files = {f"a-{n}.txt": b"" for n in range(9)}
    hub.put(REPOSITORY, {**files, "z-Q4_K_M.gguf": CONTENT})
    assert pull(tmp_path).sha256 == sha256(CONTENT)
    assert len(hub.fetches("/tree/")) == 6


def test_a_listing_without_end_is_given_up(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hub_api, "_MOST_PAGES", 2)
    hub.put(REPOSITORY, {f"a-{n}.gguf": CONTENT for n in range(9)})
    assert "too many files" in refusal(tmp_path)


def test_a_branch_a_tag_and_a_commit_name_their_own_files(hub: FakeHub, tmp_path: Path):
    other = gguf_bytes(2, 5000)
    commit = hub.put(REPOSITORY, {"m-Q4_K_M.gguf": other}, branch="refs/pr/1")
    for revision in ("refs/pr/1", commit):
        assert pull(tmp_path, f"{REPOSITORY}@{revision}:Q4_K_M").sha256 == sha256(other)
    assert pull(tmp_path).sha256 == sha256(CONTENT)


def test_the_token_goes_to_the_hub_and_to_no_store(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_TOKEN", f" {TOKEN}\n")
    pull(tmp_path)
    for seen in hub.seen:
        expected = f"Bearer {TOKEN}" if seen.server == "hub" else None
        assert seen.headers.get("Authorization") == expected
    assert {seen.server for seen in hub.seen} == {"hub", "store"}
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or TOKEN.encode() not in file.read_bytes()


def test_the_token_goes_to_no_url(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.plain["m.gguf"] = CONTENT
    pull(tmp_path, f"{hub.url}/plain/m.gguf")
    assert "Authorization" not in hub.seen[0].headers


def test_an_entry_in_netrc_does_not_replace_the_token(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password something\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    pull(tmp_path)
    assert hub.seen[0].headers["Authorization"] == f"Bearer {TOKEN}"
    assert "Authorization" not in hub.fetches("/store/")[0].headers


@pytest.mark.parametrize("secret", ["hf_a b", "hf_ü", "hf_a\nX-Other: b"])
def test_what_can_be_no_token_is_not_sent_or_shown(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
):
    monkeypatch.setenv("HF_TOKEN", secret)
    message = refusal(tmp_path)
    assert "HF_TOKEN has characters that no token has" in message
    assert secret not in message
    assert hub.seen == []


def test_no_token_crosses_a_network_in_the_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "in the clear to http://hub.example" in refusal(tmp_path)


def test_an_endpoint_that_is_no_address_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", "huggingface.co")
    assert "HF_ENDPOINT is 'huggingface.co'" in refusal(tmp_path)
    assert not hub_answers()


def test_a_gated_model_says_how_to_get_in(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hub.gated.add(REPOSITORY)
    message = refusal(tmp_path)
    assert f"answered 401: {REPOSITORY} is gated" in message
    assert f"accept its licence at {hub.url}/{REPOSITORY}, then set HF_TOKEN" in message
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    message = refusal(tmp_path)
    assert "answered 403" in message
    assert "with the account that HF_TOKEN is of" in message


@pytest.mark.parametrize(
    ("reference", "signed_in", "told"),
    [
        ("owner/other:Q4_0", False, "answered 401: owner/other is misspelt, private or gated"),
        ("owner/other:Q4_0", True, "answered 404: the hub has no repository owner/other"),
        (f"{REPOSITORY}@v9:Q4_0", False, f"answered 404: {REPOSITORY} has no revision v9"),
        (f"{REPOSITORY}:x.gguf", False, f"{REPOSITORY} has no file x.gguf"),
    ],
)
def test_what_is_not_there_is_told_apart(
    hub: FakeHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reference: str,
    signed_in: bool,
    told: str,
):
    if signed_in:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert told in refusal(tmp_path, reference)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault("/revision/", 401, {"X-Error-Code": "GatedRepo"}), "is gated"),
        (Fault("/revision/", 403), "is not open to everyone"),
        (Fault("/revision/", 404), "has no owner/repo-GGUF, or not its revision main"),
        (Fault("/revision/", 451), "answered 451: the hub refuses it"),
        (Fault("/resolve/", 404, {"X-Error-Code": "EntryNotFound"}), "no such file at revision"),
        (Fault("/revision/", 200, body=b"<html>login</html>"), "is not JSON"),
        (Fault("/revision/", 200, body=b"[]"), "not of the form that its API has"),
        (Fault("/tree/", 200, body=b'{"error": 1}'), "not of the form that its API has"),
        (Fault("/tree/", 200, body=b'[{"type": "file"}]'), "not of the form that its API has"),
    ],
)
def test_a_refusal_of_the_hub_is_final(hub: FakeHub, tmp_path: Path, fault: Fault, told: str):
    hub.faults = [fault]
    assert told in refusal(tmp_path)
    assert hub.fetches() == []


@pytest.mark.parametrize("path", ["/revision/", "/tree/", "/resolve/", "/store/"])
@pytest.mark.parametrize("status", [429, 500])
def test_each_request_is_tried_again(hub: FakeHub, tmp_path: Path, path: str, status: int):
    hub.faults = [Fault(path, status)]
    assert pull(tmp_path).sha256 == sha256(CONTENT)


def test_a_store_whose_link_ran_out_is_asked_for_a_fresh_one(hub: FakeHub, tmp_path: Path):
    hub.faults = [Fault("/store/", 403)]
    assert pull(tmp_path).sha256 == sha256(CONTENT)
    assert len(hub.fetches("/resolve/")) == 2


def test_the_links_of_a_store_are_not_shown(hub: FakeHub, tmp_path: Path):
    hub.faults = [Fault("/store/", 500) for _ in range(2)]
    assert "X-Amz" not in refusal(tmp_path)


def test_a_hub_that_answers_is_told_from_one_that_does_not(hub: FakeHub):
    assert hub_answers()
    for status, answers in ((429, True), (404, True), (500, False), (407, False)):
        hub.faults = [Fault("/api/models?limit=1", status)]
        assert hub_answers() is answers
    hub.close()
    assert not hub_answers()


def test_a_hub_that_hangs_does_not_answer(hub: FakeHub):
    hub.faults = [Fault("/api/models", silent=True)]
    assert not hub_answers(timeout_seconds=0.2)


@pytest.mark.parametrize("path", ["/revision/", "/tree/", "/resolve/"])
def test_a_hub_that_hangs_ends_in_one_message(hub: FakeHub, tmp_path: Path, path: str):
    hub.faults = [Fault(path, silent=True) for _ in range(2)]
    message = refusal(tmp_path, read_seconds=0.1)
    assert "sent nothing for 0.1 s (tried 2 times)" in message
    assert path in message
