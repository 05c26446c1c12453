"""A GKE cluster's own API, asked from the deployer's machine.

Pulumi makes what there is. This package gives it a login, scales what is parked, opens ways to pods
that no address leads to, and tells how the pods start.
"""
