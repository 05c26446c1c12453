"""The configuration: its schemas, and the only reader of Pulumi's configuration.

Values come as the raw strings that `pulumi config set` keeps. Every problem is reported at once,
each with its key, the value that came, what would do, and the next step.
"""

from components.settings.base import Settings
from components.settings.ci import CiSettings
from components.settings.cpu_vm import CpuVmSettings
from components.settings.gcp import GcpSettings
from components.settings.gcp_vm import GcpVmSettings
from components.settings.gke import GkeSettings
from components.settings.gke_colab import GkeColabSettings
from components.settings.gke_ovms import GkeOvmsSettings
from components.settings.gpu_serving import GpuServing
from components.settings.gpu_vm import GpuVmSettings
from components.settings.loading import (
    NAMESPACE,
    ConfigurationError,
    load,
    raw_configuration,
    takes,
)
from components.settings.local import LocalSettings
from components.settings.model_registry import ModelRegistrySettings
from components.settings.served import ServedSettings

__all__ = [
    "NAMESPACE",
    "CiSettings",
    "ConfigurationError",
    "CpuVmSettings",
    "GcpSettings",
    "GcpVmSettings",
    "GkeColabSettings",
    "GkeOvmsSettings",
    "GkeSettings",
    "GpuServing",
    "GpuVmSettings",
    "LocalSettings",
    "ModelRegistrySettings",
    "ServedSettings",
    "Settings",
    "load",
    "raw_configuration",
    "takes",
]
