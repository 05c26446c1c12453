"""Turning a `Launch` into the form that a target takes."""
