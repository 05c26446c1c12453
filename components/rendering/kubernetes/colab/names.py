"""What things are called in the namespace of a Colab runtime, and where its files are."""

from __future__ import annotations

RUNTIME = "colab-runtime"
"""The Deployment, its Service and its ServiceAccount."""
PORT = 9000
"""TCP port of the Service, and of a port-forward to it: the one that Colab's own documentation
names."""
DOOR_PORT = 8090
"""TCP port in the pod of what stands before the notebook server."""
NOTEBOOK_PORT = 8080
"""TCP port of the image's own front, before Jupyter."""

TOKEN_SECRET = "colab-token"  # noqa: S105 - a name
"""The Secret with `TOKEN_KEY`; its data come with the deployment."""
TOKEN_KEY = "token"  # noqa: S105 - a name
TOKEN_VARIABLE = "JUPYTER_TOKEN"  # noqa: S105 - a name
BACKUP_SECRET = "colab-backup"  # noqa: S105 - a name
"""The Secret with the access key of storage that speaks S3, by `AWS_ACCESS_KEY_ID` and
`AWS_SECRET_ACCESS_KEY`; its data come with the deployment."""

DATA_CLAIM = "colab-data"
LIBRARIES_CLAIM = "colab-libraries"
DATA = "/content"
"""Where the data disk is mounted: the folder that Colab's notebooks begin in."""
LIBRARIES = "/opt/colab-libraries"
"""Where the libraries' disk is mounted: the base of Python's user site."""
ORIGIN = "https://colab.research.google.com"
"""The one website that may talk to the runtime from a browser."""

AUTHORITY_CONFIG = "colab-authority"
"""The ConfigMap with `AUTHORITY_FILE`, the authority of the endpoint in the same cluster; its data
come with the deployment."""
AUTHORITY_FILE = "ca.pem"
SECRETS_ANNOTATION = "llm-endpoint/secrets"
"""On the pod, set by the deployment: a digest of its Secrets, which it reads once."""
CONFIGURATION_ANNOTATION = "llm-endpoint/configuration"
"""On the pod: sha256 of the scripts and the door's configuration."""
SCRIPTS = "colab-scripts"
"""The ConfigMap of what restores and backs up."""
DOOR = "colab-door"
"""The ConfigMap of what stands before the notebook server."""
ENDPOINT_CA_VARIABLE = "LLM_ENDPOINT_CA"
"""In notebooks, the file with the endpoint's authority. No variable that programs know by
themselves: those trust no other authority then."""
