"""Everything between a bare clone and `pulumi up`.

Runs on the system's Python (3.11 or newer) before anything is installed, so it imports nothing
but the standard library. Notes go to stderr: `scripts/pulumi`'s stdout is the CLI's alone.
"""
