"""What is said at the end: where the endpoint is, how to talk to it, what still bills."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from scripts.bootstrap import github
from scripts.bootstrap.github import Github

FORWARD = "scripts.gke.forward"
"""The module that opens a way to an endpoint inside of a cluster."""
_SERVES = "gke-ovms"
"""A stack that serves from a registry, by its program's own name."""


@dataclass(frozen=True)
class Runtime:
    """A notebook runtime, as far as it is spoken of. `url` has its token in it.

    `via` names its Service, as a receipt does; None where it is parked.
    """

    url: str | None = field(repr=False)
    via: str | None
    verified_at: str


@dataclass(frozen=True)
class Outputs:
    """A stack's outputs, as far as they are spoken of. `key` is shown to nobody.

    `boot` is where the boot of the endpoint's machine can be read, if it has one of its own. `via`
    is where is connected to instead of the URL's host, where no address leads to it, `cluster` the
    access to its Kubernetes cluster, as JSON. `registry` is the URL of a model registry, and
    `models` what it holds, `language_models` those of them that chat or embed: such a stack has no
    endpoint. `runtime` is its notebook runtime. `state_backend` is where a stack that keeps the
    states of others has them, `secrets_provider` what encrypts their secrets, `github` whose
    workflows get at them, and `wanted` what its check has found, as JSON.
    """

    state: str
    url: str | None
    model: str | None
    key: str | None
    ca_certificate: str | None
    verified_at: str
    notice: str | None
    billing: tuple[str, ...]
    boot: str | None = None
    via: str | None = None
    cluster: str | None = None
    registry: str | None = None
    models: tuple[str, ...] = ()
    language_models: tuple[str, ...] = ()
    runtime: Runtime | None = None
    state_backend: str | None = None
    secrets_provider: str | None = None
    github: Github | None = None
    wanted: str | None = None

    def __repr__(self) -> str:
        return f"Outputs(state={self.state!r}, url={self.url!r})"


def read(outputs: Mapping[str, object]) -> Outputs:
    """Return the outputs in what `pulumi stack output --json --show-secrets` printed."""

    def text(name: str) -> str | None:
        value = outputs.get(name)
        return value if isinstance(value, str) and value else None

    receipt = _object(outputs.get("verification"))
    notice = _object(receipt.get("model")).get("notice")
    boot, via = receipt.get("boot"), receipt.get("via")
    bills = [_object(entry) for entry in _list(outputs.get("billing"))]
    return Outputs(
        state=text("state") or "",
        url=text("endpoint_url"),
        model=text("model"),
        key=text("api_key"),
        ca_certificate=text("ca_certificate"),
        verified_at=str(receipt.get("verified_at", "")),
        notice=notice if isinstance(notice, str) else None,
        billing=tuple(
            str(entry.get("resource"))
            for entry in bills
            if entry.get("running") or entry.get("parked")
        ),
        boot=boot if isinstance(boot, str) and boot else None,
        via=via if isinstance(via, str) and via else None,
        cluster=text("cluster"),
        registry=text("registry"),
        models=tuple(map(str, _list(outputs.get("models")))),
        language_models=tuple(
            str(one.get("model"))
            for one in map(_object, _list(receipt.get("models")))
            if one.get("language_model") is True
        ),
        runtime=_runtime(outputs),
        state_backend=text("state_backend"),
        secrets_provider=text("secrets_provider"),
        github=_github(outputs),
        wanted=json.dumps(receipt["wanted"]) if "wanted" in receipt else None,
    )


def _github(outputs: Mapping[str, object]) -> Github | None:
    repository = outputs.get("github_repository")
    if not isinstance(repository, str):
        return None
    variables = _object(outputs.get("github_variables"))
    return Github(
        repository=repository,
        environment=str(outputs.get("github_environment")),
        branch=str(outputs.get("github_branch")),
        variables={name: str(value) for name, value in variables.items()},
    )


