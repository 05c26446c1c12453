"""localllm: GoogleCloudPlatform/localllm's tool, which pulls a GGUF file and serves it on a CPU.

Its server is llama-cpp-python's (`llama_cpp.server`), which takes its options from the environment
(`llama_cpp/server/settings.py`); the tool passes that on and sets MODEL and VERBOSE itself.
The server answers one request at a time, without keys, and calls the model by its file's path.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from components.launch import Accelerator, Form, Launch, Probe, Slot

NAME = "localllm"
PROGRAM = "local-llm"

ONLY_HUB = (
    "engine 'localllm' pulls single GGUF files from the Hugging Face hub itself; name one as "
    "owner/repo:file.gguf, or choose engine 'llama_cpp'"
)

# The tool makes up the file's name of a repository that is named alone by how TheBloke names his
# (local-llm/modeldownload.py); elsewhere the name is wrong more often than right.
_NAMED_BY_RULE = "TheBloke"
_DEFAULT_QUANT = "Q4_K_M"
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)

KV_TYPES: Mapping[str, int] = {"f16": 1, "q8_0": 8, "q4_0": 2}
"""The types of the KV cache, by ggml's name, with ggml's number (`enum ggml_type`)."""

_TRUTHS = ("true", "false")


def _whole(value: str) -> bool:
    return re.fullmatch(r"-?\d{1,12}", value) is not None


def _number(value: str) -> bool:
    return re.fullmatch(r"-?\d{1,12}(\.\d{1,12})?", value) is not None


def _truth(value: str) -> bool:
    return value in _TRUTHS


def _name(value: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value) is not None


def _json_object(value: str) -> bool:
    try:
        return isinstance(json.loads(value), dict)
    except ValueError:
        return False


_KINDS: Mapping[Callable[[str], bool], str] = {
    _whole: "a whole number",
    _number: "a number",
    _truth: " or ".join(_TRUTHS),
    _name: "a name",
    _json_object: "a JSON object",
}

_FLAGS: Mapping[str, Callable[[str], bool]] = {
    "--cache": _truth,
    "--cache_size": _whole,
    "--chat_format": _name,
    "--chat_template_kwargs": _json_object,
    "--disable_ping_events": _truth,
    "--draft_model": _name,
    "--draft_model_num_pred_tokens": _whole,
    "--last_n_tokens_size": _whole,
    "--logits_all": _truth,
    "--n_ubatch": _whole,
    "--numa": _truth,
    "--rope_freq_base": _number,
    "--rope_freq_scale": _number,
    "--rope_scaling_type": _whole,
    "--seed": _whole,
    "--use_mlock": _truth,
    "--use_mmap": _truth,
    "--yarn_attn_factor": _number,
    "--yarn_beta_fast": _number,
    "--yarn_beta_slow": _number,
    "--yarn_ext_factor": _number,
    "--yarn_orig_ctx": _whole,
}
"""The options of llama_cpp.server that `engine_flags` may set, and what each takes.

Others are set by keys of their own, or would name files, hosts or credentials.
"""


class LocalllmError(ValueError):
    """What localllm can't do, with what would do instead."""


@dataclass(frozen=True)
class LocalllmOptions:
    """What a person chooses about localllm.

    `owner`, `repo`, `revision` and `selector` are those of a hub reference: the selector is a
    file's path in the repository, a quantisation, or None. `context_tokens` is what one request
    may use, prompt and answer together. `slots` is 1. `threads` None leaves them to the server:
    half of the processors for answers, all of them for prompts. `batch_tokens` are read of a prompt
    at once. `kv_type` is one of `KV_TYPES`. `extra_flags` are options of llama_cpp.server as it
    spells them (`--chat_format chatml`), in words.
    """

    owner: str
    repo: str
    context_tokens: int
    revision: str = "main"
    selector: str | None = None
    slots: int = 1
    threads: int | None = None
    batch_tokens: int = 512
    flash_attention: bool = False
    kv_type: str = "f16"
    extra_flags: tuple[str, ...] = ()

    @property
    def repository(self) -> str:
        """The repository's id at the hub, `owner/repo`."""
        return f"{self.owner}/{self.repo}"


def problems(options: LocalllmOptions) -> tuple[str, ...]:
    """Return all that localllm can't do of `options`, each with what would do."""
    found = [_file_problem(options)]
    if options.revision != "main":
        found.append(
            f"model: engine 'localllm' pulls the branch main alone, not {options.revision!r}; "
            "leave out the @revision, or choose engine 'llama_cpp'"
        )
    if options.slots != 1:
        found.append(
            f"slots is {options.slots}; engine 'localllm' answers one request at a time and the "
            "others wait: set slots to 1, or choose engine 'llama_cpp'"
        )
    if options.kv_type not in KV_TYPES:
        found.append(f"kv_type is {options.kv_type!r}; it can be {', '.join(KV_TYPES)}")
    elif options.kv_type != "f16" and not options.flash_attention:
        found.append(
            f"kv_type is {options.kv_type!r}, which needs flash_attention: true; or set it to f16"
        )
    return (*(text for text in found if text), *_flag_problems(options.extra_flags))


