"""Model references: what each form says, and what a wrong one is told."""

import pytest

from components.models.reference import (
    Builtin,
    HubFile,
    ModelReferenceError,
    PathFile,
    UrlFile,
    parse_model_reference,
    shown,
    split_names,
)

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("owner/repo", HubFile("owner", "repo")),
        ("TheBloke/Llama-2-7B.x_y-GGUF", HubFile("TheBloke", "Llama-2-7B.x_y-GGUF")),
        ("owner/repo:Q4_K_M", HubFile("owner", "repo", selector="Q4_K_M")),
        ("owner/repo:a-q8_0.gguf", HubFile("owner", "repo", selector="a-q8_0.gguf")),
        ("owner/repo:sub/a.GGUF", HubFile("owner", "repo", selector="sub/a.GGUF")),
        ("owner/repo@v1.0:Q8_0", HubFile("owner", "repo", "v1.0", "Q8_0")),
        ("owner/repo@refs/pr/3", HubFile("owner", "repo", "refs/pr/3")),
        ("owner/x.gguf:Q8_0", HubFile("owner", "x.gguf", selector="Q8_0")),
        ("https://example.org/m.gguf", UrlFile("https://example.org/m.gguf")),
        (
            f"https://example.org/m.gguf?download=true#sha256={HEX.upper()}",
            UrlFile("https://example.org/m.gguf?download=true", HEX),
        ),
        ("http://127.0.0.1:80/m.gguf", UrlFile("http://127.0.0.1:80/m.gguf")),
        ("http://localhost/m.gguf", UrlFile("http://localhost/m.gguf")),
        ("http://[::1]:8000/m.gguf", UrlFile("http://[::1]:8000/m.gguf")),
        (
            "https://huggingface.co/o/r/resolve/main/m.gguf",
            UrlFile("https://huggingface.co/o/r/resolve/main/m.gguf"),
        ),
        ("/models/m.gguf", PathFile("/models/m.gguf")),
        ("./Modelle für mich/ü.gguf", PathFile("./Modelle für mich/ü.gguf")),
        ("../m.gguf", PathFile("../m.gguf")),
        ("~/blobs/sha256-abc", PathFile("~/blobs/sha256-abc")),
        ("/m-00001-of-00003.gguf", PathFile("/m-00001-of-00003.gguf")),
        ("builtin:stand-in", Builtin("stand-in")),
    ],
)
def test_each_form_is_read(text: str, parsed: object):
    assert parse_model_reference(text) == parsed


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("owner/repo@main:Q4_K_M", "owner/repo:Q4_K_M"),
        ("owner/repo@dev", "owner/repo@dev"),
        (f"HTTPS://example.org/m.gguf#sha256={HEX}", f"https://example.org/m.gguf#sha256={HEX}"),
        ("~/m.gguf", "~/m.gguf"),
        ("builtin:stand-in", "builtin:stand-in"),
    ],
)
def test_the_canonical_form_reads_as_the_same(text: str, canonical: str):
    parsed = parse_model_reference(text)
    assert str(parsed) == canonical
    assert parse_model_reference(canonical) == parsed


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is empty"),
        (" owner/repo", "did you mean owner/repo?"),
        ("owner/repo\n:Q4", "control character"),
        ("llama3.2:3b", "owner/repo"),
        ("stand-in", "did you mean builtin:stand-in?"),
        ("builtin:other", "did you mean builtin:stand-in?"),
        ("m.gguf", "did you mean ./m.gguf?"),
        ("models/m.gguf", "did you mean ./models/m.gguf?"),
        ("owner/repo/m.gguf", "did you mean owner/repo:m.gguf?"),
        ("owner/repo/sub/m.gguf", "did you mean owner/repo:sub/m.gguf?"),
        ("owner/repo:", "did you mean owner/repo?"),
        ("owner/repo@:Q4", "not a revision"),
        ("owner/repo:m.gguf@v1", "did you mean owner/repo@v1:m.gguf?"),
        ("owner/repo:../m.gguf", "not a file's path"),
        ("owner/repo:Q4 K M", "neither a .gguf file nor a quantisation"),
        ("owner/repo:m.safetensors", "the engine vllm loads"),
        ("/models/m.onnx", "which no engine here loads"),
        ("owner/--repo", "no repository named '--repo'"),
        ("owner/repo:m-00002-of-00003.gguf", "did you mean owner/repo:m-00001-of-00003.gguf?"),
        ("/models/", "it is a folder"),
        ("models\\m.gguf", "did you mean ./models/m.gguf?"),
        ("C:\\models\\m.gguf", "written with /"),
        ("http://example.org/m.gguf", "did you mean https://example.org/m.gguf?"),
        ("ftp://example.org/m.gguf", "ftp:// is not a scheme"),
        ("file:///models/m.gguf", "did you mean /models/m.gguf?"),
        ("hf://owner/repo/m.gguf", "did you mean owner/repo:m.gguf?"),
        ("hf.co/owner/repo", "did you mean owner/repo?"),
        ("https://huggingface.co/owner/repo", "did you mean owner/repo?"),
        (
            "https://huggingface.co/owner/repo/blob/v1/sub/m.gguf?x=1",
            "did you mean owner/repo@v1:sub/m.gguf?",
        ),
        ("https://example.org/", "names no file"),
        ("https://[x/m.gguf", "can't be read"),
        ("https:///m.gguf", "names no host"),
        ("https://example.org/m.gguf#main", "#sha256=HEX"),
        ("https://example.org/m.gguf#sha256=abc", "64 hex digits"),
    ],
)
def test_a_wrong_reference_is_told_the_forms_and_what_was_meant(text: str, told: str):
    with pytest.raises(ModelReferenceError) as caught:
        parse_model_reference(text)
    message = str(caught.value)
    assert told in message
    for form in ("Q4_K_M", "https://", "./model.gguf", "builtin:stand-in"):
        assert form in message


@pytest.mark.parametrize(
    "text",
    [
        "https://user:hunter2@example.org/m.gguf",
        "http://example.org/m.gguf?token=hunter2",
        "https://example.org/m.safetensors?token=hunter2",
        "https://example.org/m-00002-of-00003.gguf?token=hunter2",
        "https://example.org/m.gguf?token=hunter2#hunter2",
    ],
)
def test_what_may_be_secret_in_a_url_is_not_shown(text: str):
    with pytest.raises(ModelReferenceError) as caught:
        parse_model_reference(text)
    assert "hunter2" not in str(caught.value)


def test_what_is_shown_of_a_url_keeps_its_place_and_digest():
    text = f"https://u:p@example.org:444/a/m.gguf?sig=x#sha256={HEX}"
    assert shown(text) == f"https://example.org:444/a/m.gguf#sha256={HEX}"
    assert shown("owner/repo:Q4_K_M") == "owner/repo:Q4_K_M"


def test_a_split_model_is_named_by_its_first_part():
    parts = split_names("dir/m-00001-of-00003.gguf")
    assert parts == tuple(f"dir/m-0000{n}-of-00003.gguf" for n in (1, 2, 3))
    assert split_names("m.gguf") == ("m.gguf",)
    assert split_names("m-00000-of-00000.gguf") == ("m-00000-of-00000.gguf",)
