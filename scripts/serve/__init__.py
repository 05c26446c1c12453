"""Serving on this machine: model files, the server process, its identity."""
