"""The state of `ci` in the bucket that `ci` made: nothing may saw off the branch it sits on."""

from __future__ import annotations

from scripts.bootstrap.backend import Backend
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.summary import Outputs


def refuse(
    checkout: Checkout, name: str, chosen: Backend, outputs: Outputs, *, keeps_bucket: bool
) -> None:
    """Raise `BootstrapError` where a destroy would delete the bucket that the stack's state is in.

    The bucket would stay, since there is something in it, and its key: all else would be gone.
    """
    bucket = outputs.state_backend
    if bucket is None or keeps_bucket or _bucket(chosen.url) != bucket:
        return
    raise BootstrapError(
        f"the state of {name} lies in {bucket}, which {name} made and would delete with it",
        f"scripts/state move {name} 'file://{checkout.state / 'backend'}' --secrets-provider "
        "passphrase, move the states of all other stacks likewise, take `backend` out of "
        f"Pulumi.yaml, then scripts/down {name} again",
    )


def _bucket(url: str) -> str:
    """Return the URL without folder and options."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].partition('/')[0]}"


def names_stay(name: str, pulumi: str) -> str:
    """Return what `scripts/down` says of a `ci` stack of which nothing is left."""
    return (
        "The names of its key and of its identity pool stay taken, of the pool for 30 days. Before "
        f"the next scripts/up {name}: {pulumi} config set generation 2 --stack {name} (the next "
        "number that it has not had)"
    )
