"""systemd's units of a machine: real files, and those parts of them that depend on the plan."""

from __future__ import annotations

from components.rendering.machine.engines import containers
from components.rendering.machine.places import FILES, UNITS
from components.rendering.machine.plan import GATEWAY_PORT, MachinePlan, Tls
from components.rendering.machine.rendered import MachineFile
from components.rendering.machine.servers import server_text, server_unit
from components.rendering.machine.settings import server_ports

_TLS_DROP_INS = {
    Tls.OWN_CA: "llm-endpoint-caddy-run.service.own-ca.conf",
    Tls.ACME: "llm-endpoint-caddy-run.service.acme.conf",
}
_PULLING_DROP_IN = "llm-endpoint-model.service.engine.conf"
_WATCHDOG = ("llm-endpoint-watchdog.service", "llm-endpoint-watchdog.timer")
_GPU = "llm-endpoint-gpu.service"
_SOME_MACHINES = {*_WATCHDOG, _GPU}


def units(plan: MachinePlan) -> list[MachineFile]:
    """Return every unit and drop-in of `plan`.

    Raises ValueError for a launch that no unit can run, naming the word.
    """
    fixed = sorted(
        path.name
        for path in (FILES / "units").iterdir()
        if path.suffix != ".conf" and path.name not in _SOME_MACHINES
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
    if containers(plan):
        files.append(_engine_drop_in("docker"))
        files.append(_drop_in("docker-.scope", "docker-.scope.llm-endpoint.conf"))
    if plan.gpus is not None:
        files.append(_unit(_GPU))
        files.append(_drop_in("llm-endpoint.target", "llm-endpoint-gpu.target.conf"))
        files.append(_engine_drop_in("gpu"))
        files.append(_drop_in("llm-endpoint-model.service", "llm-endpoint-model.service.gpu.conf"))
    ports = server_ports(plan.servers)
    files += [
        _file(server_unit(server.name), server_text(server, ports[server.name], plan))
        for server in plan.servers
    ]
    wants = "".join(f"Wants={server_unit(server.name)}\n" for server in plan.servers)
    files.append(_file("llm-endpoint-servers.target.d/plan.conf", f"[Unit]\n{wants}"))
    return sorted(files, key=lambda file: file.path)


def _caddy_variables(plan: MachinePlan) -> str:
    return (
        "[Service]\n"
        f"Environment=LLM_ENDPOINT_GATEWAY_PORT={GATEWAY_PORT}\n"
        f"Environment=LLM_ENDPOINT_BODY_BYTES={plan.limits.body_bytes}\n"
    )


def _engine_drop_in(kind: str) -> MachineFile:
    unit = "llm-endpoint-engine.service"
    return _drop_in(unit, f"{unit}.{kind}.conf")


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
