"""YAML that people can read: texts of several lines stand in it as they are."""

from __future__ import annotations

import yaml
from yaml.emitter import ScalarAnalysis


class ReadableDumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""

    def analyze_scalar(self, scalar: str) -> ScalarAnalysis:
        """Return how `scalar` may be written."""
        # It takes tabs for something that only an escape can say, and they may stand in a block.
        analysis = super().analyze_scalar(scalar.replace("\t", " "))
        analysis.scalar = scalar
        return analysis


def _text(_dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style=style)


ReadableDumper.add_representer(str, _text)
