"""A provider plugin for Pulumi that answers where pulumi-gcp would, over a cloud in a folder.

It keeps each resource as a file, gives the outputs that the cloud would add, and starts a machine
for each VM by the program that `LLM_ENDPOINT_EMULATED_MACHINE` names. It is never put in place of
the published plugin by itself: a person who deploys to a cloud must not get a pretended one. Tests
install it, to run whole programs on the real engine.

Served are the resource types of `resources.TYPES`; anything else is refused by name.
"""
