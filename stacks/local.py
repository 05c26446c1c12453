"""`local`: a verified endpoint on the machine you sit at."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path, PurePath

import pulumi

from components.engines import llama_cpp
from components.models.identity import model_id
from components.models.reference import Builtin, PathFile, parse_model_reference
from components.settings import LocalSettings, Settings
from components.targets.local import LocalServer
from scripts.serve import llama_server
from scripts.serve.identity import replacement_trigger
from stacks.interpreter import CHECKOUT, python


def deploy(settings: Settings) -> Mapping[str, object]:
    """Register the local endpoint and return the stack's outputs."""
    if not isinstance(settings, LocalSettings):
        raise TypeError(f"local takes LocalSettings, not {type(settings).__name__}")
    reference = parse_model_reference(settings.model)
    embedding_model = model_id(reference) if settings.embeddings_model else None
    launch = llama_cpp.launch(
        llama_cpp.LlamaCppOptions(
            model_id=model_id(reference),
            context_tokens=settings.context_tokens,
            slots=settings.slots,
            embeddings=embedding_model is not None,
            extra_flags=settings.engine_flags,
        )
    )
    home = PurePath(".state", "servers", pulumi.get_stack())
    server = LocalServer(
        "local",
        {
            "launch": launch,
            "model": settings.model,
            "model_version": _version(reference) if isinstance(reference, PathFile) else "",
            "embedding_model": embedding_model,
            "stand_in": isinstance(reference, Builtin),
            "keys": settings.key_generations(),
            "server_build": settings.llama_server,
            "server_package": package(settings.llama_server),
            "home": home,
            "port": settings.port,
            "replaces": replacement_trigger(CHECKOUT / home),
            "python": [python()],
            "wait_seconds": settings.ready_minutes * 60,
            "streams": settings.verify_streams,
            "min_tokens_per_second": settings.min_tokens_per_second,
            "parked": settings.parked,
        },
    )
    return server.outputs.exports()


def _version(reference: PathFile) -> str:
    """Return a text that changes when the file does; a missing file is the pull's to report."""
    try:
        status = Path(reference.path).expanduser().stat()
    except OSError:
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}"


def package(build: str) -> str:
    """Return what the server `build` comes from, as it is installed or pinned here."""
    if build == "wheel":
        return f"xllamacpp {version('xllamacpp')}"
    if build == "path":
        return shutil.which("llama-server") or "llama-server"
    return f"{llama_server.PACKAGE} {llama_server.package_version()}"