def _runtime(outputs: Mapping[str, object]) -> Runtime | None:
    if outputs.get("runtime") is None:
        return None
    receipt, url = _object(outputs.get("runtime")), outputs.get("colab_url")
    via = receipt.get("via")
    return Runtime(
        url=url if isinstance(url, str) else None,
        via=via if isinstance(via, str) and via else None,
        verified_at=str(receipt.get("verified_at", "")),
    )


def _object(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def closing_lines(outputs: Outputs, stack: str, pulumi: str, ca_file: Path | None) -> list[str]:
    """Return what `scripts/up` ends with; `pulumi` is how scripts/pulumi is called from here."""
    if outputs.registry is not None:
        return _registry_lines(outputs.registry, outputs, stack, pulumi)
    if outputs.state_backend is not None:
        told = [] if outputs.github is None else github.lines(outputs.github)
        places = [f"  states:   {outputs.state_backend}", f"  secrets:  {outputs.secrets_provider}"]
        return ["", *places, "", *told]
    key = f"{pulumi} stack output api_key --show-secrets --stack {stack}"
    if outputs.url is None:
        what = stack if outputs.runtime is None else f"the endpoint of {stack}"
        return [
            f"{what} is parked: it serves nothing, and its keys are kept.",
            f"  key:      {key}",
            *(["", *_notebooks(outputs.runtime, stack)] if outputs.runtime else []),
        ]
    lines = [
        "",
        f"  endpoint: {outputs.url}/v1",
        f"  model:    {outputs.model}",
        f"  key:      {key}",
        "",
        *_way(outputs, stack, key, ca_file),
        "",
        *_notebooks(outputs.runtime, stack),
    ]
    return [*lines, *([outputs.notice] if outputs.notice else [])]


def _notebooks(runtime: Runtime | None, stack: str) -> list[str]:
    """Return how to get to the notebook runtime, where there is one."""
    if runtime is None:
        return []
    if runtime.via is None:
        return ["  The notebook runtime is parked, and its disks are kept.", ""]
    return [
        "  The notebook runtime has a way of its own, which prints the URL for Colab:",
        "",
        f"  scripts/colab {stack}",
        "",
    ]


def _registry_lines(registry: str, outputs: Outputs, stack: str, pulumi: str) -> list[str]:
    """Return what to type next with a registry: to fill it, or to serve from it."""
    models = outputs.models
    lines = ["", f"  registry: {registry}", f"  models:   {', '.join(models) or 'none yet'}", ""]
    if not models:
        upload = f'{pulumi} config set uploads "NAME@1=FOLDER" --stack {stack}'
        return [*lines, "  To upload the model in a folder:", "", f"  {upload}", ""]
    words = [f"config set registry {shlex.quote(registry)}"]
    if registry.startswith("s3:"):
        words += ["config set registry_key_id --secret", "config set registry_secret_key --secret"]
    language = [model for model in models if model in outputs.language_models]
    classic = [model for model in models if model not in language]
    if language:
        words.append(f"config set model registry:{language[-1]}")
    if classic:
        words.append(f"config set classic_models {shlex.quote(' '.join(classic))}")
    commands = [f"  {pulumi} {one} --stack {_SERVES}" for one in words]
    return [*lines, f"  To serve them from a stack, here {_SERVES}:", "", *commands, ""]


def _way(outputs: Outputs, stack: str, key: str, ca_file: Path | None) -> list[str]:
    """Return how to talk to the endpoint: at once, or by a way that has to be opened first."""
    if outputs.url is None or outputs.via is None:
        return [f"  {curl(str(outputs.url), outputs.model, key, ca_file)}"]
    return [
        "  That address is one inside the cluster. From here, a way to it that stays open until",
        "  Ctrl-C, and that says what to type:",
        "",
        f"  .venv/bin/python -m {FORWARD} {stack}",
    ]


def curl(
    url: str,
    model: str | None,
    key: str,
    ca_file: Path | None,
    connect_to: Sequence[str] = (),
) -> str:
    """Return the one line that talks to the endpoint, with the command `key` for the key.

    `connect_to` is host and port where to connect to instead of the URL's.
    """
    body: dict[str, object] = {"messages": [{"role": "user", "content": "Hello!"}]}
    if model:
        body = {"model": model, **body}
    words = ["curl", "-sS", f"{url}/v1/chat/completions"]
    if ca_file is not None:
        words += ["--cacert", str(ca_file)]
    if connect_to:
        # Whatever host and port the URL has.
        words += ["--connect-to", f"::{':'.join(connect_to)}"]
    return (
        f'{shlex.join(words)} -H "Authorization: Bearer $({key})" '
        f"-H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
    )


def backups_stay(url: str) -> str:
    """Return what `scripts/down` says of a notebook runtime's backups in a bucket at `url`."""
    return (
        f"The notebook runtime's backups stay in {url}, which is not the stack's to delete, and "
        "bill there."
    )


def unfinished_lines(unfinished: Sequence[str], stack: str, pulumi: str) -> str:
    """Return what is said of resources that a killed pulumi was creating."""
    return (
        "A pulumi that was killed was creating what follows. It may be there, and bill, without "
        f"being in the state of {stack}, and an up may meet it as one that already exists:\n"
        + "".join(f"  {one}\n" for one in unfinished)
        + "next: look for them in the cloud's console and delete those that are there, then "
        f"{pulumi} refresh --yes --clear-pending-creates --stack {stack}"
    )


def nothing_to_remove(stack: str, pulumi: str) -> str:
    """Return what `scripts/down` says of a stack whose state has nothing."""
    return (
        f"{stack} has no resources: there is nothing to remove, and nothing of it bills.\n"
        f"To forget it, with its configuration: {pulumi} stack rm {stack}"
    )


def what_bills(
    billing: Sequence[str],
    *,
    all_gone: bool,
    stack: str,
    pulumi: str,
    kept: Sequence[str] = (),
    with_cluster: bool = False,
    with_bucket: bool = False,
    unfinished: Sequence[str] = (),
) -> str:
    """Return what `scripts/down` says of money.

    `kept` are the resources that it had to leave, and `with_cluster` says that what they depend on
    stays with them, `with_bucket` that a bucket is among them, which no destroy deletes while there
    is anything in it. `unfinished` are those that it can't know of.
    """
    if all_gone and unfinished:
        left = f" but for what is protected (keep_data): {', '.join(kept)}" if kept else ""
        return f"{stack} is down{left}.\n{unfinished_lines(unfinished, stack, pulumi)}"
    if all_gone and kept and with_cluster:
        return (
            f"{stack} keeps its data (keep_data), and with it the cluster, its nodes and its "
            f"network. What goes on billing: {', '.join(billing)}. scripts/up {stack} takes it up "
            f"again; with {pulumi} config set parked true --stack {stack} before it, no model's "
            f"node does. To delete it too: {pulumi} config set keep_data false --stack {stack}, "
            f"scripts/up {stack}, then scripts/down {stack}"
        )
    if all_gone and kept and with_bucket:
        return (
            f"{stack} is down but for what is protected (keep_data): {', '.join(kept)}. The bucket "
            f"stays with all that is in it, and goes on billing. scripts/up {stack} takes it up "
            f"again. To delete it too: {pulumi} config set keep_data false --stack {stack}, "
            f"scripts/up {stack}, then scripts/down {stack}"
        )
    if all_gone and kept:
        names = ", ".join(kept)
        return (
            f"{stack} is down but for what is protected (keep_data): {names}. That stays and goes "
            f"on billing; the rest does not. scripts/up {stack} takes it up again. "
            f"To delete it too: {pulumi} state unprotect --all --yes --stack {stack}, then "
            f"scripts/down {stack}"
        )
    if all_gone:
        gone = f" (what did: {', '.join(billing)})" if billing else ""
        return f"{stack} is down. Nothing of it bills any more{gone}."
    left = ", ".join(billing) if billing else "nothing of it bills"
    return (
        f"Not all of {stack} is gone. What may still bill: {left}. "
        f"To see what is left: {pulumi} stack --stack {stack}"
    )
