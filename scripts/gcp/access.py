"""What a deployment needs of a project beyond quota: billing, APIs, permissions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from components.serving.colab import makes_bucket
from components.settings import (
    GcpSettings,
    GcpVmSettings,
    GkeColabSettings,
    GkeOvmsSettings,
    GkeSettings,
)
from scripts.bootstrap.finding import Finding
from scripts.gcp.credentials import CredentialsError, find
from scripts.gcp.rest import (
    BILLING,
    RESOURCE_MANAGER,
    SERVICE_USAGE,
    ApiError,
    GoogleApi,
    from_environment,
)
from scripts.verify.shape import dig, dig_text

ROLES = {
    "roles/serviceusage.serviceUsageAdmin": ("serviceusage.services.enable",),
    "roles/compute.admin": (
        "compute.addresses.create",
        "compute.disks.create",
        "compute.firewalls.create",
        "compute.instances.create",
        "compute.instances.getSerialPortOutput",
        "compute.instances.setMetadata",
        "compute.networks.create",
    ),
    "roles/iam.serviceAccountAdmin": ("iam.serviceAccounts.create",),
    "roles/iam.serviceAccountUser": ("iam.serviceAccounts.actAs",),
    "roles/secretmanager.admin": (
        "secretmanager.secrets.create",
        "secretmanager.secrets.setIamPolicy",
        "secretmanager.versions.add",
    ),
}
"""Predefined roles, each with what up needs of it (cloud.google.com/iam/docs/roles-permissions)."""
DNS_ROLE = {"roles/dns.admin": ("dns.changes.create", "dns.resourceRecordSets.create")}
CUSTOM_ROLE = {"roles/iam.roleAdmin": ("iam.roles.create",)}
GROUP_ROLES = {
    **CUSTOM_ROLE,
    "roles/resourcemanager.projectIamAdmin": ("resourcemanager.projects.setIamPolicy",),
}
TAG_ROLES = ("roles/resourcemanager.tagAdmin", "roles/resourcemanager.tagUser")
"""What a managed group takes besides; a project can't be asked for these permissions."""


CLUSTER_ROLES = {
    "roles/serviceusage.serviceUsageAdmin": ("serviceusage.services.enable",),
    "roles/container.admin": (
        "container.clusters.create",
        "container.clusters.get",
        "container.pods.portForward",
        "container.roleBindings.create",
        "container.roles.create",
        "container.statefulSets.create",
    ),
    "roles/iam.serviceAccountAdmin": ("iam.serviceAccounts.create",),
    "roles/iam.serviceAccountUser": ("iam.serviceAccounts.actAs",),
    "roles/resourcemanager.projectIamAdmin": ("resourcemanager.projects.setIamPolicy",),
}
"""What a cluster takes, and what is in it; its Secrets are Kubernetes' own."""
ACCOUNT_KEY_ROLE = {"roles/iam.serviceAccountKeyAdmin": ("iam.serviceAccountKeys.create",)}
"""What `registry_access key` takes besides."""
NETWORK_ROLE = "roles/compute.networkAdmin"
GATEWAY_ROLES = {
    "roles/certificatemanager.owner": (
        "certificatemanager.certmaps.create",
        "certificatemanager.certs.create",
        "certificatemanager.dnsauthorizations.create",
    ),
    "roles/compute.securityAdmin": ("compute.securityPolicies.create",),
}
"""What `expose gateway` takes besides."""
BACKUP_ROLE = {"roles/storage.admin": ("storage.buckets.create", "storage.buckets.setIamPolicy")}
"""What a bucket takes that is made for the backups of a notebook runtime."""


