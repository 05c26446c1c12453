"""How many pods serve: `python -m scripts.gke.scale`, for what the objects leave to whoever scales.

`$LLM_ENDPOINT_SCALE` is JSON, such as `{"chat": {"replicas": 1, "most": null}}`: StatefulSets of
`$LLM_ENDPOINT_NAMESPACE` with the replicas that each is to have. With `most` the cluster chooses by
load, and any count from `replicas` to `most` stays as it is. `kind` says what is no StatefulSet, a
`Deployment` for one. Prints `{"chat": 1}`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from components.rendering.process import Variable
from scripts.gcp.credentials import CredentialsError
from scripts.gke.access import AccessError, from_environment
from scripts.gke.api import ClusterApi, ClusterError
from scripts.gke.patience import PATIENCE_SECONDS, patiently
from scripts.gke.workloads import KINDS, STATEFUL_SET, path_of
from scripts.verify.bounds import Deadline
from scripts.verify.shape import Json, dig, dig_count, parse_json

WOKEN = "llm-endpoint/woken-at"
"""On what is scaled: when it was last scaled up from none. The jobs that park go by it
(`machine.pod.park`, `machine.pod.park_runtime`)."""
_PASSING = (404, 409)
"""What passes besides a busy server: the object has just been made, or was changed meanwhile."""


class ScaleError(ValueError):
    """What is asked for can't be followed."""


@dataclass(frozen=True)
class Wanted:
    """Replicas of one object; with `most` any count from `replicas` to it will do."""

    replicas: int
    most: int | None = None
    kind: str = STATEFUL_SET

    def settles(self, current: int | None) -> bool:
        """Whether `current` replicas will do."""
        if current is None:
            return False
        if self.most is None or self.replicas == 0:
            return current == self.replicas
        return self.replicas <= current <= self.most


def parse(text: str) -> dict[str, Wanted]:
    """Return the replicas that `text` asks for, by object. Raises `ScaleError`."""
    try:
        value = parse_json(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ScaleError(f'{Variable.SCALE} takes JSON such as {{"chat": {{"replicas": 1}}}}')
    found: dict[str, Wanted] = {}
    for name, counts in value.items():
        replicas, most = dig_count(counts, "replicas"), dig_count(counts, "most")
        if replicas is None or (most is None and dig(counts, "most") is not None):
            raise ScaleError(
                f"{Variable.SCALE}: {name} takes whole numbers as replicas and most (or null)"
            )
        kind = dig(counts, "kind")
        if kind is None:
            kind = STATEFUL_SET
        if not isinstance(kind, str) or kind not in KINDS:
            raise ScaleError(f"{Variable.SCALE}: the kind of {name} is one of {', '.join(KINDS)}")
        found[name] = Wanted(replicas, most, kind)
    return found


def scale(
    api: ClusterApi,
    namespace: str,
    wanted: Mapping[str, Wanted],
    *,
    patience_seconds: float = PATIENCE_SECONDS,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Give each object its replicas. Raises `ClusterError` once its patience is over."""
    deadline = Deadline(patience_seconds)
    for name, one in wanted.items():
        attempt = partial(_scale_one, api, namespace, name, one)
        patiently(attempt, f"{one.kind} {name}", _PASSING, deadline, pause)


def _scale_one(api: ClusterApi, namespace: str, name: str, wanted: Wanted) -> None:
    path = path_of(wanted.kind, namespace, name)
    # A count of 0 is left out of what the API server sends.
    found = dig(api.get(f"{path}/scale"), "spec", "replicas")
    current = found if isinstance(found, int) else 0
    if wanted.settles(current):
        return
    if current == 0:
        # First: the job that parks would else count from before.
        when = datetime.now(UTC).isoformat(timespec="seconds")
        note: Json = {"metadata": {"annotations": {WOKEN: when}}}
        api.patch(path, note)
    body: Json = {"spec": {"replicas": wanted.replicas}}
    api.patch(f"{path}/scale", body)


def main(environment: Mapping[str, str]) -> int:
    """Scale as the environment says; 1 where that can't be done."""
    try:
        access = from_environment(environment)
        namespace = environment.get(Variable.NAMESPACE)
        if not namespace:
            raise ScaleError(f"{Variable.NAMESPACE} is not set: it takes a namespace's name")
        wanted = parse(environment.get(Variable.SCALE) or "")
        scale(ClusterApi(access, environment), namespace, wanted)
    except (AccessError, ScaleError, CredentialsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ClusterError as error:
        print(
            f"error: pods can't be scaled: {error}\nnext: see that message, then the same command "
            "again",
            file=sys.stderr,
        )
        return 1
    # What was asked for, and not what the cluster has made of it: the same each time.
    print(json.dumps({name: one.replicas for name, one in wanted.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
