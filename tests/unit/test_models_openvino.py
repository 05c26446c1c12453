"""Repositories of OpenVINO's form: what is taken, what is refused, and what is pulled and kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import FakeHub, sha256

from components.models.reference import HubFile
from scripts.models import safetensors
from scripts.models.openvino import choose
from scripts.models.snapshot import Form, Snapshot, ensure_snapshot
from scripts.models.transport import ModelError, Patience

REPOSITORY = "OpenVINO/tiny-int4-ov"
ROOT = HubFile("OpenVINO", "tiny-int4-ov")
FILES = {
    "chat_template.jinja": b"{{ messages }}",
    "config.json": b'{"model_type": "llama"}',
    "merges.txt": b"",
    "openvino_config.json": b"{}",
    "openvino_detokenizer.bin": b"d" * 10,
    "openvino_detokenizer.xml": b"<net/>",
    "openvino_model.bin": b"w" * 100_000,
    "openvino_model.xml": b"<net/>",
    "openvino_tokenizer.bin": b"t" * 10,
    "openvino_tokenizer.xml": b"<net/>",
}
NAMES = tuple(FILES)
TEXT = [name for name in FILES if not name.startswith("openvino_model")]
VISION = tuple(
    f"openvino_{part}.{end}"
    for part in ("language_model", "text_embeddings_model", "vision_embeddings_model")
    for end in ("bin", "xml")
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    hub = FakeHub()
    hub.put(REPOSITORY, {**FILES, "README.md": b"#", "modeling.py": b"1 / 0"})
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    yield hub
    hub.close()


def pull(cache: Path, form: Form = Form.OPENVINO) -> Snapshot:
    patience = Patience(read_seconds=10.0, retries=0, sleep=lambda _: None)
    return ensure_snapshot(ROOT, cache=cache, report=lambda _: None, patience=patience, form=form)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_model_is_pulled_whole_and_found_again_without_a_network(hub: FakeHub, tmp_path: Path):
    found = pull(tmp_path)
    assert content(found.path) == FILES
    assert {part.path.name: part.sha256 for part in found.files} == {
        name: sha256(body) for name, body in FILES.items()
    }
    hub.close()
    assert pull(tmp_path) == found


def test_two_forms_of_one_repository_have_pins_of_their_own(hub: FakeHub, tmp_path: Path):
    hub.put(REPOSITORY, {**FILES, "model.safetensors": b"s" * 100})
    first, second = pull(tmp_path), pull(tmp_path, Form.SAFETENSORS)
    assert "model.safetensors" in content(second.path)
    assert content(first.path) == FILES
    assert len(list((tmp_path / "models" / "references").iterdir())) == 2


def test_one_model_of_a_repository_of_gguf_files_is_no_openvino_model(tmp_path: Path):
    with pytest.raises(ModelError, match="takes a whole repository of OpenVINO"):
        ensure_snapshot(
            HubFile("owner", "repo", selector="Q4_K_M"),
            cache=tmp_path,
            report=lambda _: None,
            form=Form.OPENVINO,
        )


def test_a_model_that_sees_is_taken_by_its_parts():
    paths = sorted({*TEXT, *VISION, "preprocessor_config.json"})
    assert choose(ROOT, paths) == tuple(paths)


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "modeling.py",
        "pytorch_model.bin",
        "model.safetensors",
        "model.gguf",
        "graph.pbtxt",
        "onnx/config.json",
        "openvino/openvino_model.bin",
        "optimizer.pt",
        ".gitattributes",
    ],
)
def test_code_and_other_forms_of_the_weights_are_left(path: str):
    assert choose(ROOT, [*NAMES, path]) == NAMES


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (
            [name for name in NAMES if name != "openvino_model.bin"],
            "it has openvino_detokenizer.bin, openvino_detokenizer.xml, openvino_model.xml and 2 "
            "more, but no openvino_model.bin\nnext: name the repository of a whole model",
        ),
        (
            [*TEXT, *VISION[:-1]],
            "but no openvino_vision_embeddings_model.xml\n",
        ),
        (TEXT, "but no openvino_model.xml and no openvino_model.bin\n"),
        (
            ["config.json", "openvino/openvino_model.xml", "openvino/openvino_model.bin"],
            "it has OpenVINO files in openvino, where they are not looked for\n",
        ),
        (
            ["config.json", "model.safetensors"],
            "it has safetensors weights, which the engine vllm loads\n"
            "next: name a repository with openvino_model.xml",
        ),
        (
            ["m-Q4_0.gguf"],
            "it has GGUF files, which the engine llama_cpp loads\n"
            "next: scripts/pulumi config set engine llama_cpp, or name a repository",
        ),
        (["pytorch_model.bin"], "it has PyTorch weights, which can carry code"),
        ([], "it has no weights at all"),
        (
            [name for name in NAMES if name != "openvino_tokenizer.xml"],
            "has an OpenVINO model, but no openvino_tokenizer.xml: the server takes its tokenizer",
        ),
        (
            [name for name in NAMES if name != "config.json"],
            "has an OpenVINO model, but no config.json",
        ),
    ],
)
def test_what_the_server_can_not_load_is_told_what_there_is(paths: list[str], told: str):
    with pytest.raises(ModelError) as caught:
        choose(ROOT, paths)
    assert told in str(caught.value)
    assert "\nnext: " in str(caught.value)


def test_a_name_that_would_leave_the_folder_is_refused(hub: FakeHub, tmp_path: Path):
    hub.put(REPOSITORY, {**FILES, "../x.json": b"{}"})
    with pytest.raises(ModelError, match="no name for a file in a folder"):
        pull(tmp_path)
    assert hub.fetches() == []


def test_safetensors_are_not_taken_for_openvino_nor_the_other_way():
    with pytest.raises(ModelError, match="has no safetensors weights"):
        safetensors.choose(ROOT, NAMES)
