"""A login for Kubernetes clients: `python -m scripts.gke.credential` prints an ExecCredential.

A kubeconfig names it as its `exec` command, so that no token lies in a state and none runs out
between an `up` and the `destroy` of it. The token is the one that everything else here asks with
(`scripts.gcp.credentials`). `client.authentication.k8s.io/v1` is described in Kubernetes'
documentation under "client-go credential plugins".
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from scripts.gcp.credentials import CredentialsError, find

API_VERSION = "client.authentication.k8s.io/v1"
UNTOLD_LIFE = timedelta(minutes=5)
"""How long a token is kept whose end nobody tells: asking again costs little."""
MARGIN = timedelta(minutes=1)
"""How long before its end a token is given up, so that a request under way still has it."""


def credential(
    environment: Mapping[str, str], now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> str:
    """Return the ExecCredential as JSON. Raises `CredentialsError`."""
    found = find(environment)
    token = found.token()
    ends = found.expires
    expiry = now() + UNTOLD_LIFE if ends is None else ends - MARGIN
    status = {"token": token, "expirationTimestamp": expiry.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return json.dumps({"apiVersion": API_VERSION, "kind": "ExecCredential", "status": status})


def main(environment: Mapping[str, str]) -> int:
    """Print the credential; 1 where there is none."""
    try:
        print(credential(environment))
    except CredentialsError as error:
        print(f"error: {error.problem}\nnext: {error.next_step}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
