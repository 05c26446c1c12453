"""Stand-ins that let stacks come up where the published plugins or a cloud can't be had.

Each stand-in holds to the contract of what it stands in for: same inputs, same outputs, same
secrets, same failures. `tests/contract` holds both to it. Nothing in `components` or `stacks`
knows of this package.
"""
