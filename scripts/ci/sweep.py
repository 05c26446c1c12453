"""`python -m scripts.ci.sweep`: what a nightly test left in a project, found by its label.

It looks for what bills: clusters, machines and their groups, forwarding rules, addresses and disks.
Networks, accounts and secrets cost nothing to speak of, and go with the stack's state.

    python -m scripts.ci.sweep --project my-test-project --label llm-endpoint-nightly --delete
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scripts.gcp.credentials import CredentialsError, find
from scripts.gcp.rest import COMPUTE, CONTAINER, ApiError, GoogleApi, Service, from_environment
from scripts.verify.shape import Json, dig, dig_text

OLDER_THAN = timedelta(hours=3)
"""A nightly test is ended after two and a half: what is older is nobody's any more."""
MOST_PAGES = 20
_FORBIDDEN = 403
_GONE = (404, 410)
_GROUP = re.compile(r"projects/[^/]+/((?:zones|regions)/[^/]+/instanceGroupManagers/[^/]+)")
_OF_CLUSTER = "goog-k8s-cluster-name"
_LISTS = ("instances", "forwardingRules", "addresses", "disks")
"""In the order in which they can be deleted: what uses another before it."""


@dataclass(frozen=True)
class Left:
    """A resource at `path` of an API, below the project. `made` is None where it is not told."""

    service: Service
    path: str
    made: datetime | None

    def is_old(self, now: datetime) -> bool:
        """Whether no test that still runs can have made it."""
        return self.made is not None and now - self.made > OLDER_THAN


def find_all(api: GoogleApi, project: str, label: str) -> list[Left]:
    """Return what has `label` on it, in the order in which it can be deleted. Raises `ApiError`.

    The machines of a cluster and of a group are its own: what they belong to stands for them.
    """
    found = [*_clusters(api, project, label)]
    for kind in _LISTS:
        for scope, one in _listed(api, project, kind, label):
            if label not in _labels(one, "labels") or _OF_CLUSTER in _labels(one, "labels"):
                continue
            path = _group_of(one) or f"{scope}/{kind}/{dig_text(one, 'name')}"
            left = Left(COMPUTE, path, _moment(dig_text(one, "creationTimestamp")))
            if all(left.path != other.path for other in found):
                found.append(left)
    return found


def _clusters(api: GoogleApi, project: str, label: str) -> Iterator[Left]:
    try:
        answer = api.get(CONTAINER, f"projects/{project}/locations/-/clusters")
    except ApiError as error:
        if error.status != _FORBIDDEN:
            raise
        # Its API is off, or a test of machines alone: who may see no cluster can have made none.
        print(f"not looked at: clusters ({error})", file=sys.stderr)
        return
    clusters = dig(answer, "clusters")
    for one in clusters if isinstance(clusters, list) else []:
        if label in _labels(one, "resourceLabels"):
            path = f"locations/{dig_text(one, 'location')}/clusters/{dig_text(one, 'name')}"
            yield Left(CONTAINER, path, _moment(dig_text(one, "createTime")))


def _listed(api: GoogleApi, project: str, kind: str, label: str) -> Iterator[tuple[str, Json]]:
    """Yield each resource of a kind with the place that it is in."""
    page = ""
    for _ in range(MOST_PAGES):
        query = {"filter": f"labels.{label}:*", **({"pageToken": page} if page else {})}
        found = api.get(COMPUTE, f"projects/{project}/aggregated/{kind}", **query)
        items = dig(found, "items")
        for scope, there in items.items() if isinstance(items, dict) else ():
            several = dig(there, kind)
            yield from ((scope, one) for one in (several if isinstance(several, list) else []))
        page = dig_text(found, "nextPageToken")
        if not page:
            return


def _labels(one: Json, key: str) -> frozenset[str]:
    labels = dig(one, key)
    return frozenset(labels if isinstance(labels, dict) else ())


def _group_of(one: Json) -> str | None:
    """Return the path of the group that makes a machine anew once it is deleted."""
    items = dig(one, "metadata", "items")
    for item in items if isinstance(items, list) else []:
        if dig_text(item, "key") == "created-by":
            group = _GROUP.fullmatch(dig_text(item, "value"))
            return group[1] if group else None
    return None


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def delete(api: GoogleApi, project: str, left: Sequence[Left]) -> list[str]:
    """Ask for the deletion of each; return what was refused and why, a line each.

    A disk or an address that is still in use is refused: the next sweep gets it.
    """
    refused: list[str] = []
    for one in left:
        try:
            api.delete(one.service, f"projects/{project}/{one.path}")
        except ApiError as error:
            if error.status not in _GONE:
                refused.append(f"{one.path}: {error}")
    return refused


@dataclass(frozen=True)
class Asked:
    """Where to look, for which label, and whether to delete what is old."""

    project: str
    label: str
    delete: bool


def parse(arguments: Sequence[str]) -> Asked:
    """Return what is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.ci.sweep",
        description="List what bills in a project and has a label; delete what is over three "
        "hours old.",
        allow_abbrev=False,
    )
    parser.add_argument("--project", metavar="ID", required=True)
    parser.add_argument("--label", metavar="NAME", required=True)
    parser.add_argument("--delete", action="store_true")
    given = parser.parse_args(arguments)
    return Asked(given.project, given.label, given.delete)


def main(
    arguments: Sequence[str], environment: Mapping[str, str], now: datetime | None = None
) -> int:
    """Print what is left, and delete it where that is asked; 1 where there was anything."""
    asked = parse(arguments)
    now = now or datetime.now(UTC)
    try:
        api = from_environment(find(environment), environment)
        found = find_all(api, asked.project, asked.label)
        old = [one for one in found if one.is_old(now)]
        refused = delete(api, asked.project, old) if asked.delete else []
    except (ApiError, CredentialsError, ValueError) as error:
        print(f"error: what is left in {asked.project} can't be told: {error}", file=sys.stderr)
        return 1
    if not found:
        print(f"Nothing in {asked.project} has the label {asked.label}.")
        return 0
    print(f"With the label {asked.label} in {asked.project}, though no state has it:")
    for one in found:
        what = "left" if not asked.delete else "deleted" if one in old else "young: the next time"
        print(f"  {one.path} ({what})")
    for line in refused:
        print(f"  refused: {line}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
