"""What is left in Compute Engine of namespaces that are gone, or of a whole cluster.

`python -m scripts.gke.leftovers --cluster projects/P/locations/L/clusters/N --namespace NS` lists
it with the commands that delete it; each of several namespaces takes a `--namespace`. GKE makes
disks, forwarding rules, firewall rules and endpoint groups for what pods ask of it, and takes them
away by itself: mostly at once, some minutes later, or, where the cluster went first, never.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from scripts.gcp.credentials import CredentialsError, find
from scripts.gcp.rest import COMPUTE, ApiError, GoogleApi, from_environment
from scripts.verify.shape import Json, dig, dig_text, excerpt

MOST_PAGES = 20
"""How many pages of 500 are looked through of each kind."""
CLUSTER_LABEL = "goog-k8s-cluster-name"
LOCATION_LABEL = "goog-k8s-cluster-location"
"""Labels that GKE gives disks (cloud.google.com/kubernetes-engine/docs/how-to/creating-managing-\
labels)."""
_PATH = re.compile(
    r"projects/(?P<project>[a-z0-9.:-]+)/locations/(?P<location>[a-z0-9-]+)/clusters/(?P<name>.+)"
)


@dataclass(frozen=True)
class Sought:
    """Whose leftovers are meant: `namespaces` of a cluster; with `whole` all of the cluster's."""

    project: str
    location: str
    cluster: str
    namespaces: tuple[str, ...]
    whole: bool

    @property
    def shown(self) -> str:
        """The namespaces as a sentence names them."""
        word = "namespace" if len(self.namespaces) == 1 else "namespaces"
        return f"{word} {' and '.join(self.namespaces)}"


@dataclass(frozen=True)
class Kind:
    """One kind of resource: its list in the Compute API, and `gcloud compute`'s word for it."""

    name: str
    path: str
    gcloud: str
    bills: bool

    @property
    def key(self) -> str:
        """The field of a list that holds the resources of one place."""
        return self.path.rpartition("/")[2]


KINDS = (
    Kind("disk", "aggregated/disks", "disks", bills=True),
    Kind("forwarding rule", "aggregated/forwardingRules", "forwarding-rules", bills=True),
    Kind("address", "aggregated/addresses", "addresses", bills=True),
    Kind(
        "network endpoint group",
        "aggregated/networkEndpointGroups",
        "network-endpoint-groups",
        bills=False,
    ),
    Kind("firewall rule", "global/firewalls", "firewall-rules", bills=False),
)


@dataclass(frozen=True)
class Leftover:
    """One resource that is left, in `scope`: `zones/Z`, `regions/R` or `global`."""

    kind: Kind
    name: str
    scope: str
    detail: str = ""

    def command(self, project: str) -> str:
        """Return what deletes it."""
        words = ["gcloud", "compute", self.kind.gcloud, "delete", self.name]
        place, _, where = self.scope.partition("/")
        if where:
            words += [f"--{place.removesuffix('s')}", where]
        elif self.kind.gcloud != "firewall-rules":
            words.append("--global")
        return shlex.join([*words, "--project", project, "--quiet"])

    def lines(self, project: str) -> str:
        """Return it as it is printed."""
        bills = "" if self.kind.bills else ", bills nothing"
        detail = f" ({self.detail})" if self.detail else ""
        return f"  {self.kind.name} {self.name}{detail}{bills}\n    {self.command(project)}"


def find_all(api: GoogleApi, sought: Sought) -> list[Leftover]:
    """Return what is left. Raises `ApiError`, `CredentialsError`."""
    return [
        Leftover(kind, dig_text(one, "name"), scope, _detail(kind, one))
        for kind in KINDS
        for scope, one in _listed(api, sought.project, kind)
        if _is_there(scope, sought.location) and _is_ours(kind, one, sought)
    ]


def _is_there(scope: str, location: str) -> bool:
    """Whether a cluster at `location`, a zone or a region, may have made something in `scope`.

    Namespaces of one name are in many clusters.
    """
    place = scope.partition("/")[2]
    if not place or place == location:
        return True
    return place.startswith(f"{location}-") or location.startswith(f"{place}-")


def _listed(api: GoogleApi, project: str, kind: Kind) -> Iterator[tuple[str, Json]]:
    """Yield each resource of a kind with the place that it is in."""
    page = ""
    for _ in range(MOST_PAGES):
        query = {"maxResults": "500", **({"pageToken": page} if page else {})}
        found = api.get(COMPUTE, f"projects/{project}/{kind.path}", **query)
        items = dig(found, "items")
        if isinstance(items, list):
            yield from (("global", one) for one in items)
        elif isinstance(items, dict):
            for scope, there in items.items():
                several = dig(there, kind.key)
                yield from ((scope, one) for one in (several if isinstance(several, list) else []))
        page = dig_text(found, "nextPageToken")
        if not page:
            return


