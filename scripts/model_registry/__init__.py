"""A registry of models in a bucket: pushed whole or not at all, pulled with every checksum checked.

What pulls runs in pods, with the packages of requirements/registry.txt and nothing else.
"""
