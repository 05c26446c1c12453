"""Backends that keep Pulumi's state as files: read, locked and copied as the engine would.

The layout is that of the engine's diy backends (version 1 of it, Pulumi 3.210). What copies to or
from a bucket needs requirements/registry.txt; the rest needs nothing but Python.
"""
