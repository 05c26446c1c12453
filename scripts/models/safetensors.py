"""Which files of a repository an engine of safetensors loads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from components.models.reference import HubFile
from scripts.models.transport import ModelError

_WEIGHTS = ".safetensors"
_INDEX = ".safetensors.index.json"
_TAKEN = (_WEIGHTS, ".json", ".jinja", ".txt", ".model", ".tiktoken", ".vocab")
_TOKENIZER = "tokenizer.model"
"""Mistral's have a version after it: `tokenizer.model.v3`."""
_CONFIGS = ("config.json", "params.json")
"""One of them says what the model is: transformers' file, or Mistral's own."""
_OTHER_FOLDERS = re.compile(
    r"\..*|onnx|openvino|original|gguf|coreml|mlx|metal|flax|tflite|tensorrt|checkpoint-\d+", re.I
)
"""Hidden ones, the same weights in another form, and stages of a training."""
_OTHER_WEIGHTS = {
    ".gguf": "GGUF files, which the engine llama_cpp loads",
    ".bin": "PyTorch weights, which can carry code and are not loaded here",
    ".pt": "PyTorch weights, which can carry code and are not loaded here",
    ".pth": "PyTorch weights, which can carry code and are not loaded here",
    ".onnx": "an ONNX model",
    ".msgpack": "Flax weights",
    ".h5": "TensorFlow weights",
}


def choose(reference: HubFile, paths: Sequence[str]) -> tuple[str, ...]:
    """Return those of a repository's `paths` that an engine of safetensors needs.

    Weights, configuration, tokenizer and chat templates; never code, nor the weights in another
    form. Raises `ModelError` where there are no such weights.
    """
    taken = [path for path in paths if _is_taken(path)]
    if any(re.fullmatch(r"model[^/]*\.safetensors", path) for path in taken):
        # Mistral's own form of the same weights; vLLM would prefer it where both are there.
        taken = [path for path in taken if not path.startswith("consolidated")]
    weights = [path for path in taken if path.endswith(_WEIGHTS)]
    # Weights in a subfolder are found only by an index (vLLM, model_loader/default_loader.py).
    found = any("/" not in path and path.endswith((_WEIGHTS, _INDEX)) for path in taken)
    if not weights or not found:
        raise _no_weights(reference, paths)
    if not set(_CONFIGS) & set(taken):
        is_adapter = "adapter_config.json" in taken
        adapter = ": it is an adapter for another model" if is_adapter else ""
        raise ModelError(
            f"{reference} has safetensors, but no {' or '.join(_CONFIGS)} that says what model "
            f"they are{adapter}\nnext: name the repository of a whole model"
        )
    return tuple(taken)


def _is_taken(path: str) -> bool:
    parts = PurePosixPath(path).parts
    if is_in_other_folder(path):
        return False
    return path.endswith(_TAKEN) or parts[-1].startswith(_TOKENIZER)


def _no_weights(reference: HubFile, paths: Sequence[str]) -> ModelError:
    suffixes = {PurePosixPath(path).suffix.lower() for path in paths}
    there = other_weights(paths)
    if _WEIGHTS in suffixes:
        folders = sorted({path.rpartition("/")[0] for path in paths if path.endswith(_WEIGHTS)})
        there.insert(
            0, f"safetensors in {', '.join(folders)}, of another form or no language model"
        )
    llama_cpp = "scripts/pulumi config set engine llama_cpp, or "
    return ModelError(
        f"{reference} has no safetensors weights that an engine can load from its folder; it has "
        f"{' and '.join(there) or 'no weights at all'}\n"
        f"next: {llama_cpp if '.gguf' in suffixes else ''}name a repository with "
        "model.safetensors in it"
    )


def is_in_other_folder(path: str) -> bool:
    """Whether a folder on the way to `path` holds another form, or a stage of a training."""
    parts = PurePosixPath(path).parts
    return any(_OTHER_FOLDERS.fullmatch(part) for part in parts if part != "..")


def other_weights(paths: Sequence[str]) -> list[str]:
    """Return in words what `paths` have of weights in forms that no engine loads by folder."""
    suffixes = {PurePosixPath(path).suffix.lower() for path in paths}
    return list(dict.fromkeys(text for end, text in _OTHER_WEIGHTS.items() if end in suffixes))
