"""The contract that every target ends in: no endpoint is exported before it has answered."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict, TypeVar, cast

import pulumi
from pulumi_command import local

from components.launch import Launch
from components.rendering.process import Variable

T = TypeVar("T")

GATEWAY_LOADING_STATUS = 503
"""What a gateway's `ready_path` answers until all behind it serves."""

# PEM as in RFC 7468: what stands between the two lines is Base64.
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")

_CHAT = """\
answer = client.chat.completions.create(
    model={model}, messages=[{{"role": "user", "content": "Hello!"}}]
)
print(answer.choices[0].message.content)
"""

_SNIPPET = (
    """\
import subprocess
from openai import OpenAI

key = subprocess.check_output(
    ["scripts/pulumi", "stack", "output", "api_key", "--show-secrets", "--stack", {stack}],
    text=True,
).strip()
client = OpenAI(base_url={base_url}, api_key=key)
"""
    + _CHAT
)

_OWN_CA_SNIPPET = (
    """\
import ssl
import subprocess
from openai import DefaultHttpxClient, OpenAI

output = ["scripts/pulumi", "stack", "output", "--stack", {stack}]
key = subprocess.check_output([*output, "api_key", "--show-secrets"], text=True).strip()
ca = subprocess.check_output([*output, "ca_certificate"], text=True)
trust = ssl.create_default_context(cadata=ca)
client = OpenAI(
    base_url={base_url}, api_key=key, http_client=DefaultHttpxClient(verify=trust)
)
"""
    + _CHAT
)


class Billed(TypedDict):
    """One resource, and whether it bills while the stack runs and while it is parked."""

    resource: str
    running: bool
    parked: bool


class VerifiedEndpointArgs(TypedDict):
    """What a target hands over."""

    url: pulumi.Input[str]
    """The endpoint's origin, scheme included, without a path."""
    keys: Mapping[str, pulumi.Input[str]]
    """API keys by name; `default` is the one that verification uses. Secret."""
    launch: Launch
    """What serves there: engine, model id, probe and claims come from it."""
    verify: Sequence[str]
    """The command that runs `scripts.verify` on the deployer's machine, without its options."""
    triggers: Sequence[pulumi.Input[str]]
    """Values of which a change means that the endpoint must be verified anew."""
    wait_seconds: int
    """Seconds to wait for the server to have loaded its model."""
    streams: int
    """Streams to run at the same time."""
    min_tokens_per_second: NotRequired[float | None]
    """The floor below which a stream fails verification."""
    embedding_model: NotRequired[str | None]
    """The id that answers `/v1/embeddings`, where one does."""
    engine_package: NotRequired[str]
    """The package and version that the engine comes from, for the receipt."""
    stand_in: NotRequired[bool]
    """Whether the model only stands in for a real one; the receipt says so."""
    process: NotRequired[str]
    """Record file of the server's process, where it runs on the deployer's machine."""
    log: NotRequired[str]
    """Its log file, quoted where the process has died."""
    billing: NotRequired[Sequence[Billed]]
    """What bills."""
    ready_path: NotRequired[str]
    """The gateway's path that answers 200 once all of it serves, and 503 before. Unset: the
    engine's own probe."""
    ca_certificate: NotRequired[pulumi.Input[str] | None]
    """PEM certificate of the CA to trust, where it is our own. Exported in the clear."""
    address: NotRequired[pulumi.Input[str] | None]
    """The IP address that a domain in `url` has to point at."""
    boot: NotRequired[pulumi.Input[str] | None]
    """Where its boot can be read: `gcp:PROJECT/ZONE/INSTANCE`, a machine's serial console, or
    `kubernetes:NAMESPACE`, the pods of a namespace of `cluster`."""
    via: NotRequired[str | None]
    """What to connect to instead of the host in `url`, whose name and certificate still hold:
    `kubernetes:NAMESPACE/SERVICE/PORT`, forwarded through the control plane of `cluster`, or
    `HOST:PORT`."""
    cluster: NotRequired[pulumi.Input[str] | None]
    """How the cluster that `boot` and `via` name is reached, as JSON. No secret."""
    allowed_cidrs: NotRequired[Sequence[str]]
    """Who may connect, for the message when this machine can't."""
    key_seconds: NotRequired[int]
    """Seconds for which the right key may still be refused: the gateway re-reads its keys."""
    classic: NotRequired[Sequence[str]]
    """The classic models below `/models`, each as `NAME@VERSION`, which are verified too."""


