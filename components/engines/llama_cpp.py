"""llama.cpp's own HTTP server, `llama-server`: GGUF models on a CPU or on GPUs.

Flags: llama.cpp, `tools/server/README.md`, and those of the pinned container image in
`llama_cpp_server_flags.txt`. Host and port are always given, since the port's default has moved
and the images set a host by their environment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from components.launch import Accelerator, Capability, Form, Launch, Probe, Slot

NAME = "llama_cpp"
PROGRAM = "llama-server"

EMBEDDING_TOKENS = 2048
"""The longest text, in tokens, that a server with embeddings takes for one vector."""

EMBEDDING_SLOTS = 4
"""Requests for vectors that a server beside another one on GPUs works on at once."""

PROMPT_CACHE_MIB = 512
"""Memory that the server may keep prompts in beside the model; its own default is 8 GiB."""

JINJA_TEMPLATE = "chatml"
"""The one built-in chat template that works by its name with Jinja too.

Any other name would be taken for the template's text: every prompt would be that word
(`common/chat.cpp`, b11434).
"""

_RESERVED_SHORT = frozenset(
    {"-m", "-a", "-c", "-np", "-mu", "-mm", "-dr", "-hf", "-hfr", "-hff", "-hft", "-ag"}
)
_RESERVED_BEGINNINGS = (
    # Other keys set these.
    *("--model", "--alias", "--host", "--port", "--ctx-size", "--parallel", "--embedding"),
    *("--kv-unified-per-slot", "--log-file"),
    # These would hand out a key, read what the stack has not named, or open the machine.
    *("--api", "--ssl", "--cors", "--hf", "--docker", "--path", "--public", "--media", "--mmproj"),
    *("--slot-save", "--tools", "--agent", "--mcp", "--ui", "--webui", "--rpc"),
    # Tool calls need it.
    "--no-jinja",
)


def is_reserved(flag: str) -> bool:
    """Whether `engine_flags` may not hold `flag`: another key sets it, or it opens the machine.

    llama.cpp takes `_` for `-` in long flags (`common/arg.cpp`).
    """
    name = flag.partition("=")[0]
    if not name.startswith("--"):
        return name in _RESERVED_SHORT
    return name.replace("_", "-").startswith(_RESERVED_BEGINNINGS)


@dataclass(frozen=True)
class LlamaCppOptions:
    """What a person chooses about llama.cpp.

    `context_tokens` is what one request may use, prompt and answer together; `slots` is how many
    requests are answered at once. `embeddings` makes the same server answer `/v1/embeddings`, for
    texts of up to 2048 tokens, with `pooling` of their vectors; None is what the model's file says,
    which only an embeddings model's does. `checks_keys` False is for a server
    behind a gateway that checks them. `extra_flags` are further `llama-server` flags, as typed: of
    two the last one counts. What is None is left to llama.cpp: `threads` that compute,
    `batch_tokens` of a prompt in one go and `micro_batch_tokens` in one step of arithmetic, the
    `kv_type` of keys and values, `flash_attention` (`auto`, `on`, `off`), `gpu_layers` of the model
    on GPUs (a number, `auto` for as many as fit, `all`), and how several GPUs share the model,
    `split_mode` (`layer`, `row`, `none`). `chat_template` is the name of one of llama.cpp's own
    templates or the text of a Jinja template; None is the one in the model's file.
    """

    model_id: str
    context_tokens: int
    slots: int
    embeddings: bool = False
    pooling: str | None = "mean"
    checks_keys: bool = True
    extra_flags: tuple[str, ...] = ()
    threads: int | None = None
    batch_tokens: int | None = None
    micro_batch_tokens: int | None = None
    kv_type: str | None = None
    flash_attention: str | None = None
    gpu_layers: str | None = None
    split_mode: str | None = None
    chat_template: str | None = None


def is_jinja(chat_template: str) -> bool:
    """Whether a chat template is the text of one, in Jinja, rather than a name."""
    return "{{" in chat_template or "{%" in chat_template


def makes_tool_calls(chat_template: str | None) -> bool:
    """Whether a server with this chat template makes tool calls; None is the model file's own.

    llama.cpp hands the tools to the template. One that does not mention them leaves them out of the
    prompt, and the answer is text even where a call is required (b11434); its own templates mention
    none.
    """
    if chat_template is None:
        return True
    return is_jinja(chat_template) and re.search(r"\btools\b", chat_template) is not None


def launch(options: LlamaCppOptions) -> Launch:
    """Return how llama.cpp serves one model.

    `--ctx-size` is shared by the slots, hence the product. `OMP_WAIT_POLICY=passive` keeps a busy
    machine usable: spinning threads lose most of their speed to any neighbour on their core. A
    server that fails an assertion says which one; a debugger's backtrace would bury it in the log.
    Tool calls are claimed as far as the chat template makes them.
    """
    arguments = (
        "--model",
        Slot.MODEL,
        "--alias",
        options.model_id,
        "--host",
        Slot.HOST,
        "--port",
        Slot.PORT,
        *(("--api-key-file", Slot.KEY_FILE) if options.checks_keys else ()),
        "--ctx-size",
        str(options.context_tokens * options.slots),
        "--parallel",
        str(options.slots),
        "--cors-origins",
        "localhost",
        "--cache-ram",
        str(PROMPT_CACHE_MIB),
        "--no-ui",
        "--offline",
        *_tuning_flags(options),
        *_template_flags(options.chat_template),
        *(_embedding_flags(options) if options.embeddings else ()),
        *options.extra_flags,
    )
    claims = {Capability.JSON_SCHEMA}
    if makes_tool_calls(options.chat_template):
        claims.add(Capability.TOOL_CALLS)
    if options.embeddings:
        claims.add(Capability.EMBEDDINGS)
    return Launch(
        engine=NAME,
        program=PROGRAM,
        arguments=arguments,
        model_id=options.model_id,
        probe=Probe(path="/health", loading_status=503),
        forms=frozenset({Form.PROCESS, Form.CONTAINER, Form.POD}),
        accelerators=frozenset({Accelerator.CPU, Accelerator.CUDA}),
        capabilities=frozenset(claims),
        slots=options.slots,
        environment={"OMP_WAIT_POLICY": "passive", "GGML_NO_BACKTRACE": "1"},
    )


def _tuning_flags(options: LlamaCppOptions) -> tuple[str, ...]:
    """Return the flags of what was chosen about threads, batches, cache, attention and GPUs.

    A server with embeddings has batches of its own.
    """
    batch = None if options.embeddings else options.batch_tokens
    micro_batch = None if options.embeddings else options.micro_batch_tokens
    chosen = {
        "--threads": options.threads,
        "--batch-size": batch,
        "--ubatch-size": micro_batch,
        "--cache-type-k": options.kv_type,
        "--cache-type-v": options.kv_type,
        "--flash-attn": options.flash_attention,
        "--gpu-layers": options.gpu_layers,
        "--split-mode": options.split_mode,
    }
    return tuple(
        word for flag, value in chosen.items() if value is not None for word in (flag, str(value))
    )


def _template_flags(chat_template: str | None) -> tuple[str, ...]:
    """Return the flags of a chat template, whose name llama.cpp takes only without Jinja."""
    if chat_template is None:
        return ()
    with_jinja = is_jinja(chat_template) or chat_template == JINJA_TEMPLATE
    return (*(() if with_jinja else ("--no-jinja",)), "--chat-template", chat_template)


def _embedding_flags(options: LlamaCppOptions) -> tuple[str, ...]:
    """Return the flags with which a server also answers `/v1/embeddings`.

    A text is embedded in one micro-batch or refused, hence more than the default of 512 tokens;
    with mean pooling that must be a multiple of the slots, or llama.cpp fails an assertion. With a
    cache for each slot, texts of different lengths that share a batch would get wrong means.
    """
    batch = str(max(1, EMBEDDING_TOKENS // options.slots) * options.slots)
    pooling = () if options.pooling is None else ("--pooling", options.pooling)
    flags = ("--embeddings", *pooling, "--kv-unified")
    return (*flags, "--batch-size", batch, "--ubatch-size", batch)
