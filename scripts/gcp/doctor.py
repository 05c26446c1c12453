"""What a stack needs of Google Cloud before its first up: `python -m scripts.gcp.doctor STACK`.

It only asks: nothing is made, enabled or changed. Started by scripts/doctor, in the virtual
environment of cloud stacks.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import stacks
from components.catalogue.gcp import region_of
from components.catalogue.gcp_gpu import Gpu
from components.settings import GcpVmSettings, GkeSettings, GpuVmSettings
from scripts.bootstrap.finding import Finding
from scripts.gcp import access, ci_doctor, configuration, offers, quota, registry
from scripts.gcp.configuration import Configuration
from scripts.gcp.credentials import Credentials, CredentialsError, find
from scripts.gcp.quota import Quota
from scripts.gcp.rest import COMPUTE, ApiError, GoogleApi, from_environment
from scripts.gke import doctor as of_cluster
from scripts.verify import caller
from scripts.verify.shape import Json
from stacks.interpreter import CHECKOUT

_REST = "project, billing, APIs, permissions, machine type and quota"


def findings(config: Configuration, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what was found, credentials first; without them nothing else is asked of Google."""
    if config.of_bucket and config.registry is None:
        yield _configuration(config)
        yield Finding("note", "not looked at before the configuration is right: where models go")
        return
    if config.of_ci and config.ci is None:
        yield _configuration(config)
        yield Finding("note", "not looked at before the configuration is right: Google Cloud")
        return
    if config.ci is not None:
        yield from ci_doctor.findings(config.ci, config.stack.rsplit("/", 1)[-1], environment)
        return
    if config.registry is not None:
        yield from registry.findings(config.registry, config.bucket, CHECKOUT, environment)
        return
    credentials: Credentials | None = None
    try:
        credentials = find(environment)
        credentials.token()
        yield Finding("ok", f"credentials: {credentials.source}")
    except CredentialsError as error:
        credentials = None
        yield Finding("problem", f"credentials: {error.problem}", error.next_step)
    yield _configuration(config)
    if credentials is None:
        yield Finding("note", f"not looked at without credentials: {_REST}")
    elif config.project is None:
        yield Finding("note", f"not looked at without a project: {_REST}")
    else:
        try:
            api = from_environment(credentials, environment)
            yield from _in_google(api, config.project, config)
        except (CredentialsError, ValueError) as error:
            yield Finding("problem", f"Google can't be asked: {error}")
    yield from _caller(config, environment)


def _configuration(config: Configuration) -> Finding:
    if config.problem is not None:
        return Finding(
            "problem",
            f"configuration: {config.problem}",
            f"the commands above (scripts/pulumi stack init {config.stack} first, if there is no "
            "such stack yet)",
        )
    settings = config.settings
    if isinstance(settings, GkeSettings):
        return of_cluster.configuration(settings)
    if not isinstance(settings, GcpVmSettings):
        return Finding("note", f"configuration: {config.stack} makes nothing in Google Cloud")
    how = "Spot" if settings.spot else "standard"
    gpus = _gpus(settings)
    having = "" if gpus is None else f" with {gpus[1]} {gpus[0].name}"
    return Finding(
        "ok", f"configuration: {settings.machine_type}{having} ({how}) in {settings.zone}"
    )


def _in_google(api: GoogleApi, project: str, config: Configuration) -> Iterator[Finding]:
    there = access.project(api, project)
    yield there
    if there.verdict == "problem":
        yield Finding("note", f"not looked at without the project: {_REST.partition(', ')[2]}")
        return
    yield access.billing(api, project)
    if config.settings is None and config.in_cluster:
        rest = _REST.partition("billing, ")[2]
        yield Finding("note", f"not looked at before the configuration is right: {rest}")
        return
    apis, on = access.enabled(api, project, access.apis(config.settings))
    yield apis
    yield from access.permissions(api, project, config.settings)
    if config.settings is None:
        yield Finding(
            "note", "not looked at before the configuration is right: machine type, quota"
        )
    elif apis.verdict == "note" and apis.type and "compute" not in on:
        yield Finding(
            "note", "not looked at before the API compute is enabled: machine type, quota"
        )
    elif isinstance(config.settings, GkeSettings):
        is_on = apis.verdict == "ok" or not apis.type or "container" in on
        yield from of_cluster.findings(
            api, config.settings, config.base_name or "", container=is_on
        )
    elif isinstance(config.settings, GcpVmSettings):
        yield from _machine(api, project, config.settings, config.base_name)


