"""A stack without engine, plugins or cloud: what it would register, kept as it was sent."""