def with_credentials(
    environment: Mapping[str, str], rest: str, look: Callable[[GoogleApi], Iterator[Finding]]
) -> Iterator[Finding]:
    """Yield whose credentials there are, and what `look` finds with them.

    `rest` says what is not looked at where there are none.
    """
    try:
        credentials = find(environment)
        credentials.token()
        yield Finding("ok", f"credentials: {credentials.source}")
        api = from_environment(credentials, environment)
    except CredentialsError as error:
        yield Finding("problem", f"credentials: {error.problem}", error.next_step)
        yield Finding("note", f"not looked at without credentials: {rest}")
    except ValueError as error:
        yield Finding("problem", f"Google can't be asked: {error}")
    else:
        yield from look(api)


def apis(settings: GcpSettings | None) -> list[str]:
    """Return the APIs that a stack with `settings` needs enabled."""
    if isinstance(settings, GkeSettings):
        return [
            *("compute", "container", "iam", "cloudresourcemanager"),
            *(["certificatemanager"] if settings.expose == "gateway" else []),
            *(["dns"] if settings.dns_zone is not None else []),
            *(["storage"] if _backs_up_at_google(settings) else []),
        ]
    names = ["compute", "secretmanager", "iam"]
    if isinstance(settings, GcpVmSettings):
        if settings.dns_zone is not None:
            names.append("dns")
        if settings.schedule is not None or settings.spot_recovery == "mig":
            names.append("cloudresourcemanager")
    return names


def roles(settings: GcpSettings | None) -> dict[str, tuple[str, ...]]:
    """Return the roles that a deployment with `settings` needs, with the permissions of each."""
    if isinstance(settings, GkeSettings):
        return _cluster_roles(settings)
    wanted = dict(ROLES)
    if isinstance(settings, GcpVmSettings):
        if settings.dns_zone is not None:
            wanted |= DNS_ROLE
        if settings.schedule is not None:
            wanted |= CUSTOM_ROLE
        if settings.spot_recovery == "mig":
            wanted |= GROUP_ROLES
    return wanted


def _cluster_roles(settings: GkeSettings) -> dict[str, tuple[str, ...]]:
    wanted: dict[str, tuple[str, ...]] = {**CLUSTER_ROLES}
    network: list[str] = []
    if settings.owns_network:
        network += ["compute.networks.create", "compute.subnetworks.create"]
    if settings.wants_nat:
        network.append("compute.routers.create")
    if settings.expose == "load_balancer":
        network.append("compute.addresses.create")
    elif settings.expose == "gateway":
        network.append("compute.globalAddresses.create")
        wanted |= GATEWAY_ROLES
    if network:
        wanted[NETWORK_ROLE] = tuple(network)
    if isinstance(settings, GkeOvmsSettings) and settings.registry_access == "key":
        wanted |= ACCOUNT_KEY_ROLE
    if isinstance(settings, GkeColabSettings) and makes_bucket(settings):
        wanted |= BACKUP_ROLE
    if settings.dns_zone is not None:
        wanted |= DNS_ROLE
    return wanted


def _backs_up_at_google(settings: GkeSettings) -> bool:
    if not isinstance(settings, GkeColabSettings):
        return False
    url = settings.backup_url()
    return makes_bucket(settings) if url is None else url.scheme == "gs"


def project(api: GoogleApi, name: str) -> Finding:
    """Look whether the project is there and active."""
    try:
        found = api.get(RESOURCE_MANAGER, f"projects/{name}")
    except ApiError as error:
        if error.status in (403, 404) and not _is_disabled(error):
            return Finding(
                "problem",
                f"project {name}: there is none of that id that these credentials may see",
                "gcloud projects list (or: gcloud projects create "
                f"{name}), then scripts/pulumi config set gcp:project ID",
            )
        return _untold(f"project {name}", error, name)
    state = dig_text(found, "lifecycleState")
    if state != "ACTIVE":
        return Finding(
            "problem",
            f"project {name} is {state or 'in an unknown state'}",
            f"gcloud projects undelete {name}, or take another project",
        )
    return Finding("ok", f"project {name}, number {dig_text(found, 'projectNumber')}")