@dataclass(frozen=True)
class StackOutputs:
    """The outputs that every stack has, by their names."""

    state: pulumi.Input[str]
    endpoint_url: pulumi.Input[str | None]
    openai_base_url: pulumi.Input[str | None]
    model: pulumi.Input[str | None]
    embedding_model: pulumi.Input[str | None]
    engine: pulumi.Input[str]
    api_key: pulumi.Output[str]
    api_keys: pulumi.Output[Mapping[str, str]]
    verification: pulumi.Input[Mapping[str, object]]
    billing: pulumi.Input[Sequence[Billed]]
    client_snippet: pulumi.Input[str | None]
    ca_certificate: pulumi.Input[str | None] = None

    def exports(self) -> dict[str, object]:
        """Return name -> value, without `ca_certificate` where there is no CA of our own."""
        named = dict(vars(self))
        if self.ca_certificate is None:
            del named["ca_certificate"]
        return named


def parked_outputs(
    launch: Launch,
    embedding_model: str | None,
    keys: Mapping[str, pulumi.Input[str]],
    billing: Sequence[Billed],
    ca_certificate: pulumi.Input[str] | None = None,
) -> StackOutputs:
    """Return the outputs of a stack that keeps its keys, and its own CA, and runs nothing.

    `model` is None where only the server itself knows it.
    """
    api_keys = _secret_map(keys)
    return StackOutputs(
        state="parked",
        endpoint_url=None,
        openai_base_url=None,
        model=launch.model_id,
        embedding_model=embedding_model,
        engine=launch.engine,
        api_key=api_keys.apply(lambda by_name: by_name["default"]),
        api_keys=api_keys,
        verification={"status": "parked"},
        billing=list(billing),
        client_snippet=None,
        ca_certificate=None if ca_certificate is None else _in_the_clear(ca_certificate),
    )