def _machine(
    api: GoogleApi, project: str, settings: GcpVmSettings, base_name: str | None
) -> Iterator[Finding]:
    """Look whether the machine can be had in its zones, what it boots, and whether it has quota."""
    vcpus = 0
    for zone in dict.fromkeys([settings.zone, *settings.zones]):
        found, theirs = offers.in_zone(api, project, settings, zone)
        yield from found
        vcpus = vcpus or theirs
    yield offers.image(api, settings)
    if vcpus:
        yield from _quotas(api, project, settings, vcpus, base_name)


def _quotas(
    api: GoogleApi, project: str, settings: GcpVmSettings, vcpus: int, base_name: str | None
) -> Iterator[Finding]:
    """Look whether there is quota in the region, and in those in which scripts/up may go on."""
    regions = list(dict.fromkeys(map(region_of, [settings.zone, *settings.zones])))
    try:
        quotas: dict[str | None, dict[str, Quota]] = {
            region: quota.read(api.get(COMPUTE, f"projects/{project}/regions/{region}"))
            for region in regions
        }
        quotas[None] = quota.read(api.get(COMPUTE, f"projects/{project}"))
        exists = base_name is not None and _exists(api, project, settings.zone, base_name)
    except ApiError as error:
        yield Finding("note", f"quota: Google does not tell ({error})", quota.page(project))
        return
    for region in regions:
        wanted = _needs(settings, vcpus, region, quotas[region])
        if region == settings.region:
            yield from quota.findings(wanted, quotas, project, exists=exists)
            continue
        there = [need for need in wanted if need.region is not None]
        for finding in quota.findings(there, quotas, project, exists=False):
            yield replace(finding, verdict="note") if finding.verdict == "problem" else finding


def _needs(
    settings: GcpVmSettings, vcpus: int, region: str, regional: Mapping[str, Quota]
) -> list[quota.Need]:
    spot_quota = regional.get(quota.SPOT_CPUS)
    wanted = quota.needs(
        settings.machine_type,
        vcpus,
        region,
        [(settings.disk_type, settings.boot_disk_gb), (settings.disk_type, settings.disk_gb())],
        spot=settings.spot,
        own_network=settings.network is None,
        has_spot_quota=spot_quota is not None and spot_quota.limit > 0,
    )
    gpus = _gpus(settings)
    if gpus is not None:
        wanted += quota.gpu_needs(*gpus, region, regional, spot=settings.spot)
    return wanted


def _gpus(settings: GcpVmSettings) -> tuple[Gpu, int] | None:
    return settings.gpus() if isinstance(settings, GpuVmSettings) else None


def _exists(api: GoogleApi, project: str, zone: str, name: str) -> bool:
    try:
        found: Json = api.get(COMPUTE, f"projects/{project}/zones/{zone}/instances/{name}")
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return found is not None


def _doors(config: Configuration) -> dict[str, tuple[str, ...]]:
    """Return the keys that say who may come to what `up` does or verifies, with their values."""
    settings = config.settings
    if not isinstance(settings, GkeSettings):
        if config.in_cluster:
            return {}
        return {"allowed_cidrs": settings.allowed_cidrs if settings else ()}
    doors: dict[str, tuple[str, ...]] = {}
    if settings.control_plane_cidrs and settings.owns_cluster:
        doors["control_plane_cidrs"] = settings.control_plane_cidrs
    if settings.expose != "internal":
        doors["allowed_cidrs"] = settings.allowed_cidrs
    return doors


def _caller(config: Configuration, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Look whether this machine is among those that may come: verification runs on it."""
    doors = _doors(config)
    if not doors:
        return
    address = caller.own_address(caller.services(environment))
    if address is None:
        yield Finding(
            "note",
            "this machine's public address is not known here, and it must be in "
            f"{' and '.join(doors)}",
            f"curl {caller.SERVICES[0]}",
        )
        return
    for key, ranges in doors.items():
        cidrs = [ipaddress.ip_network(one) for one in ranges]
        if caller.is_allowed(address, cidrs):
            yield Finding("ok", f"this machine's address {address} is in {key}")
            continue
        shown = ", ".join(map(str, cidrs)) or "which is not set"
        what = "up verifies" if key == "allowed_cidrs" else "up asks the cluster"
        yield Finding(
            "problem",
            f"this machine's address {address} is not in {key} ({shown}): {what} from here",
            caller.configuration_command(cidrs, address, config.stack, key=key),
        )


def main(arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> int:
    """Print the findings for the stack that `arguments` name; 1 where there is a problem."""
    (stack,) = arguments
    problems = 0
    for finding in findings(configuration.read(stack, folder), environment):
        print(finding, flush=True)
        problems += finding.verdict == "problem"
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ, stacks.HERE))
