"""Which files of a repository OpenVINO Model Server loads: OpenVINO's intermediate representation.

A model of text is `openvino_model`; one that also sees has its parts apart, by which the server
tells the two (model_server 2026.3, src/llm/servable_initializer.cpp; openvino.genai,
continuous_batching_pipeline.cpp). Each is two files, `.xml` and `.bin`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from components.models.reference import HubFile
from scripts.models.safetensors import is_in_other_folder, other_weights
from scripts.models.transport import ModelError

_TEXT = ("openvino_model",)
_VISION = (
    "openvino_language_model",
    "openvino_text_embeddings_model",
    "openvino_vision_embeddings_model",
)
_TOKENIZER = ("openvino_tokenizer",)
_BESIDE = (".json", ".jinja", ".txt")
_ENDS = (".xml", ".bin")
_PART = re.compile(r"openvino_[^/]*\.(xml|bin)")


def choose(reference: HubFile, paths: Sequence[str]) -> tuple[str, ...]:
    """Return those of a repository's `paths` that OpenVINO Model Server needs.

    The model and its tokenizer, configuration and chat templates; never code, nor the weights in
    another form. Raises `ModelError` where there is no such model, or no tokenizer of that form.
    """
    there = set(paths)
    if not (_has(there, _TEXT) or _has(there, _VISION)):
        raise _no_model(reference, paths)
    if lacking := _lacking(there, _TOKENIZER):
        raise ModelError(
            f"{reference} has an OpenVINO model, but no {' and no '.join(lacking)}: the server "
            "takes its tokenizer in that form alone\nnext: name a repository that has it, such as "
            "those of https://huggingface.co/OpenVINO, or convert the tokenizer "
            "(convert_tokenizer of openvino_tokenizers) and publish both"
        )
    if "config.json" not in there:
        raise ModelError(
            f"{reference} has an OpenVINO model, but no config.json that says what model it is\n"
            "next: name the repository of a whole model"
        )
    return tuple(path for path in paths if _is_taken(path))


def _is_taken(path: str) -> bool:
    if _PART.fullmatch(path):
        return True
    return path.endswith(_BESIDE) and not is_in_other_folder(path)


def _lacking(there: set[str], models: Sequence[str]) -> list[str]:
    names = [f"{model}{end}" for model in models for end in _ENDS]
    return [name for name in names if name not in there]


def _has(there: set[str], models: Sequence[str]) -> bool:
    return not _lacking(there, models)


def _no_model(reference: HubFile, paths: Sequence[str]) -> ModelError:
    there = set(paths)
    if begun := [path for path in paths if _PART.fullmatch(path)]:
        sees = any(f"{model}{end}" in there for model in _VISION for end in _ENDS)
        lacking = " and no ".join(_lacking(there, _VISION if sees else _TEXT))
        what = f"{_few(begun)}, but no {lacking}"
        step = "name the repository of a whole model"
    else:
        what = " and ".join(_forms(paths)) or "no weights at all"
        has_gguf = any(path.lower().endswith(".gguf") for path in paths)
        llama_cpp = "scripts/pulumi config set engine llama_cpp, or " if has_gguf else ""
        step = (
            f"{llama_cpp}name a repository with openvino_model.xml in it, such as one of "
            "https://huggingface.co/OpenVINO, whose names end in -ov"
        )
    return ModelError(
        f"{reference} has no model that OpenVINO Model Server can load; it has {what}\nnext: {step}"
    )


def _forms(paths: Sequence[str]) -> list[str]:
    """Return in words what `paths` have of weights."""
    folders = sorted({path.rpartition("/")[0] for path in paths if _in_folder(path)})
    forms: list[str] = []
    if folders:
        forms.append(f"OpenVINO files in {', '.join(folders)}, where they are not looked for")
    if any(path.endswith(".safetensors") for path in paths):
        forms.append("safetensors weights, which the engine vllm loads")
    # In such a folder, .bin is OpenVINO's too.
    return forms + other_weights([path for path in paths if not _in_folder(path)])


def _in_folder(path: str) -> bool:
    return bool(_PART.fullmatch(path.rpartition("/")[2]))


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
