"""What a stack's configuration names loosely, looked up: `python -m scripts.resolve STACK`."""
