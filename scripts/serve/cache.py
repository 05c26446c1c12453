"""Where what is fetched or built is kept, outside of any checkout."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Return `$LLM_ENDPOINT_CACHE`, else `$XDG_CACHE_HOME/llm-endpoint`, else `~/.cache/…`."""
    own = os.environ.get("LLM_ENDPOINT_CACHE")
    if own:
        return Path(own).expanduser().resolve()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "llm-endpoint"
