"""Model files: from a reference to a checked file on this machine."""
