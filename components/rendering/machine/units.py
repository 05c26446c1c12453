"""systemd's units of a machine: real files, and those parts of them that depend on the plan."""

from __future__ import annotations

from components.launch import Slot
from components.rendering.machine.places import FILES, HUB, LIB, UNITS, model_variables, venv
from components.rendering.machine.plan import GATEWAY_PORT, MachinePlan, ModelServer, Tls
from components.rendering.machine.rendered import MachineFile
from components.rendering.machine.settings import server_ports
from components.rendering.machine.words import (
    WordError,
    argument,
    command,
    quoted,
    variable,
)

HOST = "127.0.0.1"

_TLS_DROP_INS = {
    Tls.OWN_CA: "llm-endpoint-caddy-run.service.own-ca.conf",
    Tls.ACME: "llm-endpoint-caddy-run.service.acme.conf",
}
_PULLING_DROP_IN = "llm-endpoint-model.service.engine.conf"
_WATCHDOG = ("llm-endpoint-watchdog.service", "llm-endpoint-watchdog.timer")


def units(plan: MachinePlan) -> list[MachineFile]:
    """Return every unit and drop-in of `plan`.

    Raises ValueError for a launch that no unit can run, naming the word.
    """
    fixed = sorted(
        path.name
        for path in (FILES / "units").iterdir()
        if path.suffix != ".conf" and not path.name.startswith("llm-endpoint-watchdog")
    )
    files = [_unit(name) for name in fixed]
    files.append(_drop_in("multi-user.target", "multi-user.target.conf"))
    files.append(_drop_in("llm-endpoint-caddy-run.service", _TLS_DROP_INS[plan.tls]))
    files.append(_file("llm-endpoint-caddy-run.service.d/plan.conf", _caddy_variables(plan)))
    if plan.idle_minutes is not None:
        files += [_unit(name) for name in _WATCHDOG]
        files.append(_drop_in("llm-endpoint.target", "llm-endpoint-watchdog.target.conf"))
    if any(server.pull is not None for server in plan.servers):
        files.append(_drop_in("llm-endpoint-model.service", _PULLING_DROP_IN))
    ports = server_ports(plan.servers)
    files += [
        _file(server_unit(server.name), _server(server, ports[server.name]))
        for server in plan.servers
    ]
    wants = "".join(f"Wants={server_unit(server.name)}\n" for server in plan.servers)
    files.append(_file("llm-endpoint-servers.target.d/plan.conf", f"[Unit]\n{wants}"))
    return sorted(files, key=lambda file: file.path)


def server_unit(server: str) -> str:
    """Return the name of the unit of the model server `server`."""
    return f"llm-endpoint-server-{server}.service"


def server_command(server: ModelServer, port: int) -> str:
    """Return the engine's command line as `ExecStart=` takes it. Raises `WordError`."""
    places = {"{venv}": venv(server.installation.requirements), "{lib}": LIB}
    arguments = server.launch.arguments
    program = [_placed(word, places) for word in server.installation.program]
    return " ".join([command(program), *(_argument(word, server, port) for word in arguments)])


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


def _server(server: ModelServer, port: int) -> str:
    text = (FILES / "llm-endpoint-server.service").read_text(encoding="utf-8")
    environment = dict(sorted(server.launch.environment.items()))
    if server.pull is not None:
        environment["HF_HOME"] = HUB
    variables = "".join(
        f"Environment={quoted(f'{name}={value}')}\n" for name, value in environment.items()
    )
    made = (
        f"# The server {server.name!r}, of engine {server.launch.engine}.\n"
        f"[Service]\n"
        f"EnvironmentFile={model_variables(server.name)}\n"
        f"{variables}"
        f"ExecStart={server_command(server, port)}\n"
    )
    return f"{text}\n{made}"


def _caddy_variables(plan: MachinePlan) -> str:
    return (
        "[Service]\n"
        f"Environment=LLM_ENDPOINT_GATEWAY_PORT={GATEWAY_PORT}\n"
        f"Environment=LLM_ENDPOINT_BODY_BYTES={plan.limits.body_bytes}\n"
    )


def _unit(name: str) -> MachineFile:
    return _file(name, (FILES / "units" / name).read_text(encoding="utf-8"))


def _drop_in(unit: str, file: str) -> MachineFile:
    """Place the real file `file` as a drop-in of `unit`."""
    kind = file.removeprefix(f"{unit}.").removesuffix(".conf").removesuffix(".target")
    name = "llm-endpoint" if unit == "multi-user.target" else kind
    text = (FILES / "units" / file).read_text(encoding="utf-8")
    return _file(f"{unit}.d/{name}.conf", text)


def _file(name: str, content: str) -> MachineFile:
    return MachineFile(f"{UNITS}/{name}", content)