def model_file(options: LocalllmOptions) -> str:
    """Return the path, in its repository, of the file that `options` names.

    Raises `LocalllmError` where only the hub could tell.
    """
    problem = _file_problem(options)
    if problem:
        raise LocalllmError(problem)
    if options.selector is not None and _is_file(options.selector):
        return options.selector
    quant = options.selector or _DEFAULT_QUANT
    stem = options.repo.lower().removesuffix("-gguf")
    return f"{stem}.{quant.upper()}.gguf"


def pull(options: LocalllmOptions) -> tuple[str, ...]:
    """Return the arguments of the tool that fetch the model. Raises `LocalllmError`."""
    _refuse(options)
    return ("pull", options.repository, "--filename", model_file(options))


def launch(options: LocalllmOptions) -> Launch:
    """Return how localllm serves one model. Raises `LocalllmError`.

    The server lists the model under the path that the tool found it at, hence no `model_id`. It
    listens only once the model is loaded. `/v1/models` waits for the request that is being
    answered, so the probe is a page that does not. It claims nothing beyond chat: tool calls come
    back as text, and OpenAI's form of a JSON schema is refused.
    """
    _refuse(options)
    arguments = (
        "run",
        options.repository,
        Slot.PORT,
        "--host",
        Slot.HOST,
        "--filename",
        model_file(options),
        "--verbose",
    )
    return Launch(
        engine=NAME,
        program=PROGRAM,
        arguments=arguments,
        model_id=None,
        probe=Probe(path="/openapi.json", loading_status=503),
        forms=frozenset({Form.PROCESS}),
        accelerators=frozenset({Accelerator.CPU}),
        environment=_environment(options),
    )


def _environment(options: LocalllmOptions) -> dict[str, str]:
    """Return the server's options as the environment variables that it reads.

    Left to itself it cuts a stream off when another request comes (INTERRUPT_REQUESTS), and keeps
    4 bytes for each token of the vocabulary and of the context (LOGITS_ALL; only `logprobs` of the
    old completions need it). UVICORN_…: connections outlive those that the gateway keeps, the
    gateway's access log is enough, and a stop ends streams after 20 s.
    """
    threads = {} if options.threads is None else {"N_THREADS": str(options.threads)}
    if options.threads is not None:
        threads["N_THREADS_BATCH"] = str(options.threads)
    cache = {}
    if options.kv_type != "f16":
        cache = dict.fromkeys(("TYPE_K", "TYPE_V"), str(KV_TYPES[options.kv_type]))
    return {
        "N_CTX": str(options.context_tokens),
        "N_BATCH": str(options.batch_tokens),
        **threads,
        "FLASH_ATTN": str(options.flash_attention).lower(),
        **cache,
        "INTERRUPT_REQUESTS": "false",
        "LOGITS_ALL": "false",
        "USE_MLOCK": "false",
        "UVICORN_ACCESS_LOG": "false",
        "UVICORN_TIMEOUT_KEEP_ALIVE": "75",
        "UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN": "20",
        "OMP_WAIT_POLICY": "passive",
        "GGML_NO_BACKTRACE": "1",
        **{flag.removeprefix("--").upper(): value for flag, value in _pairs(options.extra_flags)},
    }


def _refuse(options: LocalllmOptions) -> None:
    found = problems(options)
    if found:
        raise LocalllmError("\n".join(found))


def _is_file(selector: str) -> bool:
    return selector.lower().endswith(".gguf")


def _file_problem(options: LocalllmOptions) -> str:
    selector = options.selector
    if selector is not None and _is_file(selector):
        if _PART.search(selector):
            return (
                f"model: {selector} is a part of a split model, and engine 'localllm' pulls single "
                "files; name a file that is whole, or choose engine 'llama_cpp'"
            )
        return ""
    if options.owner == _NAMED_BY_RULE and options.repo.lower().endswith("-gguf"):
        return ""
    what = f"the quantisation {selector}" if selector else "a repository without a file"
    return (
        f"model: engine 'localllm' does not look up what {what} means; name the file, as "
        f"{options.repository}:FILE.gguf, from https://huggingface.co/{options.repository}/"
        "tree/main, or choose engine 'llama_cpp'"
    )


def _flag_problems(words: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for flag, value in _pairs(words):
        takes = _FLAGS.get(flag)
        if takes is None:
            found.append(
                f"engine_flags: {flag!r} is no option that engine 'localllm' takes; it takes "
                f"{', '.join(_FLAGS)}"
            )
        elif not takes(value):
            given = shlex.quote(value) if value else "without a value"
            found.append(f"engine_flags: {flag} is {given}; it takes {_KINDS[takes]}")
    return found


def _pairs(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return flags with their values, written `--flag value` or `--flag=value`."""
    found: list[tuple[str, str]] = []
    rest = list(words)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if not equals and rest and flag.startswith("--") and not rest[0].startswith("--"):
            value = rest.pop(0)
        found.append((_spelt(flag), value))
    return found


def _spelt(flag: str) -> str:
    """Return a flag as llama_cpp.server spells it: `--chat-format` is `--chat_format`."""
    name = flag.removeprefix("--")
    return flag if name == flag else f"--{name.replace('-', '_')}"
