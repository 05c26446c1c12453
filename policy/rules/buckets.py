"""No bucket is public."""

from __future__ import annotations

from collections.abc import Iterator

from policy.resources import Resource, at, text
from policy.rule import AnyRule, Options, Rule, Violation

_ACCESS_LISTS = (
    *("BucketACL", "BucketAccessControl", "DefaultObjectACL", "DefaultObjectAccessControl"),
    *("ObjectACL", "ObjectAccessControl"),
)


def _private(resource: Resource, _: Options) -> Iterator[Violation]:
    if resource.is_of("gcp", *_ACCESS_LISTS):
        yield Violation(
            resource,
            resource.kind,
            f"{resource.name} is an access list of a bucket: grant a role on the bucket instead",
        )
    elif resource.type.startswith("gcp:storage/") and resource.kind == "Bucket":
        if text(resource.props, "publicAccessPrevention") != "enforced":
            yield Violation(
                resource,
                "publicAccessPrevention",
                f"{resource.name} may be made public: a PrivateBucket enforces "
                "publicAccessPrevention",
            )
        if at(resource.props, "uniformBucketLevelAccess") is not True:
            yield Violation(
                resource,
                "uniformBucketLevelAccess",
                f"{resource.name} has access lists of objects: a PrivateBucket has "
                "uniformBucketLevelAccess",
            )


RULES: tuple[AnyRule, ...] = (
    Rule("private-buckets", "No bucket is public, nor can be made so", "mandatory", _private),
)
