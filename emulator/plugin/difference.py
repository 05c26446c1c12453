"""What differs, in the words of the engine's answer to `Diff`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pulumi.runtime.proto import provider_pb2

from .changes import Change, Path, written

_KINDS = {
    (Change.ADD, False): provider_pb2.PropertyDiff.ADD,
    (Change.ADD, True): provider_pb2.PropertyDiff.ADD_REPLACE,
    (Change.DELETE, False): provider_pb2.PropertyDiff.DELETE,
    (Change.DELETE, True): provider_pb2.PropertyDiff.DELETE_REPLACE,
    (Change.UPDATE, False): provider_pb2.PropertyDiff.UPDATE,
    (Change.UPDATE, True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
}


def difference(
    found: Mapping[Path, Change], replaces: Callable[[Path], bool]
) -> provider_pb2.DiffResponse:
    """The answer to the engine; REPLACES says of a path whether a change there replaces."""
    return provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME
        if found
        else provider_pb2.DiffResponse.DIFF_NONE,
        hasDetailedDiff=True,
        detailedDiff={
            written(path): provider_pb2.PropertyDiff(kind=_KINDS[change, replaces(path)])
            for path, change in found.items()
        },
        diffs=sorted({str(path[0]) for path in found}),
        replaces=sorted({str(path[0]) for path in found if replaces(path)}),
    )
