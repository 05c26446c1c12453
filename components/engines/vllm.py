"""vLLM: models in safetensors on NVIDIA GPUs, over all of one machine at once.

Flags: `vllm serve --help=all` of the pinned image, listed in `vllm_server_flags.txt`. It does not
load GGUF files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from components.launch import Accelerator, Capability, Form, Launch, Probe, Slot

NAME = "vllm"
PROGRAM = "vllm"

CACHE = "/cache"
"""The folder in the container that it may write to, kept from one start to the next: kernels that
were compiled for the model lie there. The place mounts it, and sets HOME to it."""

SHARED_MEMORY_MB = 8192
"""The most that `/dev/shm` may take, over which the engine's processes talk to each other."""

GPU_MEMORY_SHARE = 0.92
"""Of a GPU's memory, vLLM's own default for weights, cache and buffers together."""

# VLLM_HOST_IP: the engine's processes would talk to each other over the machine's own address,
# which a place that confines its engines to loopback denies. USER and LOGNAME: PyTorch asks for
# the user's name, and the container's user may have none.
_ENVIRONMENT: Mapping[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CACHE_ROOT": f"{CACHE}/vllm",
    "TRITON_CACHE_DIR": f"{CACHE}/triton",
    "TORCHINDUCTOR_CACHE_DIR": f"{CACHE}/inductor",
    "FLASHINFER_WORKSPACE_BASE": CACHE,
    "VLLM_HOST_IP": "127.0.0.1",
    "USER": "llm",
    "LOGNAME": "llm",
}

_RESERVED_SHORT = ("-tp", "-q", "-dp", "-n", "-r", "-h")
RESERVED_FLAGS = (
    # Other keys set these.
    *("--model", "--served-model-name", "--host", "--port", "--uds", "--max-model-len"),
    *("--max-num-seqs", "--kv-cache-dtype", "--quantization", "--enable-auto-tool-choice"),
    *("--no-enable-auto-tool-choice", "--tool-call-parser", "--chat-template"),
    # These read a configuration, a model or code that the stack has not named.
    *("--config", "--hf-config-path", "--hf-token", "--revision", "--code-revision"),
    *("--tokenizer", "--tokenizer-revision", "--download-dir", "--lora-modules"),
    *("--default-mm-loras", "--middleware", "--tool-parser-plugin", "--reasoning-parser-plugin"),
    *("--io-processor-plugin", "--logits-processors", "--worker-cls", "--worker-extension-cls"),
    *("--scheduler-cls", "--log-config-file", "--tool-server", "--trust-remote-code"),
    # These would hand out a key, trust what a request brings, or open the machine.
    *("--api-key", "--enable-ssl-refresh", "--allow-credentials", "--root-path", "--grpc"),
    *("--headless", "--master-addr", "--master-port", "--nnodes", "--node-rank"),
    *("--otlp-traces-endpoint", "--enable-prompt-embeds", "--trust-request-chat-template"),
    *("--trust-request-mm-kwargs", "--kv-transfer-config", "--kv-events-config"),
    *("--ec-transfer-config", "--weight-transfer-config", "--help"),
)
_BEGINS_ANOTHER = "--reasoning-parser"
_RESERVED_BEGINNINGS = ("--ssl", "--allowed", "--data-parallel", "--dp-supervisor")


def is_reserved(flag: str) -> bool:
    """Whether `engine_flags` may not hold `flag`: another key sets it, or it opens the machine.

    vLLM takes `_` for `-` in long flags, a flag's beginning for the whole, and one key of a JSON
    flag as `--flag.key` (`vllm/utils/argparse_utils.py`).
    """
    name = flag.partition("=")[0]
    if not name.startswith("--"):
        return name.startswith(_RESERVED_SHORT)
    spelt = name.partition(".")[0].replace("_", "-")
    if spelt.startswith(_RESERVED_BEGINNINGS) or spelt in RESERVED_FLAGS:
        return True
    begun = (*RESERVED_FLAGS, *_RESERVED_BEGINNINGS)
    return spelt != _BEGINS_ANOTHER and any(one.startswith(spelt) for one in begun)


@dataclass(frozen=True)
class VllmOptions:
    """What a person chooses about vLLM.

    `context_tokens` is what one request may use, prompt and answer together; None is the most that
    the model takes and the GPUs bear, since vLLM does not start with more than the model takes.
    `slots` is how many requests are answered at once. The model is split over `gpus` GPUs of one
    machine, of each of which it takes `memory_share` (0 to 1). What is None is left to vLLM: the
    `kv_type` of keys and values (`fp8`), the `quantization` that the weights are in, the
    `tool_call_parser` that reads the model's tool calls, without which there are none, and the
    `chat_template` (the text of a Jinja template). `extra_flags` are further flags of `vllm serve`,
    as typed: of two the last one counts.
    """

    model_id: str
    context_tokens: int | None
    slots: int
    gpus: int = 1
    memory_share: float = GPU_MEMORY_SHARE
    kv_type: str | None = None
    quantization: str | None = None
    tool_call_parser: str | None = None
    chat_template: str | None = None
    extra_flags: tuple[str, ...] = ()


def launch(options: VllmOptions) -> Launch:
    """Return how vLLM serves one model, a folder of safetensors.

    It checks no keys: its own check leaves most paths open, so that a gateway has to. It listens
    only once the model is loaded, and refuses connections until then.
    """
    arguments = (
        "serve",
        Slot.MODEL,
        "--served-model-name",
        options.model_id,
        "--host",
        Slot.HOST,
        "--port",
        Slot.PORT,
        "--max-model-len",
        "auto" if options.context_tokens is None else str(options.context_tokens),
        "--max-num-seqs",
        str(options.slots),
        "--gpu-memory-utilization",
        f"{options.memory_share:.2f}",
        "--tensor-parallel-size",
        str(options.gpus),
        *_chosen_flags(options),
        "--disable-uvicorn-access-log",
        *options.extra_flags,
    )
    claims = {Capability.JSON_SCHEMA}
    if options.tool_call_parser is not None:
        claims.add(Capability.TOOL_CALLS)
    return Launch(
        engine=NAME,
        program=PROGRAM,
        arguments=arguments,
        model_id=options.model_id,
        probe=Probe(path="/health"),
        forms=frozenset({Form.CONTAINER, Form.POD}),
        accelerators=frozenset({Accelerator.CUDA}),
        capabilities=frozenset(claims),
        slots=options.slots,
        environment=_ENVIRONMENT,
    )


def _chosen_flags(options: VllmOptions) -> tuple[str, ...]:
    chosen = {
        "--kv-cache-dtype": options.kv_type,
        "--quantization": options.quantization,
        "--tool-call-parser": options.tool_call_parser,
        "--chat-template": options.chat_template,
    }
    flags = tuple(
        word for flag, value in chosen.items() if value is not None for word in (flag, value)
    )
    tools = () if options.tool_call_parser is None else ("--enable-auto-tool-choice",)
    return (*tools, *flags)
