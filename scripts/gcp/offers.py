"""What Google offers for a stack's machine: its type and GPU in a zone, and the image it boots."""

from __future__ import annotations

from components.catalogue.gcp_gpu import Gpu
from components.settings import GcpVmSettings, GpuVmSettings
from scripts.bootstrap.finding import Finding
from scripts.gcp.rest import COMPUTE, ApiError, GoogleApi
from scripts.verify.shape import dig_count, dig_text


def in_zone(
    api: GoogleApi, project: str, settings: GcpVmSettings, zone: str
) -> tuple[list[Finding], int]:
    """Return whether `zone` has the machine type, with its vCPUs, and the GPU that is attached.

    vCPUs are 0 where Google does not tell them.
    """
    kind, where = settings.machine_type, f"projects/{project}/zones/{zone}"
    try:
        found = api.get(COMPUTE, f"{where}/machineTypes/{kind}")
    except ApiError as error:
        listed = f"gcloud compute machine-types list --project {project} --zones {zone}, then "
        return [_lacking(settings, zone, f"machine type {kind}", error, listed)], 0
    vcpus = dig_count(found, "guestCpus") or 0
    memory = dig_count(found, "memoryMb") or 0
    text = f"machine type {kind} in {zone}: {vcpus} vCPUs, {memory / 1024:g} GB"
    findings = [Finding("ok", text)]
    gpus = settings.gpus() if isinstance(settings, GpuVmSettings) and settings.attached else None
    if gpus is not None:
        findings.append(_accelerator(api, project, settings, zone, gpus))
    return findings, vcpus


def _accelerator(
    api: GoogleApi, project: str, settings: GcpVmSettings, zone: str, gpus: tuple[Gpu, int]
) -> Finding:
    gpu, count = gpus
    name = f"accelerator {gpu.accelerator}"
    try:
        found = api.get(
            COMPUTE, f"projects/{project}/zones/{zone}/acceleratorTypes/{gpu.accelerator}"
        )
    except ApiError as error:
        listed = (
            f"gcloud compute accelerator-types list --project {project} --filter "
            f"name={gpu.accelerator}, then "
        )
        return _lacking(settings, zone, name, error, listed)
    most = dig_count(found, "maximumCardsPerInstance")
    if most is not None and most < count:
        return Finding(
            "problem",
            f"{name} in {zone}: at most {most} in one machine, and gpu_count is {count}",
            f"scripts/pulumi config set gpu_count {most}",
        )
    return Finding("ok", f"{name} in {zone}: {count} of at most {most or '?'} in one machine")


def _lacking(
    settings: GcpVmSettings, zone: str, what: str, error: ApiError, listed: str
) -> Finding:
    """Return that `zone` lacks something: a problem in the stack's own zone alone."""
    if error.status != 404:
        return Finding("note", f"{what} in {zone}: Google does not tell ({error})")
    if zone == settings.zone:
        return Finding(
            "problem",
            f"{zone} has no {what}: {error}",
            f"{listed}scripts/pulumi config set machine_type NAME (or another gcp:zone)",
        )
    others = ",".join(one for one in settings.zones if one != zone)
    return Finding(
        "note",
        f"{zone} has no {what}, so that scripts/up can't go on there: {error}",
        f"scripts/pulumi config set zones {others}" if others else "scripts/pulumi config rm zones",
    )


def image(api: GoogleApi, settings: GcpVmSettings) -> Finding:
    """Look whether the boot image can be read, and whether the boot disk holds it."""
    path = settings.image_path
    owner = path.split("/")[1]
    try:
        found = api.get(COMPUTE, path)
    except ApiError as error:
        if error.status == 403:
            return Finding(
                "problem",
                f"image {settings.image}: these credentials may not read it ({error})",
                f"gcloud projects add-iam-policy-binding {owner} --member user:YOU@EXAMPLE.COM "
                f"--role roles/compute.imageUser (whoever owns {owner})",
            )
        if error.status == 404:
            return Finding(
                "problem",
                f"image {settings.image}: {owner} has none of that name: {error}",
                f"gcloud compute images list --project {owner} --no-standard-images, then "
                "scripts/pulumi config set image PATH (or: config rm image)",
            )
        return Finding("note", f"image {settings.image}: Google does not tell ({error})")
    name, needed = dig_text(found, "name"), _whole_number(dig_text(found, "diskSizeGb"))
    state = dig_text(found, "deprecated", "state")
    if state in {"OBSOLETE", "DELETED"}:
        return Finding(
            "problem",
            f"image {name} is {state.lower()}: no machine is made from it any more",
            "scripts/pulumi config rm image",
        )
    if needed > settings.boot_disk_gb:
        return Finding(
            "problem",
            f"image {name} takes {needed} GB, and boot_gb is {settings.boot_disk_gb}",
            f"scripts/pulumi config set boot_gb {needed}",
        )
    return Finding("ok", f"image {name}: {needed} of boot_gb {settings.boot_disk_gb}")


def _whole_number(text: str) -> int:
    """Return a 64-bit number, which the API writes as text; 0 where it is none."""
    return int(text) if text.isascii() and text.isdigit() else 0
