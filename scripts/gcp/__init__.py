"""Google Cloud's own API, asked from the deployer's machine: only to look, never to change.

Pulumi makes what there is. This package tells what Pulumi can't: how a machine boots (its serial
console), and before the first `up` whether there is a project, billing, quota and permission.
"""
