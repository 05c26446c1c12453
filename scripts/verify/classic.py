"""Classic models: each is available, says what it takes, and answers once with what it promised."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

from components.models.registry import RegistryModel
from scripts.verify.bounds import Deadline, bounded
from scripts.verify.client import Answer, Client
from scripts.verify.context import Context
from scripts.verify.outcome import Failure
from scripts.verify.shape import dig, dig_text, parse_json
from scripts.verify.tensors import BYTES_EACH, Tensor, TensorError, read_tensors, tensors, zeros

STATES_PATH = "/models"
FAILED_SECONDS = 60.0
"""How long a model's failure is told before it is believed: the pod that tells it may be the one
that is about to be replaced."""

_ASK_SECONDS = 10.0
_MOST_BYTES = 512 * 1024 * 1024
_FREE_SIZES = (1, 32, 224)
"""What is tried for dimensions that a model leaves open: some images are too small for a model."""
_LOG = "look at the log of the pod models-0, which says why"


class Loading:
    """Tells which classic models aren't there while the endpoint is waited for."""

    def __init__(
        self,
        client: Client,
        models: Sequence[RegistryModel],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._models = models
        self._clock = clock
        self._failed_since: float | None = None

    def look(self) -> str:
        """Return the models that aren't there with their states; "" where nobody tells.

        Raises `Failure` where one has failed for `FAILED_SECONDS`: it is not loaded again.
        """
        deadline = Deadline(_ASK_SECONDS)
        try:
            states = bounded(deadline, lambda: _states(self._client, deadline, retry=False))
        except Failure:
            return ""
        lacking = {each: states.get(each) for each in self._models if states.get(each) != _THERE}
        failed = {each: state for each, state in lacking.items() if state and state[1] != "OK"}
        if not failed:
            self._failed_since = None
        elif self._failed_since is None:
            self._failed_since = self._clock()
        elif self._clock() - self._failed_since >= FAILED_SECONDS:
            raise _unavailable(self._client, failed)
        return ", ".join(f"{each} {_shown(self._client, state)}" for each, state in lacking.items())


def classic_models(context: Context) -> str:
    """Each classic model is AVAILABLE, tells its inputs and outputs, and answers zeros with those.

    Each has the time that a check has.
    """
    client, models = context.client, context.options.classic
    deadline = Deadline(context.options.check_seconds)
    states = bounded(deadline, lambda: _states(client, deadline, retry=True))
    lacking = {each: states.get(each) for each in models if states.get(each) != _THERE}
    if lacking:
        raise _unavailable(client, lacking)
    return ", ".join(_checked(context, each) for each in models)


def _checked(context: Context, model: RegistryModel) -> str:
    deadline = Deadline(context.options.check_seconds)
    return bounded(deadline, lambda: _infer(context.client, model, deadline))


_State = tuple[str, str]
_THERE: _State = ("AVAILABLE", "OK")


def _states(
    client: Client, deadline: Deadline, *, retry: bool
) -> dict[RegistryModel, _State | None]:
    """Return state and error code of each model; None where the server tells nothing of it."""
    answer = client.ask("GET", STATES_PATH, deadline, retry=retry)
    if answer.status != 200:
        raise client.refusal("GET", STATES_PATH, answer)
    try:
        listed = dig(parse_json(answer.body), "models")
    except ValueError:
        listed = None
    if not isinstance(listed, list):
        raise Failure(
            f"a list of models from GET {STATES_PATH}",
            client.quote(answer.body.decode(errors="replace")),
            "look whether the gateway has classic models",
        )
    return {
        RegistryModel(dig_text(one, "name"), int(version)): (
            (dig_text(one, "state"), dig_text(one, "error_code")) if dig(one, "state") else None
        )
        for one in listed
        if (version := dig_text(one, "version")).isdecimal()
    }


def _shown(client: Client, state: _State | None) -> str:
    return "is not told of" if state is None else client.quote(f"{state[0]} ({state[1]})")


def _unavailable(client: Client, lacking: Mapping[RegistryModel, _State | None]) -> Failure:
    return Failure(
        f"the model {', '.join(map(str, lacking))} AVAILABLE (OK)",
        ", ".join(f"{each} {_shown(client, state)}" for each, state in lacking.items()),
        _LOG,
    )


def _infer(client: Client, model: RegistryModel, deadline: Deadline) -> str:
    path = f"{STATES_PATH}/{model.name}/versions/{model.version}"
    metadata = client.ask_json("GET", path, deadline)
    inputs, outputs = tensors(metadata, "inputs"), tensors(metadata, "outputs")
    if not inputs or not outputs:
        raise Failure(
            f"inputs and outputs with name, datatype and shape from GET {path}",
            client.quote(json.dumps(metadata)),
            "look whether another server answers there",
        )
    unknown = sorted({each.datatype for each in (*inputs, *outputs)} - BYTES_EACH.keys())
    if unknown:
        raise Failure(
            f"datatypes of KServe's protocol from GET {path}",
            client.quote(", ".join(unknown)),
            _LOG,
        )
    sent, answer = _asked(client, path, inputs, outputs, deadline)
    if answer.status != HTTPStatus.OK:
        refusal = client.refusal("POST", f"{path}/infer", answer)
        raise Failure(f"an answer of {model} to zeros", refusal.seen, refusal.next_step)
    found = _held_to(client, model, outputs, answer)
    return f"{model} {' '.join(map(str, sent))} -> {' '.join(map(str, found))}"


def _asked(
    client: Client,
    path: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    deadline: Deadline,
) -> tuple[list[Tensor], Answer]:
    """Return the zeros that were sent, and the answer: the first good one, or the last."""
    is_open = any(-1 in each.shape[1:] for each in inputs)
    first, *others = _FREE_SIZES if is_open else _FREE_SIZES[:1]

    def ask(size: int) -> tuple[list[Tensor], Answer]:
        sent = [each.sized(size) for each in inputs]
        body = zeros(sent, outputs)
        url = f"{path}/infer"
        return sent, client.ask("POST", url, deadline, body, most_bytes=_MOST_BYTES)

    sent, answer = ask(first)
    for size in others:
        larger = sum(each.sized(size).size_bytes for each in inputs)
        if answer.status == HTTPStatus.OK or larger > _MOST_BYTES:
            break
        sent, answer = ask(size)
    return sent, answer


def _held_to(
    client: Client, model: RegistryModel, promised: Sequence[Tensor], answer: Answer
) -> tuple[Tensor, ...]:
    """Return the tensors in an answer. Raises `Failure` unless they are what was `promised`."""
    try:
        named, found = read_tensors(answer)
        if named != (model.name, str(model.version)):
            raise TensorError(f"an answer of {named[0]} version {named[1]}")
        by_name = {each.name: each for each in found}
        for one in promised:
            other = by_name.get(one.name)
            if other is None:
                raise TensorError(f"no output {one.name}")
            if not one.takes(other):
                raise TensorError(f"output {one.name} {other}")
    except TensorError as error:
        wanted = " ".join(f"{each.name} {each}" for each in promised)
        raise Failure(
            f"the outputs {client.quote(wanted)} of {model}",
            client.quote(str(error)),
            "look whether the model was pushed whole, and whether the gateway cuts answers off",
        ) from None
    return found
