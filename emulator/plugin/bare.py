"""A faster start: the SDK's messages without the SDK."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path


def leave_out_the_sdk() -> None:
    """Lets `pulumi.runtime.proto` be imported without what `pulumi` imports itself.

    The messages alone take half the time (0.11 s instead of 0.22 s to a port), at each preview
    and each update. Only for a plugin's process, which uses nothing else of the SDK.
    """
    sdk = importlib.util.find_spec("pulumi")
    for folder in (sdk.submodule_search_locations or ()) if sdk else ():
        for name in ("pulumi", "pulumi.runtime"):
            bare = ModuleSpec(name, loader=None, is_package=True)
            bare.submodule_search_locations = [str(Path(folder).parent.joinpath(*name.split(".")))]
            sys.modules[name] = importlib.util.module_from_spec(bare)
