"""The flags that a container's `engine_flags` may not hold, and the keys that say the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from components.engines import known_flags, llama_cpp, ovms, vllm

_KEYS: Mapping[str, Mapping[str, str]] = {
    llama_cpp.NAME: {
        **dict.fromkeys(("--model", "-m", "--hf-repo", "-hf"), "model"),
        **dict.fromkeys(("--ctx-size", "-c"), "context_tokens (of one slot) and slots"),
        **dict.fromkeys(("--parallel", "-np"), "slots"),
        **dict.fromkeys(("--gpu-layers", "--n-gpu-layers", "-ngl"), "gpu_layers"),
        **dict.fromkeys(("--split-mode", "-sm"), "split_mode"),
        **dict.fromkeys(("--chat-template", "--chat-template-file"), "chat_template"),
        **dict.fromkeys(("--embeddings", "--embedding"), "embeddings_model"),
    },
    vllm.NAME: {
        "--model": "model",
        "--max-model-len": "context_tokens",
        "--max-num-seqs": "slots",
        "--kv-cache-dtype": "kv_type",
        **dict.fromkeys(("--quantization", "-q"), "quantization"),
        "--tool-call-parser": "tool_call_parser",
        "--chat-template": "chat_template",
    },
    ovms.NAME: {
        **dict.fromkeys(("--model_path", "--source_model"), "model"),
        "--cache_size": "kv_cache_gb",
        "--kv_cache_precision": "kv_type",
        "--max_num_seqs": "slots",
        "--tool_parser": "tool_call_parser",
        "--reasoning_parser": "reasoning_parser",
    },
}
"""The key that says what a flag says, by engine."""


def reserved(engine: str, words: Iterable[str]) -> str | None:
    """Return which flags in `words` are not for `engine_flags`, and why; None where all are.

    Values are not repeated.
    """
    found = [word.partition("=")[0] for word in words if known_flags.is_reserved(engine, word)]
    names = tuple(dict.fromkeys(found))
    if not names:
        return None
    keys = [f"{name} is {key}" for name in names if (key := _KEYS[engine].get(name))]
    are, them, they = ("is", "it", "it") if len(names) == 1 else ("are", "them", "they")
    said = (
        f"{', '.join(names)} {are} not for engine_flags: another key sets {them}, or {they} would "
        "open the server"
    )
    return f"{said}; {', '.join(keys)}" if keys else said