class VerifiedEndpoint(pulumi.ComponentResource):
    """Runs the post-deploy checks against an endpoint and holds its outputs back until they pass.

    It refuses to export an endpoint that does not answer: every output depends on the receipt. It
    alone lifts the secretness that a plugin may lay on a command's stdout for the key in its
    environment: the receipt was scrubbed of the keys where it was written.
    """

    endpoint_url: pulumi.Output[str]
    receipt: pulumi.Output[Mapping[str, object]]
    outputs: StackOutputs

    def __init__(
        self,
        name: str,
        args: VerifiedEndpointArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        launch = args["launch"]
        shown = {"engine": launch.engine, "model": launch.model_id, "streams": args["streams"]}
        super().__init__("llm-endpoint:endpoint:VerifiedEndpoint", name, shown, opts)
        verification = local.Command(
            f"{name}-verification",
            create=_command(args),
            environment=_environment(args),
            triggers=list(args["triggers"]),
            # The receipt is shown as an output; the log gets the progress.
            logging=local.Logging.STDERR,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.receipt = pulumi.Output.unsecret(verification.stdout).apply(_read_receipt)
        # The receipt was scrubbed, so the URL in it is as plain as the one that was verified.
        self.endpoint_url = self.receipt.apply(lambda receipt: str(receipt["endpoint_url"]))
        api_keys = self._once_verified(_secret_map(args["keys"]))
        base_url = pulumi.Output.format("{0}/v1", self.endpoint_url)
        certificate = _certificate(args)
        own_ca = certificate is not None
        # A launch that can't tell its model's id leaves it to what the server listed.
        model = self.receipt.apply(lambda receipt: launch.model_id or _listed_model(receipt))
        self.outputs = StackOutputs(
            state=self._once_verified("serving"),
            endpoint_url=self.endpoint_url,
            openai_base_url=base_url,
            model=model,
            embedding_model=self._once_verified(args.get("embedding_model")),
            engine=self._once_verified(launch.engine),
            api_key=api_keys.apply(lambda by_name: by_name["default"]),
            api_keys=api_keys,
            verification=self.receipt,
            billing=self._once_verified(list(args.get("billing", ()))),
            client_snippet=pulumi.Output.all(base_url, model).apply(
                lambda both: client_snippet(both[0], both[1], pulumi.get_stack(), own_ca=own_ca)
            ),
            ca_certificate=(None if certificate is None else self._once_verified(certificate)),
        )
        self.register_outputs({"endpoint_url": self.endpoint_url, "receipt": self.receipt})

    def _once_verified(self, value: pulumi.Input[T]) -> pulumi.Output[T]:
        """Return `value`, known once the checks have passed, as secret as it was."""
        return pulumi.Output.all(value, self.receipt).apply(lambda both: both[0])


def client_snippet(base_url: str, model: str, stack: str, *, own_ca: bool = False) -> str:
    """Return Python that chats with the endpoint by the OpenAI client, run in the checkout.

    With `own_ca` it trusts the stack's `ca_certificate`, and nothing else.
    """
    text = _OWN_CA_SNIPPET if own_ca else _SNIPPET
    return text.format(base_url=repr(base_url), model=repr(model), stack=repr(stack))


def _environment(args: VerifiedEndpointArgs) -> dict[str, pulumi.Input[str]]:
    """Return what the command learns by its environment: what is known late, and the key."""
    given: dict[str, pulumi.Input[str] | None] = {
        Variable.URL: args["url"],
        Variable.KEY: args["keys"]["default"],
        Variable.CA: _certificate(args),
        Variable.ADDRESS: args.get("address"),
        Variable.BOOT: args.get("boot"),
        Variable.CLUSTER: args.get("cluster"),
    }
    return {name: value for name, value in given.items() if value is not None}


def _command(args: VerifiedEndpointArgs) -> str:
    """Return the shell command that verifies, all of it known at preview.

    What is known later it takes from its environment.
    """
    launch = args["launch"]
    environment = _environment(args)
    loading_status = GATEWAY_LOADING_STATUS if "ready_path" in args else launch.probe.loading_status
    options: dict[str, str | None] = {
        "--key-env": Variable.KEY,
        "--engine": launch.engine,
        "--engine-package": args.get("engine_package"),
        "--model": launch.model_id,
        "--embedding-model": args.get("embedding_model"),
        "--classic": ",".join(args.get("classic", ())) or None,
        "--claims": ",".join(sorted(launch.capabilities)) or None,
        "--probe-path": args.get("ready_path", launch.probe.path),
        "--probe-loading-status": str(loading_status),
        "--wait-seconds": str(args["wait_seconds"]),
        "--concurrency": str(args["streams"]),
        "--min-tokens-per-second": _text(args.get("min_tokens_per_second")),
        "--process": args.get("process"),
        "--log": args.get("log"),
        "--ca-env": Variable.CA if Variable.CA in environment else None,
        "--via": args.get("via"),
        "--key-seconds": _text(args.get("key_seconds")),
        "--allowed-cidrs": ",".join(args.get("allowed_cidrs", ())) or None,
        # A machine elsewhere is mended by its stack's configuration: the messages name it.
        "--stack": pulumi.get_stack() if Variable.BOOT in environment else None,
    }
    # What fails has said so on stderr; the receipt would repeat it.
    words = [*args["verify"], "--json", "--if-passed"]
    for option, value in options.items():
        if value is not None:
            words += [option, value]
    if args.get("stand_in", False):
        words.append("--stand-in")
    late = {"--address": Variable.ADDRESS, "--boot": Variable.BOOT}
    from_environment = [
        f'{option} "${variable}"' for option, variable in late.items() if variable in environment
    ]
    return " ".join([shlex.join(words), *from_environment, f'"${Variable.URL}"'])


def _text(value: float | None) -> str | None:
    return None if value is None else str(value)


def _certificate(args: VerifiedEndpointArgs) -> pulumi.Output[str] | None:
    certificate = args.get("ca_certificate")
    return None if certificate is None else _in_the_clear(certificate)


def _in_the_clear(certificate: pulumi.Input[str]) -> pulumi.Output[str]:
    """Return the certificate in the PEM text `certificate`, which may come with its key's taint."""
    return pulumi.Output.unsecret(pulumi.Output.from_input(certificate)).apply(only_certificates)


def only_certificates(pem: str) -> str:
    """Return the certificates in `pem`, and nothing else of it: a private key must not get out.

    Raises `ValueError` where there is none.
    """
    found = _CERTIFICATE.findall(pem)
    if not found:
        raise ValueError("the CA that signs for the endpoint has no certificate in PEM form")
    return "".join(f"{certificate}\n" for certificate in found)


def _listed_model(receipt: Mapping[str, object]) -> str:
    """Return the id of the model that was verified; a passed receipt has one."""
    model = cast("Mapping[str, object]", receipt["model"])
    return str(model["id"])


def _secret_map(keys: Mapping[str, pulumi.Input[str]]) -> pulumi.Output[Mapping[str, str]]:
    return pulumi.Output.secret(pulumi.Output.all(**keys))


def _read_receipt(stdout: str) -> Mapping[str, object]:
    return json.loads(stdout)
