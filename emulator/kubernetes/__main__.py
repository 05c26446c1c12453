"""Starts the plugin by this folder's path, as a launcher does, or by `python -m`."""

import sys
from pathlib import Path

if not __package__:
    # Python has put this folder on the import path: the checkout is what belongs there.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

if __name__ == "__main__":
    from emulator.plugin.bare import leave_out_the_sdk

    leave_out_the_sdk()
    from emulator.kubernetes.provider import KubernetesProvider
    from emulator.plugin.serving import serve

    serve(
        sys.argv[1:],
        "pulumi_kubernetes",
        KubernetesProvider,
        lambda: None,
    )
