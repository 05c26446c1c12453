"""The unit of one model server: a real file, and what its launch adds to it."""

from __future__ import annotations

from components.launch import Slot
from components.rendering.machine.containers import prepare_command, run_command, wait_command
from components.rendering.machine.places import FILES, HUB, LIB, model_variables, venv
from components.rendering.machine.plan import Container, Installation, MachinePlan, ModelServer
from components.rendering.machine.words import (
    WordError,
    argument,
    command,
    quoted,
    variable,
)

HOST = "127.0.0.1"


def server_unit(server: str) -> str:
    """Return the name of the unit of the model server `server`."""
    return f"llm-endpoint-server-{server}.service"


def server_text(server: ModelServer, port: int, plan: MachinePlan) -> str:
    """Return the unit of `server`, which listens on `port`. Raises `WordError`."""
    match server.installation:
        case Installation() as installation:
            file, made = "llm-endpoint-server.service", _process(server, installation, port)
        case Container() as container:
            file = "llm-endpoint-container.service"
            made = _container(server, container, port, plan)
    text = (FILES / file).read_text(encoding="utf-8")
    return f"{text}\n# The server {server.name!r}, of engine {server.launch.engine}.\n{made}"


def _process(server: ModelServer, installation: Installation, port: int) -> str:
    environment = dict(sorted(server.launch.environment.items()))
    if server.pull is not None:
        environment["HF_HOME"] = HUB
    variables = "".join(
        f"Environment={quoted(f'{name}={value}')}\n" for name, value in environment.items()
    )
    places = {"{venv}": venv(installation.requirements), "{lib}": LIB}
    program = [_placed(word, places) for word in installation.program]
    line = " ".join([command(program), *_arguments(server, port)])
    return (
        f"[Service]\nEnvironmentFile={model_variables(server.name)}\n{variables}ExecStart={line}\n"
    )


def _container(server: ModelServer, container: Container, port: int, plan: MachinePlan) -> str:
    gpus = plan.gpus is not None
    probed = f"http://{HOST}:{port}{server.launch.probe.path}"
    *options, image = run_command(server, container, _container_name(server), probed, gpus=gpus)
    line = " \\\n  ".join([*options, " ".join([image, *_arguments(server, port)])])
    gate = "llm-endpoint-gpu.service"
    waits = f"[Unit]\nRequires={gate}\nAfter={gate}\n" if gpus else ""
    others = _loaded_before(server, plan) if gpus else ""
    return (
        f"{waits}[Service]\n"
        f"EnvironmentFile={model_variables(server.name)}\n"
        f"ExecStartPre=+{prepare_command(server.name)}\n"
        f"{others}"
        f"ExecStart={line}\n"
    )


def _container_name(server: ModelServer) -> str:
    return server_unit(server.name).removesuffix(".service")


def _loaded_before(server: ModelServer, plan: MachinePlan) -> str:
    """Return what has the first server wait for the others on the same GPUs.

    It takes what they leave of the memory, and vLLM would count what another takes while it
    measures as its own (vllm-project/vllm, issue 55827).
    """
    if server is not plan.servers[0]:
        return ""
    others = [each for each in plan.servers[1:] if isinstance(each.installation, Container)]
    return "".join(f"ExecStartPre=-{wait_command(_container_name(each))}\n" for each in others)


def _arguments(server: ModelServer, port: int) -> list[str]:
    """Return the launch's arguments as `ExecStart=` takes them."""
    return [_argument(word, server, port) for word in server.launch.arguments]


def _argument(word: str, server: ModelServer, port: int) -> str:
    match word:
        case Slot.MODEL:
            return variable("LLM_ENDPOINT_MODEL")
        case Slot.HOST:
            return HOST
        case Slot.PORT:
            return str(port)
        case Slot.KEY_FILE:
            raise WordError(
                f"the launch of server {server.name!r} reads keys from a file, and on a machine "
                "the gateway checks them: launch it with checks_keys=False"
            )
        case _:
            return argument(word)


def _placed(word: str, places: dict[str, str]) -> str:
    for name, folder in places.items():
        word = word.replace(name, folder)
    return word
