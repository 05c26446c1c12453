"""The keys of `local`, the endpoint on the machine you sit at."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from components.settings.base import EndpointSettings
from components.settings.values import ModelReferenceText, command_line, flags


class LocalSettings(EndpointSettings):
    """The keys of `local`, the endpoint on the machine you sit at."""

    engine: Literal["llama_cpp"] = Field(default="llama_cpp", description="What serves the model.")
    embeddings_model: ModelReferenceText | None = Field(
        default=None,
        description="The model that answers `/v1/embeddings`; on `local` only the model itself. "
        "Unset: none does.",
    )
    context_tokens: int = Field(
        default=4096,
        ge=256,
        le=1_048_576,
        description="Tokens that one request may use, prompt and answer together.",
    )
    slots: int = Field(
        default=4, ge=1, le=256, description="Requests that are answered at the same time."
    )
    llama_server: Literal["wheel", "path", "native"] = Field(
        default="wheel",
        description="Which llama.cpp server: `wheel` (PyPI xllamacpp, nothing to compile), `path` "
        "(the `llama-server` on PATH), `native` (built for this CPU, some minutes once).",
    )
    engine_flags: Annotated[
        tuple[str, ...], BeforeValidator(command_line), AfterValidator(flags)
    ] = Field(default=(), description="Further `llama-server` flags, as on its command line.")
    port: int | None = Field(
        default=None,
        ge=1024,
        le=65535,
        description="TCP port on 127.0.0.1. Unset: the first free one from 8080 on, and then kept.",
    )

    @field_validator("embeddings_model")
    @classmethod
    def _same_model(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and value != info.data.get("model", value):
            raise ValueError(
                "on local it can only be the model itself, since there is no gateway to route to a "
                f"second server: set it to {info.data['model']!r}, or leave it unset"
            )
        return value
