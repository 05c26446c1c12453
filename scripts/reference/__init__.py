"""What of the docs comes from the code: tables between `<!-- NAME -->` and `<!-- /NAME -->`.

And the configurations' JSON schemas, below docs/schema. `python -m scripts.reference` renews them.
"""

from scripts.reference.engines import ENGINES, engine_table, places

__all__ = ["ENGINES", "engine_table", "places"]
