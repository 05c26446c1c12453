"""Checks that an OpenAI-compatible endpoint serves: `python -m scripts.verify URL`.

`options` says what to check, `run` does it and returns a `receipt.Receipt`. Everything that is
printed goes through `output`, which takes the API key out of it.
"""