def billing(api: GoogleApi, name: str) -> Finding:
    """Look whether the project has an open billing account."""
    try:
        found = api.get(BILLING, f"projects/{name}/billingInfo")
    except ApiError as error:
        page = f"https://console.cloud.google.com/billing/linkedaccount?project={name}"
        finding = _untold("billing", error, name)
        return Finding("note", f"{finding.text}; see {page}", finding.type)
    if dig(found, "billingEnabled") is True:
        return Finding("ok", "billing is enabled")
    return Finding(
        "problem",
        f"billing is not enabled for {name}: nothing can be made in it",
        f"gcloud billing accounts list, then gcloud billing projects link {name} "
        "--billing-account ACCOUNT",
    )


def enabled(api: GoogleApi, name: str, wanted: list[str]) -> tuple[Finding, frozenset[str]]:
    """Look which of the APIs `wanted` are enabled; return those too."""
    names = [f"projects/{name}/services/{one}.googleapis.com" for one in wanted]
    try:
        found = api.get(SERVICE_USAGE, f"projects/{name}/services:batchGet", names=names)
    except ApiError as error:
        return _untold("enabled APIs", error, name), frozenset()
    services = dig(found, "services")
    on = frozenset(
        dig_text(entry, "name").rsplit("/", 1)[-1].removesuffix(".googleapis.com")
        for entry in (services if isinstance(services, list) else [])
        if dig_text(entry, "state") == "ENABLED"
    )
    off = [one for one in wanted if one not in on]
    if not off:
        return Finding("ok", f"APIs: {', '.join(wanted)} are enabled"), on
    hosts = " ".join(f"{one}.googleapis.com" for one in off)
    return (
        Finding(
            "note",
            f"APIs: {', '.join(off)} not enabled yet: up enables them, which takes a minute or two",
            f"gcloud services enable {hosts} --project {name} (to have it done before)",
        ),
        on,
    )


def permissions(api: GoogleApi, name: str, settings: GcpSettings | None) -> Iterator[Finding]:
    """Look whether these credentials may do what up does."""
    yield from granted(api, name, roles(settings))
    if isinstance(settings, GcpVmSettings) and settings.spot_recovery == "mig":
        yield Finding(
            "note",
            f"spot_recovery mig also takes {' and '.join(TAG_ROLES)}, which can't be asked here",
        )


def granted(api: GoogleApi, name: str, wanted: Mapping[str, tuple[str, ...]]) -> Iterator[Finding]:
    """Look whether these credentials may do what the roles `wanted` are for."""
    asked = sorted({one for needed in wanted.values() for one in needed})
    try:
        found = api.post(
            RESOURCE_MANAGER, f"projects/{name}:testIamPermissions", {"permissions": [*asked]}
        )
    except ApiError as error:
        yield _untold("permissions", error, name)
        return
    given = dig(found, "permissions")
    allowed = {str(one) for one in given} if isinstance(given, list) else set[str]()
    for role, needed in wanted.items():
        lacking = [one for one in needed if one not in allowed]
        if lacking:
            yield Finding(
                "problem",
                f"these credentials lack {', '.join(lacking)}",
                f"gcloud projects add-iam-policy-binding {name} --member user:YOU@EXAMPLE.COM "
                f"--role {role} (whoever owns the project)",
            )
    if allowed >= set(asked):
        yield Finding("ok", f"permissions: all {len(asked)} that up needs")


def _is_disabled(error: ApiError) -> bool:
    return error.reason in ("SERVICE_DISABLED", "accessNotConfigured")


def _untold(what: str, error: ApiError, name: str) -> Finding:
    """Return that Google would not tell; a switched-off API is worth switching on."""
    service = "cloudbilling" if what == "billing" else "cloudresourcemanager"
    if what == "enabled APIs":
        service = "serviceusage"
    return Finding(
        "note",
        f"{what}: Google does not tell ({error})",
        f"gcloud services enable {service}.googleapis.com --project {name}"
        if _is_disabled(error)
        else "",
    )
