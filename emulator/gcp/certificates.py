"""Certificate Manager's resources: `certificate_manager_*`."""

from __future__ import annotations

from collections.abc import Mapping

from .kind import Fields, Kind, number

_GLOBAL = "projects/{project}/locations/{location}/"
_MAPS = "projects/{project}/locations/global/certificateMaps/"


def _authorization(inputs: Fields, identity: str) -> Fields:
    record: Fields = {
        "name": f"_acme-challenge.{inputs['domain']}.",
        "type": "CNAME",
        "data": f"{number(identity)}.authorize.certificatemanager.goog.",
    }
    return {"dnsResourceRecords": [record]}


def _certificate(inputs: Fields, identity: str) -> Fields:
    managed = inputs.get("managed")
    asked = managed if isinstance(managed, dict) else {}
    return {"managed": {**asked, "state": "PROVISIONING"}, "sanDnsnames": asked.get("domains")}


CERTIFICATE_TYPES: Mapping[str, Kind] = {
    "gcp:certificatemanager/dnsAuthorization:DnsAuthorization": Kind(
        _GLOBAL + "dnsAuthorizations/{name}",
        frozenset({"name", "project", "location", "domain", "type"}),
        _authorization,
        is_held=True,
    ),
    "gcp:certificatemanager/certificate:Certificate": Kind(
        _GLOBAL + "certificates/{name}",
        frozenset({"name", "project", "location", "managed", "scope"}),
        _certificate,
        is_held=True,
    ),
    "gcp:certificatemanager/certificateMap:CertificateMap": Kind(
        _MAPS + "{name}",
        frozenset({"name", "project"}),
        is_held=True,
    ),
    "gcp:certificatemanager/certificateMapEntry:CertificateMapEntry": Kind(
        _MAPS + "{map_name}/certificateMapEntries/{name}",
        frozenset({"name", "project", "map", "hostname", "matcher"}),
    ),
}
