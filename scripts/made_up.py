"""Values that stand in for keys which must be set, where a stack is only looked at."""

from __future__ import annotations

from collections.abc import Mapping

from stacks import Program

_SHOWN_FOR: Mapping[str, str] = {
    "allowed_cidrs": "203.0.113.0/24",
    "gcp:project": "my-project",
    "gcp:region": "europe-west4",
    "gcp:zone": "europe-west4-a",
    "github_owner_id": "1001",
    "github_repository": "my-team/llm-endpoint",
    "github_repository_id": "2002",
}
"""They decide little of what is shown. The network is of those that RFC 5737 keeps for
documentation."""
_NEEDED: Mapping[str, frozenset[str]] = {
    # A bucket of Google's has a place; storage that speaks S3 has a `registry` instead.
    "model-registry": frozenset({"gcp:project", "gcp:region"}),
}


def made_up(program: Program, raw: Mapping[str, object]) -> dict[str, str]:
    """Return a value for each key that `program` needs and neither `raw` nor its defaults have."""
    fields = program.schema.model_fields.items()
    needed = {field.alias or name for name, field in fields if field.is_required()}
    if "registry" not in raw:
        needed |= _NEEDED.get(program.name, frozenset())
    defaults = program.defaults()
    return {
        key: value
        for key, value in _SHOWN_FOR.items()
        if key in needed and key not in raw and key not in defaults
    }
