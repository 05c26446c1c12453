"""What Google's plugin computes for a new resource, as far as programs read it."""

from __future__ import annotations

import base64
from collections.abc import Mapping

CLUSTER_CA = "cGVt"
"""Base64 of what stands for the PEM of a cluster's CA."""
ACCOUNT_KEY = '{"type": "service_account", "private_key": "the-private-key-of-the-account"}'
"""The file of a service account's key, which Google hands out as Base64."""
FOUND_CLUSTER: dict[str, object] = {
    "id": "the-found-cluster",
    "enableAutopilot": False,
    "endpoint": "203.0.113.10",
    "masterAuths": [{"clusterCaCertificate": CLUSTER_CA}],
    "controlPlaneEndpointsConfigs": [],
    "workloadIdentityConfigs": [{"workloadPool": "p.svc.id.goog"}],
    "datapathProvider": "ADVANCED_DATAPATH",
    "networkPolicies": [],
    "gatewayApiConfigs": [{"channel": "CHANNEL_STANDARD"}],
}
"""What Google says of a cluster that was there before: the address is its only way in."""


def computed(token: str, name: str, inputs: Mapping[str, object]) -> dict[str, object]:
    """Return what the gcp plugin would compute for a new resource, by the output's name."""
    kind = token.rpartition(":")[2]
    link = f"https://cloud.test/{kind}/{name}"
    account = f"{inputs.get('accountId')}@{inputs.get('project')}.iam.gserviceaccount.com"
    pool = (
        "projects/123456789012/locations/global/workloadIdentityPools/"
        f"{inputs.get('workloadIdentityPoolId')}"
    )
    of_kind: dict[str, dict[str, object]] = {
        "Account": {
            "email": account,
            "member": f"serviceAccount:{account}",
            "name": f"projects/{inputs.get('project')}/serviceAccounts/{account}",
            "uniqueId": f"{inputs.get('accountId')}-number",
        },
        "Address": {"address": "198.51.100.7"},
        "Bucket": {
            "url": f"gs://{inputs.get('name')}",
            "timeCreated": "2026-11-21T14:00:00.000Z",
        },
        "GlobalAddress": {"address": "198.51.100.8"},
        "Key": {"privateKey": base64.b64encode(ACCOUNT_KEY.encode()).decode()},
        "Cluster": {
            "endpoint": "203.0.113.9",
            "masterAuth": {"clusterCaCertificate": CLUSTER_CA},
            "controlPlaneEndpointsConfig": {
                "dnsEndpointConfig": {"endpoint": "gke-1.europe-west4.gke.goog"}
            },
        },
        "DnsAuthorization": {
            "dnsResourceRecords": [
                {"name": "_acme.llm.example.com.", "type": "CNAME", "data": "proof.google."}
            ]
        },
        "Disk": {"diskId": f"{name}-number"},
        "Instance": {"instanceId": f"{name}-number", "currentStatus": inputs.get("desiredStatus")},
        "InstanceTemplate": {"selfLinkUnique": f"{link}?uniqueId=1"},
        "IAMCustomRole": {"name": f"projects/{inputs.get('project')}/roles/{inputs.get('roleId')}"},
        "SecretVersion": {"version": "1", "name": f"{name}/versions/1"},
        "SecretIamMember": {"etag": "BwX="},
        "WorkloadIdentityPool": {"name": pool, "state": "ACTIVE"},
        "WorkloadIdentityPoolProvider": {
            "name": f"{pool}/providers/{inputs.get('workloadIdentityPoolProviderId')}",
            "state": "ACTIVE",
        },
    }
    return {"selfLink": link, **of_kind.get(kind, {})}
