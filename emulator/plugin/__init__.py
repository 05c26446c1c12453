"""What every stand-in for a provider plugin is made of: the wire, the engine, the process."""
