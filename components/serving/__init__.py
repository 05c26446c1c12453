"""Which model servers a machine runs, and how their programs get there."""
