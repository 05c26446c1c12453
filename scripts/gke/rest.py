"""What has disks at rest: `python -m scripts.gke.rest`, before those change.

`$LLM_ENDPOINT_REST` is a JSON list of names in `$LLM_ENDPOINT_NAMESPACE`, each of a `ModelServer`
of OpenVINO's operator, or of another kind as in `Deployment/colab-runtime`: they get no pods, until
the deployment says again how many. The job that fills a server's disk takes the room on the node
that the server has, and a disk is deleted once no pod has it: both would wait forever. What is not
there rests already. Prints the names.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from components.rendering.process import Variable
from scripts.gcp.credentials import CredentialsError
from scripts.gke.access import AccessError, from_environment
from scripts.gke.api import ClusterApi, ClusterError
from scripts.gke.patience import PATIENCE_SECONDS, patiently
from scripts.gke.workloads import KINDS, MODEL_SERVER, path_of
from scripts.verify.bounds import Deadline
from scripts.verify.shape import Json, dig, parse_json

_GONE, _CONFLICT = 404, 409


class RestError(ValueError):
    """What is asked for can't be followed."""


def parse(text: str) -> tuple[str, ...]:
    """Return the names in `text`. Raises `RestError`."""
    try:
        value = parse_json(text)
    except ValueError:
        value = None
    names = [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
    known = all(_split(one)[0] in KINDS for one in names)
    if not isinstance(value, list) or len(names) != len(value) or not known:
        raise RestError(
            f'{Variable.REST} takes a JSON list of names, such as ["chat"] or '
            f'["{MODEL_SERVER}/chat"], where a kind is one of {", ".join(KINDS)}'
        )
    return tuple(names)


def _split(text: str) -> tuple[str, str]:
    """Return the kind and the name in `text`."""
    kind, slash, name = text.rpartition("/")
    return kind if slash else MODEL_SERVER, name


def rest(
    api: ClusterApi,
    namespace: str,
    names: Sequence[str],
    *,
    patience_seconds: float = PATIENCE_SECONDS,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Take all pods from each of `names`. Raises `ClusterError` once its patience is over."""
    deadline = Deadline(patience_seconds)
    for text in names:
        kind, name = _split(text)
        attempt = partial(_rest_one, api, path_of(kind, namespace, name))
        patiently(attempt, f"{kind} {name}", (_CONFLICT,), deadline, pause)


def _rest_one(api: ClusterApi, path: str) -> None:
    body: Json = {"spec": {"replicas": 0}}
    try:
        # A count of 0 is left out of what the API server sends.
        if dig(api.get(f"{path}/scale"), "spec", "replicas"):
            api.patch(f"{path}/scale", body)
    except ClusterError as error:
        if error.status != _GONE:
            raise


def main(environment: Mapping[str, str]) -> int:
    """Do as the environment says; 1 where that can't be done."""
    try:
        access = from_environment(environment)
        namespace = environment.get(Variable.NAMESPACE)
        if not namespace:
            raise RestError(f"{Variable.NAMESPACE} is not set: it takes a namespace's name")
        names = parse(environment.get(Variable.REST) or "")
        rest(ClusterApi(access, environment), namespace, names)
    except (AccessError, RestError, CredentialsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ClusterError as error:
        print(
            f"error: pods can't be taken: {error}\nnext: see that message, then the "
            "same command again",
            file=sys.stderr,
        )
        return 1
    print(json.dumps(names))
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
