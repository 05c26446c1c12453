"""The Colab runtime: a notebook server on the pool, and what keeps its files."""
