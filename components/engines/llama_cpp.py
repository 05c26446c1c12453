"""llama.cpp's own HTTP server, `llama-server`: GGUF models on a CPU or on GPUs.

Flags: llama.cpp, `tools/server/README.md`. The port is always given, since its default has moved.
"""

from __future__ import annotations

from dataclasses import dataclass

from components.launch import Accelerator, Capability, Form, Launch, Probe, Slot

NAME = "llama_cpp"
PROGRAM = "llama-server"

EMBEDDING_TOKENS = 2048
"""The longest text, in tokens, that a server with embeddings takes for one vector."""

PROMPT_CACHE_MIB = 512
"""Memory that the server may keep prompts in beside the model; its own default is 8 GiB."""

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
    # Tool calls, which the engine claims, need it.
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
    requests are answered at once. `embeddings` makes the same server answer `/v1/embeddings` with
    the mean over the tokens, for texts of up to 2048 of them. `checks_keys` False is for a server
    behind a gateway that checks them. `extra_flags` are further `llama-server` flags, as typed.
    """

    model_id: str
    context_tokens: int
    slots: int
    embeddings: bool = False
    checks_keys: bool = True
    extra_flags: tuple[str, ...] = ()


def launch(options: LlamaCppOptions) -> Launch:
    """Return how llama.cpp serves one model.

    `--ctx-size` is shared by the slots, hence the product. `OMP_WAIT_POLICY=passive` keeps a busy
    machine usable: spinning threads lose most of their speed to any neighbour on their core. A
    server that fails an assertion says which one; a debugger's backtrace would bury it in the log.
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
        *(_embedding_flags(options.slots) if options.embeddings else ()),
        *options.extra_flags,
    )
    claims = {Capability.TOOL_CALLS, Capability.JSON_SCHEMA}
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
        environment={"OMP_WAIT_POLICY": "passive", "GGML_NO_BACKTRACE": "1"},
    )


def _embedding_flags(slots: int) -> tuple[str, ...]:
    """Return the flags with which a server also answers `/v1/embeddings`.

    A text is embedded in one micro-batch or refused, hence more than the default of 512 tokens;
    with mean pooling that must be a multiple of the slots, or llama.cpp fails an assertion. With a
    cache for each slot, texts of different lengths that share a batch would get wrong means.
    """
    batch = str(max(1, EMBEDDING_TOKENS // slots) * slots)
    flags = ("--embeddings", "--pooling", "mean", "--kv-unified")
    return (*flags, "--batch-size", batch, "--ubatch-size", batch)