def _detail(kind: Kind, one: Json) -> str:
    if kind.gcloud == "disks":
        claim = _described(one).get("kubernetes.io/created-for/pvc/name")
        size = f"{dig_text(one, 'sizeGb')} GB"
        return f"{size}, of the claim {excerpt(str(claim), 80)}" if claim else size
    return dig_text(one, "IPAddress") or dig_text(one, "address")


def _is_ours(kind: Kind, one: Json, sought: Sought) -> bool:
    if kind.gcloud == "disks":
        return _is_our_disk(one, sought)
    name = dig_text(one, "name")
    for namespace in sought.namespaces:
        if _is_of_namespace(one, namespace):
            return True
        if name.startswith("gkegw1-") and f"-{namespace}-" in name:
            return True
    if not sought.whole:
        return False
    if kind.gcloud == "firewall-rules" and name.startswith(f"gke-{sought.cluster}-"):
        return True
    # The network of a cluster that was made has its name, and nothing else in it.
    return dig_text(one, "network").endswith(f"/networks/{sought.cluster}")


def _is_our_disk(one: Json, sought: Sought) -> bool:
    labels = dig(one, "labels")
    cluster = dig_text(labels, CLUSTER_LABEL)
    location = dig_text(labels, LOCATION_LABEL)
    if cluster and (cluster != sought.cluster or location not in ("", sought.location)):
        return False
    if cluster and sought.whole:
        return True
    described = _described(one)
    return described.get("kubernetes.io/created-for/pvc/namespace") in sought.namespaces


def _is_of_namespace(one: Json, namespace: str) -> bool:
    """Whether what GKE writes as the description names something of `namespace`."""
    for key, value in _described(one).items():
        if not isinstance(value, str):
            continue
        if key == "namespace" and value == namespace:
            return True
        if value.startswith(f"{namespace}/") or f"/namespaces/{namespace}/" in value:
            return True
    return False


def _described(one: Json) -> dict[str, object]:
    try:
        value: object = json.loads(dig_text(one, "description"))
    except ValueError:
        return {}
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def report(found: Sequence[Leftover], sought: Sought, *, kept: bool) -> str:
    """Return what is said of `found`; `kept` disks are meant to stay."""
    whose = f"the cluster {sought.cluster}" if sought.whole else f"the {sought.shown}"
    if not found:
        return f"Nothing is left of {whose} in Compute Engine."
    again = (
        f"python -m scripts.gke.leftovers --cluster projects/{sought.project}/locations/"
        f"{sought.location}/clusters/{sought.cluster} "
        + " ".join(f"--namespace {one}" for one in sought.namespaces)
    )
    words = [
        f"Left of {whose} in Compute Engine, with what deletes it:",
        *(one.lines(sought.project) for one in found),
    ]
    if kept and any(one.kind.gcloud == "disks" for one in found):
        words.append("The disks are kept on purpose (keep_data), and bill.")
    if any(one.kind.gcloud != "disks" for one in found):
        words.append(
            f"Is there another cluster in the project with the {sought.shown}? Then "
            "look whose they are before you delete any."
        )
        words.append(
            "GKE takes some of these away itself within minutes; to look again: "
            f"{again}{' --whole' if sought.whole else ''}"
        )
    return "\n".join(words)


def parse(arguments: Sequence[str]) -> tuple[Sought, bool]:
    """Return whose leftovers are meant, and whether disks are kept on purpose."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.gke.leftovers",
        description="List what is left of a cluster's namespace in Compute Engine.",
        allow_abbrev=False,
    )
    parser.add_argument("--cluster", metavar="PATH", required=True)
    parser.add_argument("--namespace", metavar="NAME", action="append", required=True)
    parser.add_argument("--whole", action="store_true", help="the cluster is gone too")
    parser.add_argument("--kept", action="store_true", help="disks are kept on purpose")
    given = parser.parse_args(arguments)
    match = _PATH.fullmatch(given.cluster)
    if match is None:
        parser.error("--cluster takes projects/PROJECT/locations/LOCATION/clusters/NAME")
    sought = Sought(
        match["project"], match["location"], match["name"], tuple(given.namespace), given.whole
    )
    return sought, given.kept


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Print what is left; 1 where Google can't be asked."""
    sought, kept = parse(arguments)
    try:
        found = find_all(from_environment(find(environment), environment), sought)
    except (ApiError, CredentialsError, ValueError) as error:
        print(
            f"note: whether disks or forwarding rules are left can't be told: {error}",
            file=sys.stderr,
        )
        return 1
    print(report(found, sought, kept=kept))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
