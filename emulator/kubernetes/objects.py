"""Objects as the state keeps them: what was declared, what is live, and what is secret in both.

The state of an object is the live one, with what was declared under `__inputs` and the field
manager beside it, as the published plugin's is.
"""

from __future__ import annotations

import base64
from typing import cast

from emulator.plugin.values import (
    Properties,
    Property,
    Secret,
    Unknown,
    as_secret,
    holds_secret,
    reveal,
)

from .api import Kind, Object, metadata, name_of, namespace_of

INPUTS = "__inputs"
MANAGER = "__fieldManager"
API_VERSION = "__initialApiVersion"
OUR_OWN = "pulumi.com/"

_READ_ONLY = (
    *("creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp"),
    *("generation", "managedFields", "resourceVersion", "uid"),
)


def plain(value: Property) -> object:
    """VALUE with its secrets opened; what is unknown stays `Unknown`."""
    match value:
        case Secret(inner):
            return plain(inner)
        case dict():
            return {name: plain(item) for name, item in value.items()}
        case list():
            return [plain(item) for item in value]
        case _:
            return value


def opened(properties: Properties) -> Object:
    """The object that PROPERTIES are, opened."""
    return cast("Object", plain(properties))


def holds_unknown(value: object) -> bool:
    """Whether VALUE is unknown or holds what is, at any depth."""
    match value:
        case Unknown():
            return True
        case dict():
            return any(map(holds_unknown, cast("Object", value).values()))
        case list():
            return any(map(holds_unknown, cast("list[object]", value)))
        case _:
            return False


def annotation(manifest: Object, name: str) -> str:
    """The annotation `pulumi.com/NAME` of an object, else nothing."""
    found = metadata(manifest).get("annotations")
    value = cast("Object", found).get(OUR_OWN + name) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""


def identity(manifest: Object) -> str:
    """`NAMESPACE/NAME` of an object, or its name alone where it is in no namespace."""
    namespace = namespace_of(manifest)
    return f"{namespace}/{name_of(manifest)}" if namespace else name_of(manifest)


def normalized(manifest: Object) -> Object:
    """MANIFEST as the server will keep it: what is read-only left out, a Secret's text encoded."""
    made: Object = dict(manifest)
    if isinstance(made.get("metadata"), dict):
        kept = {key: item for key, item in metadata(made).items() if key not in _READ_ONLY}
        made["metadata"] = kept
    text = made.get("stringData")
    if Kind.of(made) == Kind("v1", "Secret") and isinstance(text, dict) and not holds_unknown(made):
        encoded = {
            key: base64.b64encode(str(value).encode()).decode()
            for key, value in cast("Object", text).items()
        }
        del made["stringData"]
        made["data"] = {**cast("Object", made.get("data") or {}), **encoded}
    return made


def pruned(live: object, declared: object) -> object:
    """What of LIVE is declared: a server adds fields that are no drift."""
    if isinstance(live, dict) and isinstance(declared, dict):
        wanted = cast("Object", declared)
        return {
            key: pruned(item, wanted[key])
            for key, item in cast("Object", live).items()
            if key in wanted
        }
    if isinstance(live, list) and isinstance(declared, list):
        pairs = zip(cast("list[object]", live), cast("list[object]", declared), strict=False)
        return [pruned(item, wanted) for item, wanted in pairs]
    return live


def as_secret_as(found: Object, declared: Properties) -> Properties:
    """FOUND with what is secret in DECLARED secret, and with a Secret's data so in any case."""
    properties = cast("Properties", dict(found))
    if found.get("kind") == "Secret":
        for name in ("data", "stringData"):
            if name in properties:
                properties[name] = as_secret(properties[name])
        return properties
    for name, wanted in declared.items():
        here = properties.get(name)
        if isinstance(here, dict) and isinstance(wanted, dict):
            properties[name] = as_secret_as(cast("Object", here), wanted)
        elif name in properties and holds_secret(wanted):
            properties[name] = as_secret(here)
    return properties


def checkpoint(declared: Object, live: Object, given: Properties, manager: str) -> Properties:
    """The state of an object: see the module. GIVEN says what of it is secret."""
    return {
        **as_secret_as(live, given),
        INPUTS: as_secret_as(declared, given),
        API_VERSION: str(declared.get("apiVersion")),
        MANAGER: manager,
    }


def from_checkpoint(state: Properties) -> tuple[Object, Object]:
    """What was declared, and what was live, of a state."""
    own = {INPUTS, API_VERSION, MANAGER}
    declared = opened(cast("Properties", reveal(state.get(INPUTS)) or {}))
    live = opened({name: value for name, value in state.items() if name not in own})
    return declared, live
