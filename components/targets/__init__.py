"""Targets: where a model is served. Each ends in a `VerifiedEndpoint`."""
