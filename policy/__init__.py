"""What this project refuses to deploy. The rules are plain functions: only `__main__` is Pulumi's.

Nothing here imports `components`, `stacks` or `scripts`, but `told`, which reads a stack's own
configuration for the rules.
"""
