"""A provider plugin for Pulumi that answers where pulumi-kubernetes would.

It speaks to the API server that the provider's kubeconfig names, over HTTPS, and holds to the
published plugin in what programs see: objects are created once (one that is there is an error),
updated by server-side apply, read for drift in what was declared alone, waited for, and deleted
in the foreground. Helm, YAML files, lists and patches are not served. Where it differs on purpose:
fields that the server does not know are refused instead of warned of.

It is never put in place of the published plugin by itself: tests install it.
"""
