"""Engines: how a model is served. Each makes a `Launch` and knows no place."""
